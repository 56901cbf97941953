import contextlib
import sys

import pytest

from benchmarks.turns import WORKS, fastest, interpreter, ratio, take_turns

MODULES = ["hand_written", "other", "third"]


class Fake:
    """A peer whose answers are known, in two ways."""

    def __init__(self, module, log):
        self.module, self.log, self.turns = module, log, 0

    def turn(self):
        self.log.append(self.module)
        self.turns += 1
        slow = 100.0 if self.turns == 1 else 1.0 + MODULES.index(self.module)
        return [{"seconds": 3 * slow, "way": "a"}, {"seconds": slow, "way": "b"}]


@pytest.fixture
def log(monkeypatch):
    """Who was asked, in order; nothing is started."""
    asked = []

    @contextlib.contextmanager
    def peer(folder, module, arguments):
        assert (folder, arguments) == ("steps", ["gpt"])
        yield Fake(module, asked)

    monkeypatch.setattr("benchmarks.turns.peer", peer)
    return asked


def test_every_round_begins_with_another_peer(log):
    take_turns("steps", MODULES, ["gpt"], 2)
    first, second, third = MODULES
    assert log == [first, second, third, second, third, first, third, first, second]


def test_the_first_round_is_not_timed_and_the_fastest_way_counts(log):
    ratios = take_turns("steps", MODULES, ["gpt"], 3)
    assert [r.middle for r in ratios.values()] == pytest.approx([1, 1 / 2, 1 / 3])
    assert ratios["third"].seconds == 3.0
    assert [a["seconds"] for a in ratios["third"].answers] == [100.0, 3.0, 3.0, 3.0]


def test_a_ratio_is_taken_within_a_round():
    ours = [{"seconds": s} for s in (9.0, 1.0, 10.0, 4.0)]
    theirs = [{"seconds": s} for s in (1.0, 2.0, 40.0, 2.0)]
    found = ratio(ours, theirs)
    assert (found.low, found.middle, found.high) == (0.375, 0.5, 1.25)
    assert found.seconds == 2.0


def test_one_slow_round_does_not_decide_between_ways():
    a = [{"seconds": s} for s in (1.0, 2.0, 2.0, 90.0)]
    b = [{"seconds": s} for s in (1.0, 3.0, 3.0, 3.0)]
    assert fastest(list(zip(a, b, strict=True))) == a


def test_an_absent_peer_has_no_turn(log, monkeypatch):
    monkeypatch.delenv("FNN_TORCH_PYTHON", raising=False)
    monkeypatch.setattr("benchmarks.turns.importlib.util.find_spec", lambda name: None)
    assert set(take_turns("steps", ["pytorch", "hand_written", "flax_nnx"], ["gpt"], 1)) == {
        "hand_written"
    }


def test_pytorch_may_live_elsewhere(monkeypatch):
    monkeypatch.setenv("FNN_TORCH_PYTHON", "/somewhere/python")
    assert interpreter("pytorch") == "/somewhere/python"
    assert interpreter("optax_loop") == sys.executable


def test_a_peer_whose_compiler_fails_is_absent(monkeypatch):
    monkeypatch.setenv("FNN_TORCH_PYTHON", sys.executable)
    for code, found in (("pass", sys.executable), ("import nothing_of_this_name", None)):
        monkeypatch.setitem(WORKS, "pytorch_compiled", code)
        assert interpreter("pytorch_compiled") == found


@pytest.mark.long
def test_a_peer_that_fails_shows_its_error():
    with pytest.raises(RuntimeError, match=r"(?s)steps.plain_jax .*FileNotFoundError.*nowhere"):
        take_turns("steps", ["plain_jax"], ["gpt", "nowhere.npz", "1"], 1)
