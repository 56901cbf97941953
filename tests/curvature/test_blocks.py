"""Tests of fnn.curvature.blocks."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.curvature import fisher_blocks
from fnn.kronecker import is_blocks

KEY = jax.random.key(0)
LABELS = jax.random.randint(jax.random.key(1), (5, 6), 0, 4)
WEIGHTS = jnp.array([1.0, 0.5, 0.0, 2.0, 1.0])
STATIC = ("net", "loss", "kind", "sharing", "widest", "samples")
found = jax.jit(fisher_blocks, static_argnames=STATIC)


def layers(blocks):
    return jax.tree.leaves(blocks, is_leaf=is_blocks)


def gauss_newton(net, params, i, x, weights):
    """Σ dl Jᵀ 2 J of the arrays of layer i, its weights row by row, then the bias."""

    def outputs(matrix):
        layer = fnn.DenseParams(matrix[:-1], matrix[-1])
        return net.forward((*params[:i], layer, *params[i + 1 :]), x)[0]

    matrix = jnp.concatenate([params[i].w, params[i].b[None]])
    j = jax.jacobian(outputs)(matrix)
    j = j.reshape(*j.shape[:-2], matrix.size)
    dl = weights / weights.sum() / (j.shape[1] if j.ndim == 4 else 1)
    return 2 * jnp.einsum("b,b...kn,b...km->nm", dl, j, j)


LINEAR = fnn.Serial(fnn.Dense(3, 4), fnn.Dense(4, 2))
CASES = {  # where theory says that F is A ⊗ G
    "one step": (LINEAR, noise(5, 3), "expand"),
    "steps with losses of their own": (LINEAR, noise(5, 6, 3), "expand"),
    "one loss of all steps": (
        fnn.Serial(*LINEAR.layers, fnn.MeanOverTime()),
        noise(5, 6, 3),
        "reduce",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_exact_blocks_of_a_linear_net_are_those_of_gauss_newton(name):
    net, x, sharing = CASES[name]
    params = net.init(KEY)
    shape = net.forward(params, x)[0].shape
    how = {"kind": "exact", "sharing": sharing, "weights": WEIGHTS}
    blocks = found(net, fnn.SquaredError(), params, x, noise(*shape), **how)
    for i in (0, 1):
        want = gauss_newton(net, params, i, x, WEIGHTS)
        np.testing.assert_allclose(blocks[i].kronecker[0].whole(), want, rtol=1e-9, atol=1e-12)


NETS = {
    "mlp": (fnn.mlp([3, 4, 4], fnn.Tanh()), noise(5, 3), LABELS[:, 0]),
    "norm": (fnn.Serial(fnn.Dense(3, 4), fnn.LayerNorm(4)), noise(5, 3), LABELS[:, 0]),
    "lstm": (fnn.Serial(fnn.LSTM(3, 4), fnn.Dense(4, 4)), noise(5, 6, 3), LABELS),
    "gpt": (fnn.gpt(4, 4, 2, 1, 6), LABELS, LABELS[:, ::-1]),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n == "mlp" else pytest.param(n, marks=pytest.mark.slow) for n in NETS]
)
def test_monte_carlo_blocks_are_in_expectation_the_exact_ones(name):
    net, x, target = NETS[name]
    params, loss = net.init(KEY), fnn.SoftmaxCrossEntropy()
    how = {"weights": WEIGHTS}
    exact = found(net, loss, params, x, target, kind="exact", **how)

    @jax.jit
    def draws(keys):
        run = functools.partial(fisher_blocks, net, loss, params, x, target, kind="monte_carlo")
        return jax.lax.map(lambda key: run(key=key, **how), keys)

    each = draws(jax.random.split(jax.random.key(7), 300))
    for a, e in zip(jax.tree.leaves(each), jax.tree.leaves(exact), strict=True):
        error = np.asarray(a.std(0)) / 300**0.5
        assert (np.abs(a.mean(0) - e) <= 5 * error + 1e-12).all()
    with_bias = layers(each)[0].kronecker
    if with_bias:
        assert np.any(with_bias[0].columns.std(0) > 0)


def test_samples_are_averaged_and_a_key_says_which():
    net, x, target = NETS["mlp"]
    params, loss = net.init(KEY), fnn.SoftmaxCrossEntropy()
    run = functools.partial(found, net, loss, params, x, target, kind="monte_carlo")
    one, again, other = (run(key=jax.random.key(i)) for i in (3, 3, 4))
    chex.assert_trees_all_equal(one, again)
    assert np.any(one[0].kronecker[0].columns != other[0].kronecker[0].columns)
    many = run(key=KEY, samples=200)
    exact = found(net, loss, params, x, target, kind="exact")
    scale = float(jnp.trace(exact[0].kronecker[0].columns))
    for a, e in zip(jax.tree.leaves(many), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, e, atol=0.3 * max(scale, 1))


@pytest.mark.slow
def test_empirical_blocks_are_those_of_the_fold():
    net, x, target = NETS["mlp"]
    params, loss = net.init(KEY), fnn.SoftmaxCrossEntropy()
    args = net, loss, params, x, target
    for sharing in ("expand", "reduce"):
        blocks = found(*args, sharing=sharing, widest=4, weights=WEIGHTS)
        rule = fnn.rules.kfac(sharing, 4)
        want = fnn.fold(*args, rule=rule, weights=WEIGHTS).result
        chex.assert_trees_all_close(blocks, want, **EXACT)


def test_errors():
    net, x, target = NETS["mlp"]
    args = net, fnn.SoftmaxCrossEntropy(), net.init(KEY), x, target
    with pytest.raises(ValueError, match="fisher_blocks: kind must be one of empirical"):
        fisher_blocks(*args, kind="true")
    with pytest.raises(ValueError, match="fisher_blocks: sharing must be"):
        fisher_blocks(*args, sharing="all")
    with pytest.raises(ValueError, match='kind="monte_carlo" needs a key'):
        fisher_blocks(*args, kind="monte_carlo")
    with pytest.raises(NotImplementedError, match=r"Hinge.*: no Fisher matrix here"):
        fisher_blocks(net, fnn.Hinge(), args[2], x, noise(5, 4), kind="exact")
    net = fnn.Serial(embed=fnn.Embedding(4, 3), head=fnn.Dense(3, 4, bias=False))
    tied, loss = fnn.Tied(net, head="embed"), fnn.SoftmaxCrossEntropy()
    exact = functools.partial(fisher_blocks, tied, loss, kind="exact")
    with pytest.raises(NotImplementedError, match="uses of other units"):
        jax.eval_shape(exact, tied.init(KEY), LABELS, LABELS)
    mixing = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 4))
    with pytest.raises(NotImplementedError, match=r"layer 0, BatchNorm.*: nothing per example"):
        fisher_blocks(mixing, loss, mixing.init(KEY), x, target, kind="monte_carlo", key=KEY)
