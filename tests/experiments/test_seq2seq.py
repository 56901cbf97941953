import jax.numpy as jnp
import numpy as np

from experiments import seq2seq
from experiments.seq2seq import strings


def test_the_weight_on_the_next_letter_counts_letters_alone_and_all_their_places():
    words = [np.array([3, 7, 3]), np.array([1, 2])]
    held = strings.posed(words * 2, np.array([0, 0, 1, 1]), 3)
    p = np.zeros((2, 1, 1, 2, 4, 4))  # tasks, layers, heads, strings, places of answer and source
    p[0, 0, 0, 0] = [[0, 0.25, 0, 0.5], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    p[1, 0, 0, 1, 0] = [0.5, 0.5, 0, 0]  # the letter 1 comes next
    found = seq2seq.following(jnp.asarray(p), held)
    np.testing.assert_allclose(found.ravel(), [(0.75 + 0 + 1) / 5, 0.5 / 5])


def seen(right):
    held = strings.posed([np.arange(4), np.arange(9)] * 2, np.array([0, 0, 1, 1]), 9)
    following = np.zeros((2, 2, 4))
    following[0, 1, 2] = following[1, 0, 3] = 0.75
    maps = np.zeros((2, 2, 4, 10, 10))
    return seq2seq.Seen(held, 250, [seq2seq.Learned(np.array(right), following, maps)])


def test_shares_are_by_task_and_by_length():
    found = seen([[[False, False]] * 2, [[True, False], [True, True]]])
    np.testing.assert_array_equal(found.shares()[0], [[0, 0], [0.5, 1]])
    np.testing.assert_array_equal(found.by_length(0)[[0, -1], 0], [1, 0])
    assert found.best(0)[1:] == (1, 2)
    assert found.best(1)[1:] == (0, 3)
    assert [*seq2seq.findings(found).values()] == [True, False, False, True]
