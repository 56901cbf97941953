"""Tests of fnn.losses.linear_softmax."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, check_loss, noise

import fnn
from fnn.layers.activations import Identity
from fnn.logits import Logits
from fnn.losses import linear_softmax
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.numerics import cast

LABELS = jnp.array([2, 0, 1, 3, 1, 4, 0])  # of 7 positions, 5 classes
Y = Logits(noise(7, 3), noise(3, 5, seed=2))
SIZES = [*(((7,), chunk) for chunk in (1, 2, 3, 64, None)), ((2, 5), 3), ((2, 3, 4), 5)]
KINDS = pytest.mark.parametrize("kind", ["labels", "ignored", "rows"])


def targets(kind, rows):
    """Labels below 5, labels some of which are −1, or rows of probabilities."""
    if kind == "rows":
        return jax.nn.softmax(noise(*rows, 5, seed=3))
    low = -1 if kind == "ignored" else 0
    return jnp.asarray(np.random.default_rng(0).integers(low, 5, rows))


def test_contract():
    check_loss(LinearSoftmaxCrossEntropy(0.3, chunk=3), Y, targets("rows", (7,)))


@pytest.mark.slow
def test_contract_of_sequences_with_labels_to_ignore():
    target = jnp.array([[1, 0, 4, 2], [-1, 2, 3, -1]])
    loss = LinearSoftmaxCrossEntropy(ignore_label=-1, chunk=3)
    check_loss(loss, Logits(noise(2, 4, 3), noise(3, 5)), target)


@pytest.mark.slow
def test_as_many_positions_as_features_do_not_confuse_the_checker():
    loss, y = LinearSoftmaxCrossEntropy(), Logits(noise(3, 3), noise(3, 5, seed=2))
    fnn.check(loss, y, jnp.array([0, 4, 2])).raise_if_wrong()


def test_by_hand():
    w = jnp.log(jnp.array([[1.0, 2, 5], [1, 1, 2]]))
    h, dl = jnp.eye(2), jnp.array([8.0, 4.0])  # the logits are the rows of w
    losses, dy = LinearSoftmaxCrossEntropy(chunk=1).value_and_backward(
        Logits(h, w), jnp.array([2, 0]), dl
    )
    dz = np.array([[1.0, 2, -3], [-3, 1, 2]])
    np.testing.assert_allclose(losses, np.log([8 / 5, 4]))
    np.testing.assert_allclose(dy.w, dz)
    np.testing.assert_allclose(dy.h, dz @ np.log([[1, 1], [2, 1], [5, 2]]))


@KINDS
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize(("rows", "chunk"), SIZES, ids=str)
def test_it_is_the_loss_of_the_product(rows, chunk, smoothing, kind):
    how = {"label_smoothing": smoothing, "ignore_label": -1}
    fused = LinearSoftmaxCrossEntropy(chunk=chunk, **how)
    h, w, target = noise(*rows, 3), noise(3, 5, seed=2), targets(kind, rows)
    dl = noise(*rows, seed=4)
    losses, dz = SoftmaxCrossEntropy(**how).value_and_backward(h @ w, target, dl)
    want = Logits(dz @ w.T, jnp.einsum("...i,...k->ik", h, dz))
    in_one = fused.value_and_backward(Logits(h, w), target, dl)
    chex.assert_trees_all_close(in_one, (losses, want), rtol=1e-10, atol=1e-13)
    forward, cache = fused.forward(Logits(h, w), target)
    in_two = forward, fused.backward(cache, dl)
    chex.assert_trees_all_close(in_two, (losses, want), rtol=1e-10, atol=1e-13)


def test_no_position_gives_no_loss_and_no_gradient():
    y = Logits(noise(0, 3), noise(3, 5))
    losses, dy = LinearSoftmaxCrossEntropy().value_and_backward(y, LABELS[:0], jnp.zeros(0))
    assert (losses.shape, dy.h.shape) == ((0,), (0, 3))
    np.testing.assert_array_equal(dy.w, np.zeros((3, 5)))


@KINDS
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_positions_without_weight_are_left_out_even_where_h_is_nan(kind, chunk):
    loss, dl = LinearSoftmaxCrossEntropy(ignore_label=-1, chunk=chunk), noise(7, seed=4)
    target, gone = targets(kind, (7,)), jnp.arange(7) % 3 == 1
    if kind == "ignored":
        gone = target == -1
    else:
        dl = jnp.where(gone, 0, dl)
    assert 0 < gone.sum() < 7
    h = jnp.where(gone[:, None], jnp.nan, Y.h)
    _, dy = jax.jit(loss.value_and_backward)(Logits(h, Y.w), target, dl)
    kept = np.flatnonzero(~gone)
    _, want = loss.value_and_backward(Logits(h[kept], Y.w), target[kept], dl[kept])
    chex.assert_trees_all_close(Logits(dy.h[kept], dy.w), want, **EXACT)
    np.testing.assert_array_equal(dy.h[gone], 0)


ROWS = jnp.tile(jnp.array([0.25, 0.25, 0.25, 0.25, 0]), (7, 1))
BAD = [
    (LABELS.at[1].set(5), r"hold labels in \[0, 5\), got 5 at index 1 \(1 of 7 are wrong\)"),
    (LABELS.at[4].set(-1), r"got -1 at index 4 .*ignore_label=-1 leaves such rows out"),
    (ROWS.at[3, 0].set(0.5), r"sum of a target row must be 1, got 1\.25 at index 3"),
    (ROWS.at[3, 0].set(jnp.nan), r"must be in \[0, 1\], got nan at index \[3, 0\]"),
]


@pytest.mark.parametrize(("target", "message"), BAD)
def test_bad_targets_are_refused_where_they_are_known(target, message):
    loss = LinearSoftmaxCrossEntropy(chunk=2)
    with pytest.raises(ValueError, match=r"^LinearSoftmaxCrossEntropy\(.*\): .*" + message):
        loss.forward(Y, target)
    with pytest.raises(ValueError, match=message):
        loss.value_and_backward(Y, target, jnp.ones(7))


@pytest.mark.parametrize("target", [target for target, _ in BAD])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_bad_targets_poison_their_position_and_w_under_jit(target, smoothing):
    loss = LinearSoftmaxCrossEntropy(smoothing, chunk=2)
    losses, dy = jax.jit(loss.value_and_backward)(Y, target, jnp.ones(7))
    wrong = np.asarray(target.sum(-1) != 1 if target.ndim > 1 else (target < 0) | (target > 4))
    assert wrong.sum() == 1
    np.testing.assert_array_equal(np.isnan(losses), wrong)
    np.testing.assert_array_equal(np.isnan(dy.h), np.stack([wrong] * 3, -1))
    assert np.isnan(dy.w).all()


def test_a_bad_label_without_weight_poisons_no_gradient():
    loss, target = LinearSoftmaxCrossEntropy(chunk=2), LABELS.at[1].set(9)
    dl = jnp.ones(7).at[1].set(0)
    _, dy = jax.jit(loss.value_and_backward)(Y, target, dl)
    assert np.isfinite(dy.h).all()
    assert np.isfinite(dy.w).all()


def test_the_logits_are_never_whole():
    n, n_in, n_vocab = 512, 16, 4096
    y = Logits(
        jax.ShapeDtypeStruct((n, n_in), "float32"),
        jax.ShapeDtypeStruct((n_in, n_vocab), "float32"),
    )
    target, dl = jax.ShapeDtypeStruct((n,), "int32"), jax.ShapeDtypeStruct((n,), "float32")

    def temporary(loss):
        compiled = jax.jit(loss.value_and_backward).lower(y, target, dl).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = 4 * n * n_vocab
    assert temporary(LinearSoftmaxCrossEntropy(chunk=32)) < whole / 3
    assert temporary(LinearSoftmaxCrossEntropy(chunk=n)) > whole


@pytest.mark.parametrize("n_vocab", [2**10, 2**16, 2**20])
def test_a_chunk_has_about_as_many_logits_whatever_the_vocabulary(n_vocab):
    loss, h = LinearSoftmaxCrossEntropy(), jax.ShapeDtypeStruct((3, 5000, 2), "float32")
    (chunks,) = jax.eval_shape(lambda h: loss.chunks(h.shape[:-1], n_vocab, (h,)), h)
    n_chunks, size, _ = chunks.shape
    assert 0.9 * max(2**21 // n_vocab, 128) < size <= max(2**21 // n_vocab, 128)
    assert 15000 <= n_chunks * size < 15000 + n_chunks


def test_whole_logits_are_taken_as_the_softmax_loss_takes_them():
    fused, whole, y = LinearSoftmaxCrossEntropy(0.1), SoftmaxCrossEntropy(0.1), noise(7, 5)
    dl = noise(7, seed=2)
    assert fused.shape(y) == (7,)
    chex.assert_trees_all_equal(
        fused.value_and_backward(y, LABELS, dl), whole.value_and_backward(y, LABELS, dl)
    )
    losses, cache = fused.forward(y, LABELS)
    want, want_cache = whole.forward(y, LABELS)
    chex.assert_trees_all_equal(
        (losses, fused.backward(cache, dl)), (want, whole.backward(want_cache, dl))
    )


@pytest.mark.parametrize("chunk", [2, None])
def test_a_hessian_vector_product_is_that_of_whole_logits(chunk):
    def gradient(loss, factored):
        def g(h, w):
            y = Logits(h, w) if factored else h @ w
            dy = loss.value_and_backward(y, LABELS, jnp.ones(7))[1]
            return dy if factored else Logits(dy @ w.T, h.T @ dy)

        return jax.jvp(g, (Y.h, Y.w), (noise(7, 3, seed=5), noise(3, 5, seed=6)))[1]

    ours = gradient(LinearSoftmaxCrossEntropy(chunk=chunk), True)
    chex.assert_trees_all_close(ours, gradient(SoftmaxCrossEntropy(), False), **EXACT)


def test_vmap_is_one_after_another():
    loss, dl = LinearSoftmaxCrossEntropy(chunk=2), noise(4, 7, seed=3)
    h, w = noise(4, 7, 3), noise(4, 3, 5, seed=2)
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 5, (4, 7)))
    many = jax.vmap(loss.value_and_backward)(Logits(h, w), labels, dl)
    for i in range(4):
        one = loss.value_and_backward(Logits(h[i], w[i]), labels[i], dl[i])
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], many), one, **EXACT)


def test_half_precision_sums_in_single_precision():
    n = 4096
    y = cast(Logits(noise(n, 8), noise(8, 5, seed=2)), "bfloat16")
    labels, dl = jnp.zeros(n, int), jnp.full(n, 1 / n, "float32")
    run = jax.jit(LinearSoftmaxCrossEntropy(chunk=16).value_and_backward)
    losses, dy = run(y, labels, dl)
    assert (losses.dtype, dy.h.dtype, dy.w.dtype) == ("float32", "bfloat16", "bfloat16")
    exact, wide = run(cast(y, float), labels, dl.astype(float))
    np.testing.assert_allclose(losses, exact, rtol=1e-5, atol=1e-6)  # z is not rounded
    error = abs(dy.w.astype(float) - wide.w).max() / abs(wide.w).max()
    assert error < 2**-7  # 256 chunks, added up in bfloat16, would be off by more


def test_its_mean_in_the_driver_leaves_ignored_labels_out():
    target = LABELS.at[3].set(-1)
    loss = LinearSoftmaxCrossEntropy(ignore_label=-1, chunk=2)
    z = Y.h.at[3].set(jnp.nan) @ Y.w
    value, _ = jax.jit(fnn.value_and_grad)(Identity(), loss, (), z, target)
    losses = SoftmaxCrossEntropy(ignore_label=-1).forward(z, target)[0]
    np.testing.assert_allclose(value, losses.sum() / 6, rtol=1e-12)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ((Y.h, Y.w), TypeError, r"y must be an array, got tuple"),
        (
            Logits(Y.h, Y.w.T),
            ValueError,
            r"h \[B, \.\.\., n\] and w \[n, V\], got \[7, 3\] and",
        ),
        (Logits(Y.h[0], Y.w), ValueError, r"got \[3\] and \[3, 5\]"),
        (Logits(Y.h, Y.w[None]), ValueError, r"got \[7, 3\] and \[1, 3, 5\]"),
        (Logits(Y.h, Y.w[:, :1]), ValueError, r"at least 2 classes .*got \[7, 1\]"),
        (Logits(LABELS[:, None], Y.w), TypeError, r"h must be floating, got int64"),
        (Logits(Y.h, [[1.0]]), TypeError, r"w must be an array, got list"),
    ],
    ids=["tuple", "transposed", "one example", "rank 3", "one class", "integers", "list"],
)
def test_factors_that_do_not_fit_are_refused(y, error, message):
    with pytest.raises(error, match=r"^LinearSoftmaxCrossEntropy\(.*\): .*" + message):
        LinearSoftmaxCrossEntropy().forward(y, LABELS)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (LABELS[:3], ValueError, r"target must have shape \[7\] \(labels\) or \[7, 5\]"),
        (LABELS.astype(float), TypeError, r"labels must be integers, got float64"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target, error, message):
    with pytest.raises(error, match=r"^LinearSoftmaxCrossEntropy\(.*\): .*" + message):
        LinearSoftmaxCrossEntropy().forward(Y, target)


@pytest.mark.parametrize("chunk", [0, -1])
def test_an_empty_chunk_is_rejected_when_built(chunk):
    with pytest.raises(ValueError, match=r"^LinearSoftmax.*chunk must be at least 1, or None\."):
        LinearSoftmaxCrossEntropy(chunk=chunk)


def test_smoothing_out_of_range_is_rejected_when_built():
    with pytest.raises(ValueError, match=r"^LinearSoftmaxCrossEntropy: label_smoothing must be"):
        LinearSoftmaxCrossEntropy(1.0)


def test_other_devices_have_more_positions_in_a_chunk():
    loss, n_rows, n_vocab = LinearSoftmaxCrossEntropy(), 3000, 20000
    y = Logits(*(jax.ShapeDtypeStruct(s, "bfloat16") for s in ((n_rows, 8), (8, n_vocab))))
    target, dl = (jax.ShapeDtypeStruct((n_rows,), t) for t in ("int32", "float32"))
    for platform, size in {"cpu": 125, "cuda": 1000, "tpu": 1000}.items():
        traced = jax.jit(loss.value_and_backward).trace(y, target, dl)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert f"tensor<{size}x{n_vocab}xf32>" in text
        assert f"tensor<{n_rows}x{n_vocab}x" not in text


@KINDS
def test_the_positions_of_a_chunk_change_no_number(kind, monkeypatch):
    loss, dl = LinearSoftmaxCrossEntropy(ignore_label=-1), noise(7, seed=4)
    if kind == "rows":
        loss = LinearSoftmaxCrossEntropy()
    target = targets(kind, (7,))
    want = loss.value_and_backward(Y, target, dl), loss.forward(Y, target)[0]
    monkeypatch.setattr(linear_softmax, "ENTRIES", 5)
    monkeypatch.setattr(linear_softmax, "CPU", 2)
    monkeypatch.setattr(linear_softmax, "OTHERS", 3)
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays)
    )
    found = loss.value_and_backward(Y, target, dl), loss.forward(Y, target)[0]
    chex.assert_trees_all_close(found, want, rtol=1e-12, atol=1e-12)
