"""Tests of fnn.curvature.diagonals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise, some
from curved import dense, flat, moved

import fnn
from fnn.curvature import (
    fisher_diagonal,
    fisher_product,
    gauss_newton_diagonal,
    gauss_newton_product,
)

KEY = jax.random.key(0)
LABELS = jax.random.randint(jax.random.key(2), (3, 4), 0, 5)
MASK = jnp.array([[True, True, False, True], [False, True, True, False], [True] * 4])
WEIGHTS = jnp.array([1.0, 0.3, 2.0])


def language(middle):
    return fnn.Serial(embed=fnn.Embedding(5, 3), middle=middle, head=fnn.Unembed(3, 5))


CASES = {
    "moments, one step": lambda: (
        fnn.Dense(3, 4), fnn.GaussianNLL(), noise(3, 3), noise(3, 2, seed=2)),
}  # fmt: skip
MORE = {
    "tied, masked, factored logits": lambda: (
        fnn.Tied(language(fnn.RNN(3, 3)), head="embed"), fnn.LinearSoftmaxCrossEntropy(chunk=3),
        fnn.Sequence(LABELS[:, ::-1], MASK), LABELS),
    "attention, repeated": lambda: (
        language(fnn.Repeat(2, fnn.Residual(fnn.Attention(3, 1)))), fnn.SoftmaxCrossEntropy(),
        LABELS[:, ::-1], LABELS),
    "paths": lambda: (fnn.Serial(fnn.Dense(3, 4)), fnn.CTC(), noise(3, 4, 3),
                      jnp.array([[1, 2], [3, -1], [2, 2]])),
    "a pair": lambda: (
        fnn.Parallel(fnn.Dense(3, 2), fnn.Dense(3, 4), join=None),
        fnn.ELBO(beta=2.0), noise(3, 3), jax.nn.sigmoid(noise(3, 2, seed=3))),
    "images, frozen": lambda: (
        fnn.Serial(fnn.Conv2d(2, 3, 2), fnn.LayerNorm(3), fnn.Frozen(fnn.Dense(3, 2)),
                   fnn.GlobalAvgPool()),
        fnn.SigmoidBinaryCrossEntropy(), noise(3, 3, 4, 2), jax.nn.sigmoid(noise(3, 2))),
}  # fmt: skip


@pytest.mark.parametrize("case", [*CASES, *some(MORE, 3)])
def test_diagonals_are_those_of_the_matrices(case):
    net, loss, x, target = (CASES | MORE)[case]()
    p, tree = moved(net.init(KEY))
    penalty, weights = fnn.L2(0.3), WEIGHTS
    known = not isinstance(loss, fnn.CTC | fnn.ELBO)
    kinds = ("empirical", "exact") if known else ("empirical",)

    @jax.jit
    def run(p, x, target):
        args, options = (net, loss, tree(p), x, target), {"weights": weights, "penalty": penalty}
        pairs = [(gauss_newton_diagonal(*args, **options),
                  dense(lambda v: gauss_newton_product(*args, v, **options), tree(p)))]  # fmt: skip
        for kind in kinds:
            named = {**options, "kind": kind}
            matrix = dense(lambda v, o=named: fisher_product(*args, v, **o), tree(p))
            pairs.append((fisher_diagonal(*args, **named), matrix))
        return [(flat(d), jnp.diag(matrix)) for d, matrix in pairs]

    for found, want in run(p, x, target):
        size = max(1.0, float(abs(want).max()))
        np.testing.assert_allclose(found / size, want / size, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_of_many_draws_the_mean_is_the_diagonal():
    net, x = fnn.Dense(2, 3), noise(4, 2)
    params, n = net.init(KEY), 2000
    args = net, fnn.SoftmaxCrossEntropy(), params, x, jnp.zeros(4, int)

    @jax.jit
    def run(x):
        args = net, fnn.SoftmaxCrossEntropy(), params, x, jnp.zeros(4, int)
        return gauss_newton_diagonal(*args), fisher_diagonal(
            *args, kind="monte_carlo", samples=n, key=KEY
        )

    exact, drawn = map(flat, run(x))
    assert (abs(drawn - exact) < 8 * exact / n**0.5).all()
    with pytest.raises(ValueError, match="fisher_diagonal: kind must be one of"):
        fisher_diagonal(*args, kind="true")
    with pytest.raises(NotImplementedError, match="BatchNorm.*nothing per example here"):
        gauss_newton_diagonal(fnn.BatchNorm(3), fnn.SquaredError(),
                              fnn.BatchNorm(3).init(KEY), noise(4, 3), noise(4, 3))  # fmt: skip
