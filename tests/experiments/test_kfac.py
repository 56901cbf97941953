import jax
import numpy as np
import pytest

from experiments import kfac
from experiments.kfac import ADAM, KFACS, Config, Seen

CONFIG = Config(hidden=(6, 3, 6), epochs=2, batch_size=629, seeds=2, rounds=3)


def test_steps_are_counted_to_the_end_of_the_first_epoch_that_reaches_the_goal():
    losses = np.array([[9.0, 5.0, 4.0, 5.0], [9.0, 8.0, 7.0, 6.0]])
    found = kfac.needed(CONFIG, losses, np.array([5.0, 5.5]))
    assert found.tolist() == [2 * 2, np.inf]


@pytest.mark.long
def test_it_is_trained_and_drawn_for_every_optimizer():
    key = jax.random.key(0)
    losses = jax.jit(lambda key: kfac.trained(CONFIG, KFACS["KFAC, own δ"], key, 2))(key)
    assert losses.shape == (2,)
    assert losses[1] < losses[0] < 64 * np.log(2) * 1.2
    names = (ADAM, *KFACS)
    seen = Seen(
        dict.fromkeys(names, np.array([[40.0, 30.0], [41.0, 31.0]])), dict.fromkeys(names, 0.1),
        {n: np.array([4.0, 4.0]) / (1 + (n != ADAM)) for n in names},
        {n: 1e-3 * (1 + (n != ADAM)) for n in names},
    )  # fmt: skip
    outcome = kfac.concluded(CONFIG, seen)
    assert all(outcome.findings.values())
    assert outcome.measured["share_of_steps"]["KFAC, own δ"] == 0.5
    left, right = outcome.figure.axes
    assert [a.get_xlabel() for a in (left, right)] == ["steps", "seconds"]
    assert len(right.get_legend().get_texts()) == 4
