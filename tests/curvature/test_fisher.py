"""Tests of fnn.curvature.fisher; the empirical matrix stands beside the others in test_products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curved import dense, flat

import fnn
from fnn.curvature import fisher_product, gauss_newton_product

KEY = jax.random.key(0)
LABELS = jax.random.randint(jax.random.key(2), (2, 4), 0, 5)
NET = fnn.Serial(embed=fnn.Embedding(5, 3), bend=fnn.Tanh(), head=fnn.Unembed(3, 5))
PARAMS = NET.init(KEY)
WHOLE, CHUNKED = fnn.SoftmaxCrossEntropy(), fnn.LinearSoftmaxCrossEntropy(chunk=3)


@pytest.mark.slow
def test_exact_is_gauss_newton_and_draws_do_not_depend_on_chunks():
    v, options = jax.tree.map(jnp.cos, PARAMS), {"weights": jnp.array([1.0, 0.3])}

    @jax.jit
    def run(v):
        args = PARAMS, LABELS, LABELS[:, ::-1]
        draws = {"kind": "monte_carlo", "samples": 3, "key": KEY, **options}
        exact = fisher_product(NET, CHUNKED, *args, v, kind="exact", **options)
        drawn = [fisher_product(NET, loss, *args, v, **draws) for loss in (WHOLE, CHUNKED)]
        same = gauss_newton_product(NET, WHOLE, *args, v, **options)
        once = fisher_product(NET, WHOLE, *args, v, **{**draws, "samples": 1})
        matrix = dense(lambda v: fisher_product(NET, CHUNKED, *args, v, **draws), PARAMS)
        return [*map(flat, (exact, same, *drawn, once))], matrix

    (exact, same, *drawn, once), matrix = run(v)
    np.testing.assert_allclose(exact, same, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(*drawn, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(matrix @ flat(v), drawn[0], rtol=1e-9, atol=1e-12)  # one matrix
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    assert abs(once - drawn[0]).max() > 1e-3  # another number of draws


def test_errors():
    args = NET, CHUNKED, PARAMS, LABELS, LABELS, PARAMS
    with pytest.raises(ValueError, match="kind must be one of empirical, monte_carlo, exact, got"):
        fisher_product(*args, kind="true")
    with pytest.raises(ValueError, match='fisher_product: kind="monte_carlo" needs a key'):
        fisher_product(*args, kind="monte_carlo")
    with pytest.raises(ValueError, match="fisher_product: samples must be at least 1, got 0"):
        fisher_product(*args, kind="monte_carlo", samples=0, key=KEY)
    with pytest.raises(TypeError, match="fisher_product: loss must be a Loss"):
        fisher_product(NET, fnn.CTC, *args[2:])


def test_what_mixes_examples_is_refused_by_the_empirical_kind_alone():
    net, x = fnn.BatchNorm(3), jnp.ones((4, 3))
    params = net.init(KEY)
    with pytest.raises(NotImplementedError, match="BatchNorm.*nothing per example here"):
        fisher_product(net, fnn.SquaredError(), params, x, x, params)
    with pytest.raises(NotImplementedError, match="InfoNCE.*nothing per example here"):
        fisher_product(net, fnn.InfoNCE(), params, x, jnp.arange(4), params)
    v = jax.tree.map(jnp.ones_like, params)
    run = jax.jit(lambda x: fisher_product(net, fnn.SquaredError(), params, x, x, v, kind="exact"))
    assert run(x).b.any()
