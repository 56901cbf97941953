"""Tests of fnn.columns, by the derivatives of logits that are formed whole."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.columns import Columnwise
from fnn.factors import Outer, Rows
from fnn.logits import Logits
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.together import Together

C = jnp.array([2.0, 0.0, -1.0])
LABELS = jnp.array([[1, 10, 0, 4], [-1, 3, 10, 7], [2, 2, -1, 9]])
KINDS = {  # target, options, how many positions at a time, of 12
    "labels": (jnp.abs(LABELS), {}, 4),
    "ignored, many blocks": (LABELS, {"ignore_label": -1}, 1),
    "smoothed": (jnp.abs(LABELS), {"label_smoothing": 0.2}, 5),
    "rows": (jax.nn.softmax(noise(3, 4, 11, seed=7)), {"label_smoothing": 0.1}, 4),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def both(kind, *, n=6):
    """The losses and dy in blocks, and those of the whole logits."""
    target, how, chunk = KINDS[kind]
    y, dl = Logits(noise(3, 4, n), noise(n, 11, seed=2)), noise(3, 4, seed=3).at[0, 2].set(0)
    ours = LinearSoftmaxCrossEntropy(**how, chunk=chunk).value_and_factors(y, target, dl)
    return ours, SoftmaxCrossEntropy(**how).value_and_factors(y, target, dl)


@EACH_KIND
def test_the_losses_and_both_factors_are_those_of_whole_logits(kind):
    (losses, dy), (want, whole) = both(kind)
    assert isinstance(dy.w, Columnwise)
    assert isinstance(whole.w, Outer)
    np.testing.assert_allclose(losses, want, **EXACT)
    np.testing.assert_allclose(dy.h, whole.h, **EXACT)
    np.testing.assert_allclose(dy.w.d.vectors(), whole.w.d, **EXACT)


@pytest.mark.parametrize(
    ("kind", "n"), [*zip(KINDS, (2, 6, 12, 2), strict=True)], ids=lambda v: f"{v}"
)
def test_all_that_is_asked_of_the_examples_is_that_of_whole_logits(kind, n):
    ours, whole = (dy.w for _, dy in both(kind, n=n))
    v = noise(n, 11, seed=5)
    for f, g, u in ((ours, whole, v), (ours.mT, whole.mT, v.T)):
        chex.assert_trees_all_close(asked(f, u), asked(g, u), **EXACT)


@jax.jit
def asked(f, v):
    """Everything that a factor is asked."""
    sums = f.gradient(), f.squares(C), f.weighed(C, True), f.scaled(C).each()
    return sums, f.each(), f.square_norms(), f.size(), f.products(), f.slopes(v)


@pytest.mark.slow
@EACH_KIND
def test_its_side_has_the_sums_of_whole_vectors(kind):
    ours, whole = (dy.w for _, dy in both(kind))
    w = noise(3, 4, seed=6) ** 2
    for f, g in ((ours.sides(), whole.sides()), (ours.mT.sides(), whole.mT.sides())):
        for side, other in ((f.rows, g.rows), (f.columns, g.columns)):
            assert side.shape == other.shape
            np.testing.assert_allclose(side.squares(w), other.squares(w), **EXACT)
            np.testing.assert_allclose(side.sums(w), other.sums(w), **EXACT)
            np.testing.assert_array_equal(side.there(), other.there())
        assert f.flipped == g.flipped


@EACH_KIND
def test_a_table_that_is_the_head_has_the_product_of_both_uses(kind):
    i = jnp.array([[1, 4, 1], [0, 10, 12], [-2, 3, 3]])  # 12 and −2 are outside
    rows = Rows(i, noise(3, 3, 6, seed=8), 11)
    ours, whole = (Together((rows, dy.w.mT)) for _, dy in both(kind))
    np.testing.assert_allclose(ours.square_norms(), whole.square_norms(), **EXACT)
    np.testing.assert_allclose(ours.square_norms(), (whole.each() ** 2).sum((1, 2)), **EXACT)
    np.testing.assert_allclose(ours.squares(C), jnp.tensordot(C, whole.each() ** 2, 1), **EXACT)
    np.testing.assert_allclose(ours.example(1).each(), whole.each()[1:2], **EXACT)
    ours, whole = (dy.w.at_rows(jnp.array([[1], [0], [2]])) for _, dy in both(kind))
    chex.assert_trees_all_close(ours, whole, **EXACT)


def test_what_has_weight_0_is_left_out_whatever_stands_there():
    target, how, chunk = KINDS["ignored, many blocks"]
    loss, h = LinearSoftmaxCrossEntropy(**how, chunk=chunk), noise(3, 4, 6)
    w, dl = noise(6, 11, seed=2), jnp.ones((3, 4)).at[0, 2].set(0)
    broken = h.at[0, 2].set(jnp.nan).at[1, 0].set(jnp.inf)  # weight 0, and a label to ignore
    got, want = (loss.value_and_factors(Logits(a, w), target, dl)[1].w for a in (broken, h))
    for f, g in ((got, want), (got.scaled(C), want.scaled(C))):
        chex.assert_trees_all_close(f.each(), g.each(), **EXACT)
        chex.assert_trees_all_close(f.square_norms(), g.square_norms(), **EXACT)
    broken = h.at[1].set(jnp.nan)
    got = loss.value_and_factors(Logits(broken, w), target, dl)[1].w.scaled(C)
    chex.assert_trees_all_close(got.each(), want.scaled(C).each(), **EXACT)


def test_a_label_that_is_no_class_makes_its_example_nan_under_jit():
    loss, y = LinearSoftmaxCrossEntropy(chunk=1), Logits(noise(3, 6), noise(6, 11, seed=2))

    @jax.jit
    def norms(labels):
        return loss.value_and_factors(y, labels, jnp.ones(3))[1].w.square_norms()

    found = norms(jnp.array([1, 11, 3]))
    np.testing.assert_array_equal(jnp.isnan(found), [False, True, False])


def test_a_label_that_is_nearly_certain_keeps_its_digits():
    y = Logits(jnp.array([[30.0], [1.0]], "float32"), jnp.array([[1.0, 0.0, -1.0]], "float32"))
    labels, dl = jnp.array([0, 1]), jnp.ones(2, "float32")
    dz = LinearSoftmaxCrossEntropy(chunk=1).value_and_factors(y, labels, dl)[1].w.d.vectors()
    z = np.float64([[30, 0, -30], [1, 0, -1]])
    e = np.exp(z - z.max(1, keepdims=True))
    want = e / e.sum(1, keepdims=True)
    want[0, 0], want[1, 1] = -(e[0, 1:].sum() / e[0].sum()), -(e[1, [0, 2]].sum() / e[1].sum())
    np.testing.assert_allclose(dz[:, 0], want, rtol=2e-5)


def net_of(chunk):
    """A transformer whose table is its head, and its loss."""
    net = fnn.gpt(11, 6, 2, 1, 5, tied=True)
    return net, LinearSoftmaxCrossEntropy(chunk=chunk, ignore_label=0)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["norms", "grads", "products", "noise", "kfac", "clipped"])
def test_a_net_with_a_tied_head_is_the_same_in_blocks(what):
    rules = fnn.rules
    rule = {
        "norms": rules.example_norms,
        "grads": rules.example_grads,
        "products": rules.example_products,
        "noise": (rules.backprop, rules.noise_scale),
        "kfac": (rules.kfac().learning(), rules.example_norms),
    }.get(what)
    tokens = jnp.arange(20).reshape(4, 5) * 7 % 11
    found = []
    for chunk in (None, 3):
        net, loss = net_of(chunk)
        params = net.init(jax.random.key(0))
        if rule is None:
            found += [fnn.clipped_grad(net, loss, params, tokens, tokens[:, ::-1], 0.5)]
        else:
            done = fnn.fold(net, loss, params, tokens, tokens[:, ::-1], rule=rule)
            found += [(done.loss, done.result, done.companion, done.dx)]
    chex.assert_trees_all_close(*found, rtol=1e-9, atol=1e-12)


def test_norms_take_the_memory_of_blocks():
    n, length, n_vocab = 4, 32, 4096
    net = fnn.Serial(fnn.Dense(3, n), fnn.Unembed(n, n_vocab))
    params = jax.eval_shape(net.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((8, length, 3), "float64")
    labels = jax.ShapeDtypeStruct((8, length), "int32")

    def norms(chunk, params, x, labels):
        loss = LinearSoftmaxCrossEntropy(chunk=chunk)
        return fnn.fold(net, loss, params, x, labels, rule=fnn.rules.example_norms).result

    taken = [
        jax.jit(norms, static_argnums=0).lower(chunk, params, x, labels).compile()
        .memory_analysis().temp_size_in_bytes
        for chunk in (8 * length, 32)
    ]  # fmt: skip
    assert taken[0] > 8 * length * n_vocab * 8  # whole logits
    assert taken[1] < 0.3 * taken[0]
