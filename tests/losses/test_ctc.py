"""Tests of fnn.losses.ctc."""

import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import check_loss, noise

import fnn
from fnn.logits import Logits
from fnn.losses.ctc import CTC

LOSS = CTC()
FORWARD, BOTH = jax.jit(LOSS.forward), jax.jit(LOSS.value_and_backward)
TARGET = jnp.array([[1, 2, 2], [3, -1, -1], [-1, -1, -1], [4, 1, -1]])
MASK = jnp.arange(6) < jnp.array([6, 3, 2, 5])[:, None]


def read(path, blank=0):
    """What a path reads: repetitions merged, then blanks dropped."""
    merged = [k for k, _ in itertools.groupby(path)]
    return [k for k in merged if k != blank]


def by_enumeration(p, labels, blank=0):
    """The sum of the probabilities of all paths that read the labels, p [T, C]."""
    paths = itertools.product(range(p.shape[1]), repeat=len(p))
    every = [math.prod(p[t, k] for t, k in enumerate(q)) for q in paths if read(q, blank) == labels]
    return math.fsum(every)


@pytest.mark.slow
def test_contract():
    check_loss(CTC(blank=4, padding=-7), noise(2, 5, 6), jnp.array([[0, 2, 2], [3, 0, -7]]))


@pytest.mark.parametrize(("T", "blank"), [(1, 0), (3, 3), (5, 0)])
def test_it_sums_over_all_paths(T, blank):
    rows = [r for r in ([], [1], [1, 1], [1, 2], [2, 1, 2], [2, 2, 1]) if n_frames(r) <= T]
    target = jnp.array([r + [-1] * (3 - len(r)) for r in rows])
    y = noise(len(rows), T, 4)
    losses, _ = jax.jit(CTC(blank).forward)(y, target)
    p = np.asarray(jax.nn.softmax(y))
    want = [-math.log(by_enumeration(a, r, blank)) for a, r in zip(p, rows, strict=True)]
    np.testing.assert_allclose(losses, want, rtol=1e-12)


def test_the_probabilities_of_everything_that_can_be_read_sum_to_one():
    rows = [r for n in range(4) for r in itertools.product((1, 2), repeat=n)]
    rows = [r for r in rows if n_frames(r) <= 3]
    target = jnp.array([[*r, *[-1] * (3 - len(r))] for r in rows])
    losses, _ = FORWARD(jnp.repeat(noise(1, 3, 3), len(rows), 0), target)
    np.testing.assert_allclose(jnp.exp(-losses).sum(), 1, rtol=1e-12)


def n_frames(row):
    return len(row) + sum(a == b for a, b in itertools.pairwise(row))


def test_by_hand():
    """Two frames, one label: ␣1, 1␣ and 11 read it; p = ½, ¼, ¼ in both."""
    y = jnp.log(jnp.array([[[2.0, 1, 1], [2, 1, 1]]]))
    losses, cache = FORWARD(y, jnp.array([[1]]))
    np.testing.assert_allclose(losses, [-math.log(5 / 16)], rtol=1e-14)
    dy = jax.jit(LOSS.backward)(cache, jnp.array([20.0]))  # of 5 parts 2 have ␣, 3 have 1
    np.testing.assert_allclose(dy, [[[10 - 8, 5 - 12, 5]] * 2], rtol=1e-13)


def test_one_frame_of_one_label_is_the_cross_entropy():
    y, labels, dl = noise(5, 1, 4), jnp.array([1, 2, 3, 1, 2]), noise(5, seed=2)
    losses, dy = BOTH(y, labels[:, None], dl)
    want, d = fnn.SoftmaxCrossEntropy().value_and_backward(y[:, 0], labels, dl)
    np.testing.assert_allclose(losses, want, rtol=1e-12)
    np.testing.assert_allclose(dy[:, 0], d, rtol=1e-12)


def test_it_is_optax_s():
    y = noise(4, 6, 5)
    with jax.numpy_dtype_promotion("standard"):
        theirs = optax.ctc_loss(y, ~MASK * 1.0, jnp.maximum(TARGET, 0), (TARGET < 0) * 1.0)
    ours, _ = FORWARD(fnn.Sequence(y, MASK), TARGET)
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=1e-4)  # theirs has −1e5 for log 0
    np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-4)


def test_a_mask_shortens_the_sequence_and_has_the_gradient_of_autodiff():
    y, dl = noise(4, 6, 5), noise(4, seed=2)
    holes = MASK.at[0, 1].set(False)
    target = TARGET.at[0].set(jnp.array([1, 2, -1]))
    junk = jnp.where(holes[..., None], y, jnp.nan)
    losses, dy = BOTH(fnn.Sequence(junk, holes), target, dl)
    for b in (0, 3):
        alone, d = BOTH(y[b : b + 1, holes[b]], target[b : b + 1], dl[b : b + 1])
        np.testing.assert_allclose(losses[b], alone[0], rtol=1e-12)
        np.testing.assert_allclose(dy.x[b, holes[b]], d[0], rtol=1e-10, atol=1e-14)
    assert not np.any(np.asarray(dy.x)[~np.asarray(holes)])
    chex.assert_trees_all_equal(dy.mask, holes)


