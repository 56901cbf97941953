"""Tests of fnn.train: what training computes, in what order, and what it tells."""

import itertools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import pytest
from training import KEY, LOSS, NET, PARAMS, TARGET, X, fit, plan, value_and_grad

import fnn
from fnn.batches import as_rows
from fnn.plan import predictions_per_row
from fnn.train import _epoch_row


def test_the_whole_set_in_every_step_is_gradient_descent():
    state, history = fit(plan(fnn.optim.SGD(0.5)), batch_size=11, epochs=3)
    params, losses = PARAMS, []
    for _ in range(3):
        loss, grads = value_and_grad(NET, LOSS, params, X, TARGET)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        losses.append(loss)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    chex.assert_trees_all_close(history["loss"], jnp.stack(losses), rtol=1e-10)


def test_one_sample_descent_is_the_same_function():
    state, _ = fit(plan(fnn.optim.SGD(0.5)), batch_size=1, epochs=1, key=None)
    params = PARAMS
    for i in range(11):
        _, grads = value_and_grad(NET, LOSS, params, X[i : i + 1], TARGET[i : i + 1])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    assert state.step == 11


def test_the_ragged_last_batch_is_exact():
    state, history = fit(plan(fnn.optim.SGD(0.5)), epochs=1, key=None)
    params, total = PARAMS, 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 11)):
        loss, grads = value_and_grad(NET, LOSS, params, X[rows], TARGET[rows])
        total += loss * len(TARGET[rows])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    chex.assert_trees_all_close(history["loss"][0], total / 11, rtol=1e-10)


def test_drop_last_leaves_the_ragged_batch_out():
    state, _ = fit(plan(fnn.optim.SGD(0.5)), epochs=1, key=None, drop_last=True)
    first, _ = fit(plan(fnn.optim.SGD(0.5)), epochs=1, key=None, data=(X[:8], TARGET[:8]))
    chex.assert_trees_all_equal(state.params, first.params)
    assert state.step == 2


def test_the_order_is_drawn_anew_in_every_epoch():
    chosen = {"drop_last": True, "epochs": 4}  # 8 of 11 rows: their mean loss tells them
    _, shuffled = fit(plan(fnn.optim.SGD(1e-12)), **chosen)
    _, in_order = fit(plan(fnn.optim.SGD(1e-12)), key=None, **chosen)
    assert len(set(shuffled["loss"].round(6).tolist())) == 4
    assert len(set(in_order["loss"].round(6).tolist())) == 1


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    whole, history = fit(plan())
    half, first = fit(plan(), epochs=1)
    again, second = fit(plan(), state=half, epochs=1)
    chex.assert_trees_all_equal(
        (whole.params, whole.optimizer_state, whole.step),
        (again.params, again.optimizer_state, again.step),
    )
    both = jnp.concatenate([first["loss"], second["loss"]])
    chex.assert_trees_all_equal(history["loss"], both)


def test_a_callback_sees_every_epoch_and_changes_nothing():
    rows = []
    state, history = fit(plan(), callback=lambda state, row: rows.append((int(state.step), row)))
    silent, expected = fit(plan())
    chex.assert_trees_all_close(state.params, silent.params, rtol=1e-12)
    chex.assert_trees_all_close(history, expected, rtol=1e-12)
    assert [step for step, _ in rows] == [3, 6]
    assert [row["loss"] for _, row in rows] == pytest.approx(expected["loss"].tolist())
    assert all(type(row["loss"]) is float for _, row in rows)


def test_a_callback_stops_by_returning_true():
    state, history = fit(plan(), epochs=5, callback=lambda state, row: True)
    assert history["loss"].shape == (1,)
    assert state.step == 3


