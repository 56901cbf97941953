"""Tests of fnn.losses.contrastive."""

import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise, some

import fnn
from fnn.losses.contrastive import InfoNCE

SLOW = pytest.mark.slow
IDS = jnp.array([4, 7, 4, 2, 9])
ALL = [InfoNCE(0.5), InfoNCE(0.5, symmetric=True), InfoNCE(2.0, cosine=False)]


class Pair(NamedTuple):
    """Queries and keys."""

    q: Any
    k: Any


@pytest.mark.parametrize("loss", some(ALL, 2), ids=repr)
def test_contract(loss):
    check_loss(loss, noise(5, 2, 3), IDS)


def test_gradients_are_those_of_jax():
    y, dl = noise(5, 2, 3), noise(5, seed=3)

    @jax.jit
    def both(y):
        pulls = [jax.vjp(lambda y, f=f: f.forward(y, IDS)[0], y)[1] for f in ALL]
        return [
            (pull(dl)[0], f.value_and_backward(y, IDS, dl)[1])
            for pull, f in zip(pulls, ALL, strict=True)
        ]

    for want, dy in both(y):
        np.testing.assert_allclose(dy, want, rtol=1e-10, atol=1e-13)


def test_forward_and_backward_by_hand():
    """s = [[0, log 3], [log 2, 0]]."""
    a, b = math.log(3), math.log(2)
    y = jnp.array([[[1.0, 0], [0.0, b]], [[0.0, 1], [a, 0.0]]])
    loss = InfoNCE(1.0, cosine=False)
    losses, cache = loss.forward(y, jnp.arange(2))
    np.testing.assert_allclose(losses, [math.log(4), math.log(3)], rtol=1e-14)
    dy = loss.backward(cache, jnp.array([1.0, 10.0]))
    # ds = [[−3/4, 3/4], [20/3, −20/3]]
    np.testing.assert_allclose(dy[0, 0], [a * 3 / 4, -b * 3 / 4], rtol=1e-13)
    np.testing.assert_allclose(dy[1, 0], [-a * 20 / 3, b * 20 / 3], rtol=1e-13)
    np.testing.assert_allclose(dy[:, 1], [[-3 / 4, 20 / 3], [3 / 4, -20 / 3]], rtol=1e-13)
    both, _ = InfoNCE(1.0, cosine=False, symmetric=True).forward(y, jnp.arange(2))
    np.testing.assert_allclose(
        both, [(math.log(4) + math.log(3)) / 2, (math.log(3) + math.log(4)) / 2], rtol=1e-14
    )


def test_it_is_the_cross_entropy_of_cosines():
    y = noise(5, 2, 3)
    q, k = y[:, 0], y[:, 1]
    s = (q @ k.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1) / 0.5
    ours = InfoNCE(0.5).forward(y, jnp.arange(5))[0]
    np.testing.assert_allclose(ours, -np.diag(jax.nn.log_softmax(s, -1)), rtol=1e-12)
    both = InfoNCE(0.5, symmetric=True).forward(y, jnp.arange(5))[0]
    other = -np.diag(jax.nn.log_softmax(s, 0))
    np.testing.assert_allclose(both, (ours + other) / 2, rtol=1e-12)


@pytest.mark.slow
def test_it_bounds_the_mutual_information_by_the_logarithm_of_the_batch():
    """The source, eq. 5: I ≥ log N − L, and L is 0 where every pair is certain."""
    y = jnp.broadcast_to(jnp.eye(6)[:, None], (6, 2, 6))
    np.testing.assert_allclose(InfoNCE(0.01).forward(y, jnp.arange(6))[0], 0, atol=1e-40)
    same = InfoNCE().forward(jnp.ones((6, 2, 3)), jnp.arange(6))[0]
    np.testing.assert_allclose(same, math.log(6), rtol=1e-14)


def test_equal_ids_are_not_each_others_negatives():
    y = noise(5, 2, 3)
    losses = InfoNCE(0.5).forward(y, IDS)[0]
    without = jnp.array([0, 1, 3, 4])  # the other one with the id of row 0 is row 2
    np.testing.assert_allclose(losses[0], InfoNCE(0.5).forward(y[without], without)[0][0])


