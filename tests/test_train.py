"""Tests of fnn.train."""

import itertools

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import fnn
from fnn.batches import as_rows
from fnn.train import _epoch_row, predictions_per_row

NET = fnn.mlp([3, 4, 2], fnn.Tanh())
LOSS = fnn.SoftmaxCrossEntropy()
PARAMS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (11, 3))
TARGET = (X.sum(1) > 0).astype(jnp.int32)
KEY = jax.random.key(2)
value_and_grad = jax.jit(fnn.value_and_grad)


def fit(optimizer=None, params=PARAMS, net=NET, data=(X, TARGET), **options):
    options = {"epochs": 2, "batch_size": 4, "key": KEY, **options}
    return fnn.fit(net, LOSS, optimizer or fnn.optim.Adam(0.05), params, data, **options)


def test_a_step_is_gradient_then_update():
    state, row = fnn.step(
        NET, LOSS, fnn.optim.SGD(0.5), fnn.start(fnn.optim.SGD(0.5), PARAMS), X, TARGET
    )
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)
    chex.assert_trees_all_close(row["loss"], loss, rtol=1e-10)
    assert state.step == 1


def test_the_whole_set_in_every_step_is_gradient_descent():
    state, history = fit(fnn.optim.SGD(0.5), batch_size=11, epochs=3)
    params, losses = PARAMS, []
    for _ in range(3):
        loss, grads = value_and_grad(NET, LOSS, params, X, TARGET)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        losses.append(loss)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    chex.assert_trees_all_close(history["loss"], jnp.stack(losses), rtol=1e-10)


def test_one_sample_descent_is_the_same_function():
    state, _ = fit(fnn.optim.SGD(0.5), batch_size=1, epochs=1, key=None)
    params = PARAMS
    for i in range(11):
        _, grads = value_and_grad(NET, LOSS, params, X[i : i + 1], TARGET[i : i + 1])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    assert state.step == 11


def test_the_ragged_last_batch_is_exact():
    state, history = fit(fnn.optim.SGD(0.5), epochs=1, key=None)
    params, total = PARAMS, 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 11)):
        loss, grads = value_and_grad(NET, LOSS, params, X[rows], TARGET[rows])
        total += loss * len(TARGET[rows])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    chex.assert_trees_all_close(state.params, params, rtol=1e-10)
    chex.assert_trees_all_close(history["loss"][0], total / 11, rtol=1e-10)


def test_drop_last_leaves_the_ragged_batch_out():
    state, _ = fit(fnn.optim.SGD(0.5), epochs=1, key=None, drop_last=True)
    first, _ = fit(fnn.optim.SGD(0.5), epochs=1, key=None, data=(X[:8], TARGET[:8]))
    chex.assert_trees_all_equal(state.params, first.params)
    assert state.step == 2


def test_the_order_is_drawn_anew_in_every_epoch():
    chosen = {"drop_last": True, "epochs": 4}  # 8 of 11 rows: their mean loss tells them
    _, shuffled = fit(fnn.optim.SGD(1e-12), **chosen)
    _, in_order = fit(fnn.optim.SGD(1e-12), key=None, **chosen)
    assert len(set(shuffled["loss"].round(6).tolist())) == 4
    assert len(set(in_order["loss"].round(6).tolist())) == 1


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    whole, history = fit()
    half, first = fit(epochs=1)
    again, second = fit(params=half, epochs=1, key=None)
    chex.assert_trees_all_equal(
        (whole.params, whole.optimizer_state, whole.step),
        (again.params, again.optimizer_state, again.step),
    )
    both = jnp.concatenate([first["loss"], second["loss"]])
    chex.assert_trees_all_equal(history["loss"], both)


def test_a_callback_sees_every_epoch_and_changes_nothing():
    rows = []
    state, history = fit(callback=lambda state, row: rows.append((int(state.step), row)))
    silent, expected = fit()
    chex.assert_trees_all_close(state.params, silent.params, rtol=1e-12)
    chex.assert_trees_all_close(history, expected, rtol=1e-12)
    assert [step for step, _ in rows] == [3, 6]
    assert [row["loss"] for _, row in rows] == pytest.approx(expected["loss"].tolist())


def test_a_callback_stops_by_returning_true():
    state, history = fit(epochs=5, callback=lambda state, row: True)
    assert history["loss"].shape == (1,)
    assert state.step == 3


