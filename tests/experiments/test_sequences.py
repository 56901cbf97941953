import jax
import numpy as np
import pytest

from experiments import sequences
from experiments.sequences import recurrent


def test_a_radius_multiplies_the_recurrent_weights_alone():
    params = recurrent.network("RNN").init(jax.random.key(0))
    run = recurrent.Learned(jax.tree.map(lambda a: a[None], params), None, np.zeros((1, 1)))
    inner, _, readout = sequences.scaled(run, 3.0)
    assert abs(np.linalg.eigvals(inner.wh[0])).max() == pytest.approx(3.0, rel=1e-5)
    np.testing.assert_array_equal(inner.wx[0], params[0].wx)
    np.testing.assert_array_equal(readout.w[0], params[2].w)