def test_padding_and_more_of_it_change_nothing():
    y, dl = noise(4, 6, 5), noise(4, seed=2)
    more = jnp.pad(TARGET, ((0, 0), (0, 2)), constant_values=-1)
    found, want = (BOTH(y, t, dl) for t in (more, TARGET))
    chex.assert_trees_all_close(found, want, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_a_net_over_sequences_learns_by_it_and_is_judged_by_it():
    net = fnn.Serial(fnn.RNN(3, 4), fnn.Dense(4, 5))
    x, weights = fnn.Sequence(noise(4, 6, 3), MASK), jnp.array([1.0, 2, 0, 1])
    target = TARGET.at[2, 0].set(99)  # has no weight
    plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1e-9))
    state = fnn.start(plan, None, net.init(jax.random.key(0)))
    y, _ = net.forward(state.params, x)
    losses = LOSS.forward(y, TARGET)[0]
    want = float((losses * weights).sum() / weights.sum())
    _, row = fnn.step(plan, state, (x, target, weights))
    assert float(row["loss"]) == pytest.approx(want, rel=1e-12)
    row = fnn.evaluate(plan, state, (x, target, weights), batch_size=3)
    assert float(row["loss"]) == pytest.approx(want, rel=1e-6)


def test_what_no_path_can_read_has_an_infinite_loss_and_no_gradient():
    y, target = noise(2, 2, 4), jnp.array([[1, 1], [1, 2]])
    losses, dy = BOTH(y, target, jnp.ones(2))
    np.testing.assert_array_equal(np.isinf(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).all((1, 2)), [True, False])
    assert np.isfinite(dy[1]).all()


@pytest.mark.parametrize("scale", [1.0, 8.0, 60.0])
def test_a_nearly_certain_path_keeps_its_digits(scale):
    path, target = jnp.array([[1, 0, 2, 2, 0]]), jnp.array([[1, 2]])
    y = (scale * (jax.nn.one_hot(path, 4) + 0.1 * noise(1, 5, 4))).astype("float32")
    losses, dy = BOTH(y, target, jnp.ones(1, "float32"))
    exact, d = BOTH(y.astype(float), target, jnp.ones(1))
    np.testing.assert_allclose(losses, exact, rtol=2e-5)
    np.testing.assert_allclose(dy, d, rtol=2e-3)
    assert scale < 60 or exact < 1e-15


def test_factored_logits_are_taken_whole_but_not_in_a_sequence():
    y, target, dl = Logits(noise(2, 5, 3), noise(3, 4, seed=2)), TARGET[:2] % 4, noise(2, seed=3)
    target = jnp.where(target == 3, -1, target)
    losses, dy = BOTH(y, target, dl)
    want, dz = BOTH(y.whole(), target, dl)
    np.testing.assert_allclose(losses, want, rtol=1e-12)
    np.testing.assert_allclose(dy.h, dz @ y.w.T, rtol=1e-10)
    with pytest.raises(TypeError, match="^CTC.*a Sequence must hold whole logits, got Logits; end"):
        LOSS.forward(fnn.Sequence(y), target)


BAD = [
    ([[1, 0]], r"target must hold labels in \[0, 4\) but the blank 0, got 0 at index \[0, 1\]"),
    ([[1, 4]], r"target must hold labels in \[0, 4\) but the blank 0, got 4 at index \[0, 1\]"),
    ([[1, -2]], r"target must hold labels .*, got -2 .*; -1 stands behind the last"),
    ([[-1, 1]], r"target must have the padding -1 behind its labels alone, got 1"),
]


@pytest.mark.parametrize(("target", "message"), BAD)
def test_bad_labels_are_refused_where_they_are_known_and_poison_their_row(target, message):
    with pytest.raises(ValueError, match=rf"^CTC\(blank=0, padding=-1\): {message}"):
        LOSS.forward(noise(1, 5, 4), jnp.array(target))
    both = jnp.array([*target, [1, 2]])
    losses, dy = BOTH(noise(2, 5, 4), both, jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).all((1, 2)), [True, False])
    assert np.isfinite(dy[1]).all()


@pytest.mark.parametrize(
    ("y", "target", "error", "message"),
    [
        (
            (2, 5),
            [[1], [2]],
            ValueError,
            r"y must have shape \[B, T, n\], got \[2, 5\]",
        ),
        ((2, 5, 1), [[1], [1]], ValueError, r"y must have the blank 0 and other classes"),
        ((2, 5, 4), [[1, 2]], ValueError, r"target must have shape \[2, S\], labels, got \[1, 2\]"),
        ((2, 5, 4), [1, 2], ValueError, r"target must have shape \[2, S\], labels, got \[2\]"),
        ((2, 5, 4), [[1.0], [2.0]], TypeError, r"labels must be integers, got float64"),
        (
            (2, 2, 4),
            [[1, 1], [1, 2]],
            ValueError,
            r"frames that a row needs must be at most the 2",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(y, target, error, message):
    with pytest.raises(error, match=rf"^CTC\(.*\): .*{message}"):
        LOSS.forward(jnp.zeros(y), jnp.array(target))


@pytest.mark.parametrize(("blank", "padding", "name"), [(-1, -1, "blank"), (0, 0, "padding")])
def test_fields_out_of_range_are_refused(blank, padding, name):
    with pytest.raises(ValueError, match=f"^CTC: {name} must be in"):
        CTC(blank, padding)
