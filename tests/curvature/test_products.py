"""Tests of fnn.curvature.products."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise, some
from curved import dense, flat, matrices, moved

import fnn
from benchmarks.mutations.subjects import BLOCKS, LAYERS, LOSSES, NETS, point
from fnn.curvature import fisher_product, gauss_newton_product, hessian_product
from fnn.curvature.products import curved
from fnn.sequence import mask_of

KEY = jax.random.key(0)
LEVEL = {"xla_backend_optimization_level": 1}  # at 0 XLA makes NaN of an Affine and a Softmax
LABELS = jax.random.randint(jax.random.key(2), (2, 5), 0, 5)
MASK = jnp.array([[True, True, False, True, False], [False, True, True, False, True]])
WEIGHTS = jnp.array([[0.5, 1.0, 2.0, 0.0, 1.5], [1.0, 0.7, 1.0, 1.3, 0.4]])


def products(net, loss, params, x, target, weights, *, key=None, alone=True, level=None):
    """The three products along a direction, and those of jax's own matrices."""
    p, tree = moved(params)
    v = noise(*p.shape, seed=5)

    @functools.partial(jax.jit, compiler_options=level)
    def both(p, v, x, target, weights):
        args, options = (net, loss, tree(p), x, target, tree(v)), {"key": key, "weights": weights}
        found = [flat(f(*args, **options)) for f in (hessian_product, gauss_newton_product)]
        if alone:
            found.append(flat(fisher_product(*args, **options)))
        mask = mask_of(x)
        w = weights if mask is None else jnp.where(mask, weights, 0)
        return found, [a @ v for a in matrices(net, loss, tree, p, x, target, w, key)]

    return both(p, v, x, target, weights)


def check(found, want):
    for a, b in zip(found, want, strict=False):
        size = max(1.0, float(abs(b).max()))
        assert size > 0
        np.testing.assert_allclose(a / size, b / size, rtol=1e-9, atol=1e-9)


def language(middle):
    net = fnn.Serial(embed=fnn.Embedding(5, 3), middle=middle, head=fnn.Unembed(3, 5))
    return fnn.Tied(net, head="embed"), fnn.LinearSoftmaxCrossEntropy(chunk=3)


HANDFUL = {
    "tied, masked, logits in chunks": lambda: (
        *language(fnn.Tanh()), fnn.Sequence(LABELS[:, ::-1], MASK), LABELS, WEIGHTS),
}  # fmt: skip
MORE = {
    "repeated, computed again": lambda: (
        *language(fnn.Repeat(2, fnn.Recompute(fnn.Residual(fnn.GRU(3, 3))))),
        fnn.Sequence(LABELS[:, ::-1], MASK), LABELS, WEIGHTS),
    "cast, two directions, dropout": lambda: (
        fnn.Cast(fnn.Serial(fnn.Bidirectional.of(fnn.LSTM(3, 4)), fnn.Dropout(0.3),
                            fnn.Dense(8, 5)), "float64"),
        fnn.SoftmaxCrossEntropy(label_smoothing=0.1),
        fnn.Sequence(noise(2, 5, 3), MASK), LABELS, WEIGHTS),
    "gpt": lambda: (fnn.gpt(5, 4, 2, 1, 5, chunk=2), fnn.LinearSoftmaxCrossEntropy(chunk=3),
                    LABELS[:, ::-1], LABELS, WEIGHTS),
    "factored logits, another loss": lambda: (
        language(fnn.Tanh())[0], fnn.SoftmaxFocal(), LABELS[:, ::-1], LABELS, WEIGHTS),
    "a pair": lambda: (
        fnn.Serial(fnn.Dense(3, 4), fnn.Parallel(
            fnn.Serial(fnn.Gaussian(), fnn.Dense(2, 3)), fnn.Identity(), join=None)),
        fnn.ELBO(beta=2.0), noise(2, 3), jax.nn.sigmoid(noise(2, 3, seed=3)), WEIGHTS[:, 0]),
    "paths": lambda: (fnn.Dense(3, 4), fnn.CTC(), fnn.Sequence(noise(2, 5, 3), MASK.at[:].set(
        jnp.arange(5) < jnp.array([[5], [4]]))), jnp.array([[1, 2], [3, -1]]), WEIGHTS[:, 1]),
}  # fmt: skip


@pytest.mark.parametrize("case", [*HANDFUL, *some(MORE, 4)])
def test_products_are_those_of_the_matrices(case):
    net, loss, x, target, weights = (HANDFUL | MORE)[case]()
    params = net.init(KEY)
    if isinstance(loss, fnn.CTC):  # whose weights are those of sequences, whatever the mask
        found, want = products_of_sequences(net, loss, params, x, target, weights)
    else:
        found, want = products(net, loss, params, x, target, weights, key=jax.random.key(3))
    check(found, want)


def products_of_sequences(net, loss, params, x, target, weights):
    """Of a loss that takes the mask itself: the matrix of products against jax's Hessian."""
    p, tree = moved(params)
    v = noise(*p.shape, seed=5)

    def z(p):
        return net.forward(tree(p), x)[0]

    def of(y):
        return (weights * loss.forward(y, target)[0]).sum() / weights.sum()

    @jax.jit
    def both(p, v):
        found = [flat(f(net, loss, tree(p), x, target, tree(v), weights=weights))
                 for f in (hessian_product, gauss_newton_product)]  # fmt: skip
        j, y = jax.jacfwd(lambda p: z(p).x)(p), z(p)
        inner = jax.hessian(lambda a: of(y.with_fields(x=a)))(y.x)
        n = y.x.size
        j, inner = j.reshape(n, -1), inner.reshape(n, n)
        return found, [jax.hessian(lambda p: of(z(p)))(p) @ v, j.T @ inner @ j @ v]

    return both(p, v)


