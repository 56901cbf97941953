import numpy as np

from experiments.seq2seq import strings
from experiments.seq2seq.strings import EDGE, LETTERS


def test_problems_by_hand():
    found = strings.posed([np.array([4, 1, 3]), np.array([2, 0])], np.array([0, 1]), 3)
    np.testing.assert_array_equal(found.answer, [[3, 1, 4, EDGE], [0, 2, EDGE, 0]])
    np.testing.assert_array_equal(found.x.x, [[EDGE, 3, 1, 4], [EDGE, 0, 2, EDGE]])
    np.testing.assert_array_equal(found.x.memory.x, [[LETTERS, 4, 1, 3], [LETTERS + 1, 2, 0, 0]])
    np.testing.assert_array_equal(found.x.mask, [[True] * 4, [True] * 3 + [False]])
    np.testing.assert_array_equal(found.x.memory.mask, found.x.mask)
    np.testing.assert_array_equal(found.length, [3, 2])


def test_no_string_is_learned_from_and_held_out():
    rng = np.random.default_rng(0)
    learned, held = (strings.drawn(rng, 300, (3, 4), held=held) for held in (False, True))
    assert not {tuple(w) for w in learned} & {tuple(w) for w in held}
    assert {len(w) for w in learned} == {len(w) for w in held} == {3, 4}
    words = [np.random.default_rng(i).integers(0, 26, 5) for i in range(2000)]
    assert 0.07 < np.mean([strings.held_out(w) for w in words]) < 0.13


def test_what_is_written_ends_at_the_edge():
    assert strings.written(np.array([2, 0, 1, EDGE, 5])) == "cab"
    assert strings.written(np.array([25])) == "z"