def test_metrics_come_from_the_steps_own_y_and_do_not_depend_on_the_cut():
    metrics = {"accuracy": fnn.accuracy, "first": lambda y, target: y[..., 0]}
    frozen = fnn.optim.SGD(1e-12)
    y = NET.forward(PARAMS, X)[0]
    expected = {
        "loss": LOSS.forward(y, TARGET)[0].mean(),
        "accuracy": ((y[:, 1] > y[:, 0]) == (TARGET == 1)).mean(),
        "first": y[:, 0].mean(),
    }
    for batch_size in (1, 4, 11, 100):
        _, history = fit(frozen, epochs=1, batch_size=batch_size, metrics=metrics)
        row = jax.tree.map(lambda h: h[0], history)
        chex.assert_trees_all_close(row, expected, rtol=1e-7)


def test_validation_runs_over_fewer_sequences_at_a_time_the_longer_they_are():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(3, 2))
    state = fnn.start(fnn.optim.SGD(0.1), net.init(KEY), KEY)
    assert predictions_per_row(net, LOSS, state, X) == 1
    sequences = jax.ShapeDtypeStruct((40, 256, 3), X.dtype)
    assert predictions_per_row(net, LOSS, state, sequences) == 256
    held_out = as_rows(jnp.zeros((40, 256, 3)), jnp.zeros((40, 256), int))

    def chunks(batch_size):
        rows = as_rows(jnp.zeros((64, 2, 3)), jnp.zeros((64, 2), int))
        how = {
            "batch_size": batch_size,
            "rule": fnn.rules.backprop,
            "metrics": (),
            "drop_last": True,
        }
        program = jax.make_jaxpr(
            lambda state: _epoch_row(
                net, LOSS, fnn.optim.SGD(0.1), state, rows, None, held_out, **how
            )
        )(state)
        return [e.params["length"] for e in program.eqns if e.primitive.name == "scan"][-1]

    assert chunks(2) == 10  # 4 · 256 = 1024 predictions at a time
    assert chunks(8) == 5  # as many rows as a step has


def test_validation_uses_the_evaluation_network_and_no_penalty():
    net = fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.5)
    held_out = (X[:5], TARGET[:5])
    state, history = fnn.fit(
        net, LOSS, fnn.optim.Adam(0.05), net.init(KEY), (X, TARGET), epochs=2, batch_size=4, key=KEY,
        penalty=fnn.L2(0.1), metrics={"accuracy": fnn.accuracy}, validation=held_out,
    )  # fmt: skip
    evaluated, params = fnn.inference(net, state.params)
    y = evaluated.forward(params, X[:5])[0]
    chex.assert_trees_all_close(
        history["validation_loss"][-1], LOSS.forward(y, TARGET[:5])[0].mean(), rtol=1e-10
    )
    assert set(history) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}


def test_evaluation_does_not_depend_on_the_chunks():
    metrics = {"accuracy": fnn.accuracy}
    weights = jnp.arange(11.0)
    whole = fnn.evaluate(NET, LOSS, PARAMS, X, TARGET, weights=weights, metrics=metrics)
    cut = fnn.evaluate(NET, LOSS, PARAMS, X, TARGET, weights=weights, metrics=metrics, batch_size=3)
    chex.assert_trees_all_close(whole, cut, rtol=1e-12)
    losses = LOSS.forward(NET.forward(PARAMS, X)[0], TARGET)[0]
    chex.assert_trees_all_close(whole["loss"], (weights * losses).sum() / 55, rtol=1e-12)


def test_seeds_and_rates_in_one_vmap_equal_a_loop():
    seeds, rates = jax.random.split(KEY, 8), jnp.array([0.003, 0.01, 0.03, 0.1])

    def run(key, rate):
        state, history = fit(fnn.optim.Adam(rate), NET.init(key), key=key)
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

    for rows in (11, 11):
        optimizer = fnn.optim.Scheduled(fnn.optim.Adam(), fnn.optim.CosineDecay(0.1, rows))
        fit(optimizer, epochs=3, metrics={"counted": counted}, callback=lambda *_: None)
    assert traced == [(4, 2)]


@pytest.mark.parametrize("run", ["step", "epoch", "fit"])
@pytest.mark.parametrize("where", ["alone", "in chain"])
def test_optax_drops_in_with_one_trace(run, where):
    adam, traced = optax.adam(0.05), []
    optimizer = adam if where == "alone" else fnn.optim.Chain(fnn.optim.ClipByNorm(1e3), adam)

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    def train(optimizer, params=PARAMS):
        if run == "fit":
            return fit(optimizer, params, epochs=1, metrics={"counted": counted})[0]
        state, more = fnn.start(optimizer, params, KEY), {"metrics": {"counted": counted}}
        if run == "epoch":
            return fnn.epoch(NET, LOSS, optimizer, state, X, TARGET, batch_size=4, **more)[0]
        return fnn.step(NET, LOSS, optimizer, state, X, TARGET, **more)[0]

    with jax.numpy_dtype_promotion("standard"):
        train(optimizer)
        theirs = train(optimizer)
    assert len(traced) == 1
    chex.assert_trees_all_close(theirs.params, train(fnn.optim.Adam(0.05)).params, rtol=1e-6)