def test_metrics_come_from_the_steps_own_y_and_do_not_depend_on_the_cut():
    metrics = {"accuracy": fnn.accuracy, "first": lambda y, target: y[..., 0]}
    metrics["perplexity"] = fnn.Perplexity()
    frozen = plan(fnn.optim.SGD(1e-12), metrics=metrics)
    y = NET.forward(PARAMS, X)[0]
    expected = {
        "loss": LOSS.forward(y, TARGET)[0].mean(),
        "accuracy": ((y[:, 1] > y[:, 0]) == (TARGET == 1)).mean(),
        "first": y[:, 0].mean(),
        "perplexity": jnp.exp(LOSS.forward(y, TARGET)[0].mean()),
    }
    for batch_size in (1, 4, 11, 100):
        _, history = fit(frozen, epochs=1, batch_size=batch_size)
        row = jax.tree.map(lambda h: h[0], history)
        chex.assert_trees_all_close(row, expected, rtol=1e-7)
    judged = fnn.evaluate(frozen, fnn.start(frozen, KEY, PARAMS), (X, TARGET), batch_size=4)
    chex.assert_trees_all_close(judged, expected, rtol=1e-7)


def test_a_metric_of_a_mean_leaves_out_what_has_no_weight_and_one_row_is_its_own():
    judged = plan(fnn.optim.SGD(1e-12), metrics={"perplexity": fnn.Perplexity()})
    state, weights = fnn.start(judged, None, PARAMS), jnp.arange(11.0) % 3
    losses, _ = LOSS.forward(NET.forward(PARAMS, X)[0], TARGET)
    mean = (losses * weights).sum() / weights.sum()
    for data in ((X, TARGET, weights), (X, jnp.where(weights == 0, -7, TARGET), weights)):
        row = fnn.evaluate(judged, state, data, batch_size=4)
        assert float(row["perplexity"]) == pytest.approx(float(jnp.exp(mean)), rel=1e-12)
        _, row = fnn.step(judged, state, data)
        assert float(row["perplexity"]) == pytest.approx(float(jnp.exp(mean)), rel=1e-12)


def test_validation_runs_over_fewer_sequences_at_a_time_the_longer_they_are():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(3, 2))
    sgd = plan(fnn.optim.SGD(0.1), net)
    state = fnn.start(sgd, KEY)
    assert predictions_per_row(sgd, state, X) == 1
    sequences = jax.ShapeDtypeStruct((40, 256, 3), X.dtype)
    assert predictions_per_row(sgd, state, sequences) == 256
    assert predictions_per_row(sgd, state, fnn.Sequence(sequences)) == 256
    rows = as_rows("fit", "validation", (jnp.zeros((40, 256, 3)), jnp.zeros((40, 256), int)))
    held_out = rows, None  # no calibration

    def chunks(batch_size):
        rows = as_rows("fit", "data", (jnp.zeros((64, 2, 3)), jnp.zeros((64, 2), int)))
        how = {"batch_size": batch_size, "drop_last": True}
        program = jax.make_jaxpr(lambda s: _epoch_row(sgd, s, rows, held_out, **how))(state)
        return [e.params["length"] for e in program.eqns if e.primitive.name == "scan"][-1]

    assert chunks(2) == 10  # 4 · 256 = 1024 predictions at a time
    assert chunks(8) == 5  # as many rows as a step has


def test_validation_uses_the_evaluation_network_and_no_penalty():
    net = fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.5)
    penalised = plan(net=net, penalty=fnn.L2(0.1), metrics={"accuracy": fnn.accuracy})
    held_out = X[:5], TARGET[:5], jnp.array([1.0, 1, 2, 0, 1])
    state, history = fit(penalised, net.init(KEY), validation=held_out)
    evaluated, params = fnn.inference(net, state.params)
    losses, _ = LOSS.forward(evaluated.forward(params, X[:5])[0], TARGET[:5])
    expected = (held_out[2] * losses).sum() / 5
    chex.assert_trees_all_close(history["validation_loss"][-1], expected, rtol=1e-10)
    assert set(history) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}


def test_evaluation_does_not_depend_on_the_chunks():
    judged = plan(metrics={"accuracy": fnn.accuracy})
    state, data = fnn.start(judged, None, PARAMS), (X, TARGET, jnp.arange(11.0))
    whole = fnn.evaluate(judged, state, data)
    cut = fnn.evaluate(judged, state, data, batch_size=3)
    chex.assert_trees_all_close(whole, cut, rtol=1e-12)
    losses = LOSS.forward(NET.forward(PARAMS, X)[0], TARGET)[0]
    chex.assert_trees_all_close(whole["loss"], (data[2] * losses).sum() / 55, rtol=1e-12)


