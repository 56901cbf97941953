"""Tests of fnn.curvature.likelihoods."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.curvature import Likelihood, fisher_product, likelihood
from fnn.curvature.fisher import expected, sampled

N, U = 40_000, noise(2, 3, seed=2)
Z, CHANCES = noise(2, 3), jax.nn.softmax(noise(2, 3))
LABEL, ROWS = jnp.array([0, 2]), jax.nn.softmax(noise(2, 3, seed=8))
ONES, DL = jnp.ones((2, 3)), jnp.array([0.5, 2.0])
PLACES = jnp.arange(2, dtype=jnp.int32)
CASES = {  # loss, z, a target whose values do not matter, all targets with their chances
    "SoftmaxCrossEntropy": (fnn.SoftmaxCrossEntropy(label_smoothing=0.1), Z, LABEL, "classes"),
    "KLDivergence": (fnn.KLDivergence(), Z, ROWS, "classes"),
    "CrossEntropy": (fnn.CrossEntropy(), CHANCES, LABEL, "classes"),
    "SigmoidBinaryCrossEntropy": (fnn.SigmoidBinaryCrossEntropy(), Z, ONES, "coins"),
    "BinaryCrossEntropy": (fnn.BinaryCrossEntropy(), CHANCES, ONES, "coins"),
    "SquaredError": (fnn.SquaredError(0.3), Z, ONES, "normal"),
    "PoissonNLL": (fnn.PoissonNLL(), Z, ONES, "counts"),
    "AbsoluteError": (fnn.AbsoluteError(), Z, ONES, "exponential"),
    "GaussianNLL": (fnn.GaussianNLL(), noise(2, 6), ONES, "moments"),
}


def ways(kind, z, loss):
    """Every value of a target, or nodes enough for squares of it, with its chances, by entry."""
    if kind == "coins":
        p = z if isinstance(loss, fnn.BinaryCrossEntropy) else jax.nn.sigmoid(z)
        return [(jnp.ones_like(z), p), (jnp.zeros_like(z), 1 - p)]
    if kind == "counts":
        rate, chance = jnp.exp(z), jnp.exp(-jnp.exp(z))
        found = []
        for t in range(80):
            found.append((jnp.full_like(z, t), chance))
            chance = chance * rate / (t + 1)
        return found
    if kind == "exponential":
        return [(z - 1.5, jnp.full_like(z, 0.5)), (z + 1.5, jnp.full_like(z, 0.5))]
    nodes, chances = np.polynomial.hermite_e.hermegauss(9)
    m, s = jnp.split(z, 2, -1) if kind == "moments" else (z, None)
    std = jnp.exp(s / 2) if kind == "moments" else (2 * loss.scale) ** -0.5
    pairs = zip(nodes, chances / chances.sum(), strict=True)
    return [(m + std * a, jnp.full_like(m, c)) for a, c in pairs]


def second_moment(name):
    """E ε εᵀ u of the scores ε, as jax.grad of the loss's forward has them."""
    loss, z, _, kind = CASES[name]
    if kind == "classes":
        plain = fnn.CrossEntropy() if name == "CrossEntropy" else fnn.SoftmaxCrossEntropy()
        p = z if name == "CrossEntropy" else jax.nn.softmax(z)

        def score(k):
            target = jnp.full(2, k)
            return jax.grad(lambda z: plain.forward(z, target)[0].sum())(z)

        e = jnp.stack([score(k) for k in range(3)])
        return jnp.einsum("kb,kbi,kbj->bij", p.T, e, e)
    found = 0
    for target, chance in ways(kind, z, loss):
        e = jax.grad(lambda z, t=target: loss.forward(z, t)[0].sum())(z)
        parts = jnp.stack(jnp.split(e, e.shape[-1] // 3, -1))  # of an entry of the target
        found += jnp.einsum("bk,ibk,jbk->bijk", chance, parts, parts)
    i, k = found.shape[1], 3
    whole = jnp.einsum("bijk,kl->bikjl", found, jnp.eye(3))  # other entries are independent
    return whole.reshape(2, i * k, i * k)


SLOW = [n for n in CASES if n != "GaussianNLL"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES]
)
def test_the_second_moment_of_scores_is_what_is_expected_and_what_is_drawn(name):
    loss, z, target, _ = CASES[name]
    want = DL[:, None, None] * jax.jit(second_moment, static_argnums=0)(name)
    u = noise(*z.shape, seed=2)
    want_u = jnp.einsum("bij,bj->bi", want, u)
    likely = likelihood(loss)
    if likely.expected is not None:
        found = jax.jit(lambda z, u: expected(likely, loss, z, u, target, DL, PLACES))(z, u)
        np.testing.assert_allclose(found, want_u, rtol=1e-9, atol=1e-12)
    key = jax.random.key(1)
    draw = jax.jit(lambda z, u: sampled(likely, N, key, loss, z, u, target, DL, PLACES))
    size = jnp.einsum("bii->b", want)[:, None] * jnp.linalg.norm(u, axis=-1)[:, None]
    assert (abs(draw(z, u) - want_u) < 8 * size / N**0.5).all()


@dataclass(frozen=True)
class Own(fnn.SquaredError):
    """A loss of another distribution."""


@likelihood.register(Own)
def _(loss):
    return Likelihood(loss, lambda key, z: z, None)


def test_a_loss_of_ones_own_says_its_distribution():
    net = fnn.Dense(3, 3)
    params = net.init(jax.random.key(0))
    args = net, Own(), params, Z, ONES, params
    run = jax.jit(lambda key: fisher_product(*args, kind="monte_carlo", key=key))
    assert not run(jax.random.key(0)).w.any()  # scores are 0 where target is z
    with pytest.raises(NotImplementedError, match="Own.*no exact Fisher matrix here"):
        fisher_product(*args, kind="exact")


@pytest.mark.parametrize("loss", [fnn.Hinge(), fnn.CTC(), fnn.InfoNCE(), fnn.ELBO()], ids=repr)
def test_a_loss_of_no_known_distribution_is_refused_by_name(loss):
    with pytest.raises(NotImplementedError, match=f"{type(loss).__name__}.*no Fisher matrix here"):
        likelihood(loss)
