import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from experiments import batch_size
from experiments.batch_size import WAYS, Config


@pytest.mark.parametrize(("way", "factor"), list(zip(WAYS, (1.0, 2 / 3), strict=True)))
def test_the_variance_of_batches_of_two_out_of_four(way, factor):
    each = jnp.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # σ² = 5
    found = batch_size.variance(jax.random.key(0), way, 2, each, 20_000)
    assert found == pytest.approx(5 / 2 * factor, rel=0.03)
    assert batch_size.predicted(5.0, np.array([2]), 4)[way] == pytest.approx(5 / 2 * factor)


@pytest.mark.long
def test_a_gradient_of_a_partition_is_that_of_its_rows():
    x, label = batch_size.digits(64)
    params = batch_size.NET.init(jax.random.key(0))
    parts = batch_size.gradients(params, x, label, 16)
    _, second = fnn.value_and_grad(batch_size.NET, batch_size.LOSS, params, x[16:32], label[16:32])
    flat, _ = ravel_pytree(second)
    np.testing.assert_allclose(parts[1], flat, atol=1e-6)


@pytest.mark.long
def test_the_scatter_is_the_mean_square_of_the_rows():
    each, _, sigma2 = batch_size.scatter(Config(n=64), *batch_size.digits(64))
    assert sigma2 == pytest.approx((each**2).sum(1).mean(), rel=1e-9)


def test_the_first_record_below_the_level_counts():
    losses = np.array([[3.0, 1.0, 2.0, 0.5], [3.0, 3.0, 3.0, 3.0]])
    assert batch_size.reached(losses, 1.0).tolist() == [2.0, np.inf]