def test_weights_are_the_third_of_the_data_everywhere():
    sgd = plan(fnn.optim.SGD(0.5))
    start, doubled = fnn.start(sgd, None, PARAMS), jnp.array([0, *range(11)])
    data = X, TARGET, jnp.ones(11).at[0].set(2.0)
    twice = X[doubled], TARGET[doubled]  # a row of weight 2 is that row twice
    runs = {
        "step": lambda data: fnn.step(sgd, start, data),
        "epoch": lambda data: fnn.epoch(sgd, start, data, batch_size=12),
        "fit": lambda data: fnn.fit(sgd, start, data, epochs=2, batch_size=12),
        "evaluate": lambda data: fnn.evaluate(sgd, start, data),
    }
    for name, run in runs.items():
        chex.assert_trees_all_close(run(data), run(twice), rtol=1e-10, custom_message=name)


@pytest.mark.slow
def test_seeds_and_rates_in_one_vmap_equal_a_loop():
    seeds, rates = jax.random.split(KEY, 8), jnp.array([0.003, 0.01, 0.03, 0.1])

    def run(key, rate):
        state, history = fit(plan(fnn.optim.Adam(rate)), NET.init(key), key=key)
        return state.params, history["loss"]

    swept = jax.vmap(jax.vmap(run, (None, 0)), (0, None))(seeds, rates)
    for i, j in itertools.product(range(8), range(4)):
        one = jax.tree.map(lambda a, i=i, j=j: a[i, j], swept)
        chex.assert_trees_all_close(one, run(seeds[i], float(rates[j])), rtol=1e-8, atol=1e-12)


def test_a_run_compiles_its_step_once_whatever_the_rest_of_the_batch():
    traced = []

    def counted(y, target):
        traced.append(y.shape)
        return y[..., 0]

    for rate in (0.1, 0.2):
        optimizer = fnn.optim.Scheduled(fnn.optim.Adam(), fnn.optim.CosineDecay(rate, 9))
        counting = plan(optimizer, metrics={"counted": counted})
        fit(counting, epochs=3, callback=lambda *_: None)
    assert traced == [(4, 2)]


def test_params_keep_their_dtype_and_the_callers_arrays_their_values():
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    before = jax.tree.map(jnp.copy, half)
    state, _ = fit(plan(), half, (X.astype(jnp.bfloat16), TARGET))
    chex.assert_trees_all_equal_dtypes(state.params, half)
    chex.assert_trees_all_equal(half, before)


def test_a_net_without_random_layers_needs_no_key():
    assert fit(plan(), key=None)[0].key is None
    net = fnn.mlp([3, 4, 2], dropout=0.5)
    with pytest.raises(ValueError, match=r"layer 2, Dropout\(.*\): forward needs a key"):
        fit(plan(net=net), net.init(KEY), key=None)


def test_any_pytree_with_the_rows_first_is_data():
    @dataclass(frozen=True)
    class Both(fnn.Layer):
        def forward(self, params, x, *, key=None):
            return x["a"] + x["b"] + params, ()

        def init(self, key):
            return jnp.zeros(2)

        def backward(self, params, cache, dy):
            return dy.sum(0), {"a": dy, "b": dy}

    pair = plan(fnn.optim.SGD(0.5), Both())
    start, x = fnn.start(pair, KEY), {"a": X[:, :2], "b": X[:, 1:]}
    ours, _ = fnn.fit(pair, start, (x, TARGET), epochs=2, batch_size=4)
    whole = {"a": X[:, :2] + X[:, 1:], "b": jnp.zeros((11, 2))}
    same, _ = fnn.fit(pair, start, (whole, TARGET), epochs=2, batch_size=4)
    chex.assert_trees_all_close(ours.params, same.params, rtol=1e-10)


def test_the_same_call_gives_the_same_bits():
    chex.assert_trees_all_equal(fit(plan())[0].params, fit(plan())[0].params)
    other = fit(plan(), key=jax.random.key(5))[0].params
    assert (fit(plan())[0].params[0].w != other[0].w).any()