def test_params_keep_their_dtype_and_the_callers_arrays_their_values():
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    before = jax.tree.map(jnp.copy, half)
    state, _ = fnn.fit(
        NET, LOSS, fnn.optim.Adam(0.05), half, (X.astype(jnp.bfloat16), TARGET), epochs=2,
        batch_size=4, key=KEY,
    )  # fmt: skip
    chex.assert_trees_all_equal_dtypes(state.params, half)
    chex.assert_trees_all_equal(half, before)


def test_dropout_draws_another_mask_in_every_step():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(8, 1))
    params = (), fnn.DenseParams(w=jnp.zeros((8, 1)), b=jnp.zeros(1))
    x, target = jnp.ones((2, 8)), jnp.ones((2, 1))
    state, masks = fnn.start(fnn.optim.SGD(1.0), params, KEY), []
    for _ in range(3):
        after, _ = fnn.step(net, fnn.SquaredError(), fnn.optim.SGD(1.0), state, x, target)
        masks.append(tuple((after.params[1].w != 0).ravel().tolist()))
        state = after._replace(params=params)
    assert len(set(masks)) == 3


def test_a_net_without_random_layers_needs_no_key():
    assert fit(key=None)[0].key is None
    net = fnn.mlp([3, 4, 2], dropout=0.5)
    with pytest.raises(ValueError, match=r"layer 2, Dropout\(.*\): forward needs a key"):
        fit(params=net.init(KEY), net=net, key=None)


BAD = {
    "rows": (
        {"data": (X, TARGET[:5])},
        ValueError,
        r"equally many rows, got .*\[11, 3\] and \[5\]",
    ),
    "no pair": ({"data": X}, TypeError, r"fit: data must be a pair \(x, target\), got"),
    "empty": ({"data": (X[:0], TARGET[:0])}, ValueError, "empty batch: the data have no rows"),
    "label": (
        {"data": (X, TARGET.at[3].set(2))},
        ValueError,
        r"hold labels in \[0, 2\), got 2 at index 3 .*labels start at 0",
    ),
    "nan": (
        {"data": (X.at[3, 1].set(jnp.nan), TARGET)},
        ValueError,
        r"fit: x must be finite, got nan at index \[3, 1\] \(1 of 33 are wrong\)",
    ),
    "validation": (
        {"validation": (X.at[0, 0].set(jnp.inf), TARGET)},
        ValueError,
        r"fit: validation x must be finite, got inf at index \[0, 0\]",
    ),
    "epochs 0": ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
    "epochs 2.5": ({"epochs": 2.5}, TypeError, "epochs must be an integer, got 2.5"),
    "batch 0": ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    "batch True": ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
    "int key": (
        {"key": 0},
        TypeError,
        r"start: key must be a typed key, got 0; use jax.random",
    ),
    "old key": (
        {"key": jax.random.PRNGKey(0)},
        TypeError,
        r"key must be a typed key, got uint32\[2\]",
    ),
    "weights": (
        {"weights": jnp.ones((11, 1))},
        ValueError,
        r"weights must have shape \[11\], got \[11, 1\]",
    ),
    "no weights": ({"weights": jnp.zeros(11)}, ValueError, "weights must not all be 0"),
    "optimizer": (
        {"optimizer": 0.1},
        TypeError,
        "fit: the optimizer must have init and update",
    ),
    "metric": (
        {"metrics": {"mean": lambda y, t: y.mean()}},
        ValueError,
        r"metric 'mean' must give one number per prediction, shape \[4\], got \[\]",
    ),
    "integers": (
        {"data": (jnp.ones((11, 3), jnp.uint8), TARGET)},
        TypeError,
        r"layer 0, Dense\(n_in=3, n_out=4\): x must be floating, got uint8; convert it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_runs(case):
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fit(**options)


def test_a_row_of_weight_zero_may_hold_anything_finite_or_not_in_its_target():
    target = jnp.ones((11, 2)).at[3].set(jnp.nan)
    weights = jnp.ones(11).at[3].set(0.0)
    state, history = fnn.fit(
        NET, fnn.SquaredError(), fnn.optim.SGD(0.1), PARAMS, (X, target), epochs=2, batch_size=4,
        key=KEY, weights=weights,
    )  # fmt: skip
    chex.assert_tree_all_finite((state.params, history))


def test_the_same_call_gives_the_same_bits():
    chex.assert_trees_all_equal(fit()[0].params, fit()[0].params)
    other = fit(key=jax.random.key(5))[0].params
    assert (fit()[0].params[0].w != other[0].w).any()