@pytest.mark.parametrize(
    "loss", [ALL[1], *(pytest.param(f, marks=SLOW) for f in (ALL[0], ALL[2]))], ids=repr
)
def test_rows_of_weight_0_are_nobodys_negatives(loss):
    net, x = fnn.Dense(3, 4), noise(7, 2, 3)
    params, weights = net.init(jax.random.key(0)), jnp.array([1.0, 0, 2, 1, 0, 1, 3])
    there = weights > 0
    x_junk = jnp.where(there[:, None, None], x, jnp.nan)
    found = jax.jit(fnn.fold)(net, loss, params, x_junk, jnp.arange(7), weights=weights)
    want = fnn.fold(net, loss, params, x[there], jnp.arange(5), weights=weights[there])
    chex.assert_trees_all_close((found.loss, found.result), (want.loss, want.result), rtol=1e-11)
    chex.assert_trees_all_close(found.dx[there], want.dx, rtol=1e-10, atol=1e-14)
    assert not np.any(found.dx[~there])


@pytest.mark.slow
def test_the_rows_that_fill_up_the_last_minibatch_change_nothing():
    net, x, target = fnn.Dense(3, 4), noise(5, 2, 3), jnp.arange(5)
    plan = fnn.Plan(net, InfoNCE(), fnn.optim.SGD(0.1))
    start = fnn.start(plan, params=net.init(jax.random.key(0)))
    state, history = fnn.fit(plan, start, (x, target), epochs=1, batch_size=3)
    by_hand, first = fnn.step(plan, start, (x[:3], target[:3]))
    by_hand, second = fnn.step(plan, by_hand, (x[3:], target[3:]))
    chex.assert_trees_all_close(state.params, by_hand.params, rtol=1e-12)
    np.testing.assert_allclose(history["loss"][0], (3 * first["loss"] + 2 * second["loss"]) / 5)
    found = fnn.evaluate(plan, start, (x, target), batch_size=3)["loss"]
    parts = [InfoNCE().forward(net.forward(start.params, x[s])[0], target[s])[0].sum()
             for s in (slice(0, 3), slice(3, 5))]  # fmt: skip
    np.testing.assert_allclose(found, sum(parts) / 5)


def test_two_arrays_are_the_same_as_one():
    y, dl = noise(5, 2, 3), noise(5, seed=3)
    losses, dy = InfoNCE().value_and_backward(y, IDS, dl)
    same, pair = InfoNCE().value_and_backward(Pair(y[:, 0], y[:, 1]), IDS, dl)
    assert type(pair) is Pair
    chex.assert_trees_all_equal((losses, dy), (same, jnp.stack(pair, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_scores_of_any_size_are_right_in_single_precision(size):
    y = noise(5, 2, 3).astype("float32")
    chex.assert_trees_all_close(
        InfoNCE().forward(y * size, IDS)[0], InfoNCE().forward(y, IDS)[0], rtol=1e-5
    )
    large = InfoNCE(1e-3, cosine=False).value_and_backward(1e3 * y, IDS, jnp.ones(5, "float32"))
    assert all(np.isfinite(a).all() for a in large)


def test_rules_per_example_refuse_it_by_name():
    net = fnn.Dense(3, 4)
    message = r"^InfoNCE\(.*\): nothing per example here, as example_norms wants it: the loss of a"
    with pytest.raises(NotImplementedError, match=message):
        fnn.fold(
            net, InfoNCE(), net.init(jax.random.key(0)), noise(5, 2, 3), IDS,
            rule=(fnn.rules.backprop, fnn.rules.example_norms),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("y", "target", "kind", "message"),
    [
        (jnp.ones((5, 3)), IDS, ValueError, r"y must have shape \[B, 2, n\], or be .*got \[5, 3\]"),
        (Pair(jnp.ones((5, 3)), jnp.ones((4, 3))), IDS, ValueError, r"got \[5, 3\] and \[4, 3\]"),
        (jnp.ones((5, 2, 3)), IDS[:4], ValueError, r"target must have shape \[5\], got \[4\]"),
        (jnp.ones((5, 2, 3)), IDS / 2, TypeError, "target must be integers that tell.*float64"),
        (jnp.ones((5, 2, 3), int), IDS, TypeError, "y must be floating, got int64"),
    ],
)
def test_what_does_not_fit_is_refused(y, target, kind, message):
    with pytest.raises(kind, match=rf"^InfoNCE\(.*\): .*{message}"):
        InfoNCE().forward(y, target)


def test_a_temperature_without_a_meaning_is_refused():
    with pytest.raises(ValueError, match=r"^InfoNCE: temperature must be in \(0, inf\), got 0"):
        InfoNCE(0.0)


def test_ids_that_could_not_be_told_apart_are_refused():
    y = noise(4, 2, 3)
    with pytest.raises(ValueError, match="target must be at most 2147483647, got 2147483648"):
        InfoNCE().check(y, np.array([0, 2**31, 2**31 + 5, 7], np.uint32))
    with jax.enable_x64(False), pytest.raises(ValueError, match="target must be at most 21474"):
        InfoNCE().check(jnp.float32(y), np.array([0, 2**32, 1, 2]))