WHOLE = {  # what they are made of is there
    "transformer_block", "transformer_block, of a decoder", "EncoderDecoder", "Attention",
    "mlp, GELU", "mlp, ELU",
}  # fmt: skip
SWEPT = [s for s in (*LAYERS, *BLOCKS, *NETS) if s.name not in WHOLE]


@pytest.mark.parametrize("subject", some(SWEPT, 4), ids=lambda s: s.name)
def test_products_of_every_layer(subject):
    f, params, x, _, key = point(subject, 1)
    if isinstance(f, fnn.Cast):
        f = fnn.Cast(f.inner, "float64")
    if jnp.issubdtype(x.dtype, jnp.floating):  # something that moves x: activations bend, too
        first = fnn.Affine(x.shape[-1])
        f, params = fnn.Serial(first, f), (first.init(KEY), params)
    y = jax.eval_shape(lambda: f.forward(params, x, key=key)[0])
    weights = 0.5 + abs(noise(*y.shape[:-1], seed=4))
    alone = "BatchNorm" not in repr(f) and "Headed" not in repr(f)  # the mutants' own
    options = {"key": key, "alone": alone, "level": LEVEL if "Softmax" in repr(f) else None}
    target = noise(*y.shape, seed=3)
    check(*products(f, fnn.SquaredError(), params, x, target, weights, **options))


@pytest.mark.slow
@pytest.mark.parametrize("subject", LOSSES, ids=lambda s: s.name)
def test_the_loss_is_curved_as_its_forward_is(subject):
    loss, _, y, target, _ = point(subject, 1)
    dl = 0.5 + abs(noise(*loss.shape(y), seed=4))

    @jax.jit
    def both(y, target, u):
        def of(y):
            return (dl * loss.forward(y, target)[0]).sum()  # of what is ignored 0

        return curved(loss, y, u, target, dl, None), jax.jvp(jax.grad(of), (y,), (u,))[1]

    u = noise(*y.shape, seed=6)
    np.testing.assert_allclose(*both(y, target, u), rtol=1e-9, atol=1e-9)
    if isinstance(loss, fnn.SoftmaxCrossEntropy | fnn.KLDivergence | fnn.SoftmaxFocal):
        equal = jnp.zeros_like(y)  # all classes equal, as a head of zeros has them
        near, _ = both(equal + 1e-9 * noise(*y.shape), target, u)
        np.testing.assert_allclose(both(equal, target, u)[0], near, rtol=1e-6, atol=1e-7)


NET, LOSS = fnn.mlp([3, 4, 5], fnn.Tanh()), fnn.SoftmaxCrossEntropy()
X, TARGET = noise(6, 3), jnp.array([0, 1, 2, 3, 4, 0])


@pytest.mark.slow
def test_the_penalty_the_gradient_many_directions_and_what_is_frozen():
    net = fnn.Serial(fnn.Dense(3, 2), fnn.Tanh(), fnn.Frozen(fnn.Dense(2, 5)))
    params, penalty = net.init(KEY), fnn.L2(0.3)

    @jax.jit
    def run(params, x):
        def hessian(v, **options):
            return hessian_product(net, LOSS, params, x, TARGET, v, **options)

        shifted = dense(functools.partial(hessian, penalty=penalty), params)
        g = dense(lambda v: gauss_newton_product(net, LOSS, params, x, TARGET, v, penalty=penalty),
                  params)  # fmt: skip
        g0 = dense(lambda v: gauss_newton_product(net, LOSS, params, x, TARGET, v), params)
        whole = hessian(params, gradient=True, penalty=penalty)
        again = fnn.value_and_grad(net, LOSS, params, x, TARGET, penalty=penalty)
        return shifted, dense(hessian, params), g - g0, whole[1:], again

    shifted, plain, more, whole, again = run(params, X)
    weights = flat(jax.tree.map(lambda chosen, p: 0.3 * chosen * jnp.ones_like(p),
                                penalty.mask(params), params))  # fmt: skip
    np.testing.assert_allclose(shifted - plain, jnp.diag(weights), **EXACT)
    np.testing.assert_allclose(more, jnp.diag(weights), **EXACT)
    np.testing.assert_allclose(plain, plain.T, atol=1e-15)
    frozen = jnp.arange(len(plain)) >= 3 * 2 + 2
    assert not plain[frozen].any()
    assert abs(plain[~frozen]).max() > 0.01
    chex.assert_trees_all_close(whole, again, **EXACT)


def test_errors():
    params = NET.init(KEY)
    wrong = jax.tree.map(lambda p: p[:-1], params)
    for f in (hessian_product, gauss_newton_product, fisher_product):
        name = f.__name__
        with pytest.raises(ValueError, match=rf"{name}: v\.0\.w must have shape \[3, 4\] as in"):
            f(NET, LOSS, params, X, TARGET, wrong)
        with pytest.raises(ValueError, match=f"{name}: weights must have shape"):
            f(NET, LOSS, params, X, TARGET, params, weights=jnp.ones(5))
    with pytest.raises(TypeError, match="hessian_product: gradient must be True or False"):
        hessian_product(NET, LOSS, params, X, TARGET, params, gradient="yes")
