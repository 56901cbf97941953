import jax.numpy as jnp
import numpy as np

from experiments.common.timing import in_turn


def test_what_does_more_takes_longer_in_every_round():
    x = jnp.ones((400, 400))
    seconds = in_turn([lambda x: x[0, 0] + 1, lambda x: x @ x @ x @ x], (x,), rounds=4)
    assert seconds.shape == (4, 2)
    assert (seconds > 0).all()
    assert np.median(seconds[:, 1]) > 3 * np.median(seconds[:, 0])
