"""Tests of fnn.train."""

import itertools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from contract import noise

import fnn
from fnn.batches import as_rows
from fnn.optim.optimizer import Optimizer
from fnn.train import _epoch_row, predictions_per_row

NET = fnn.mlp([3, 4, 2], fnn.Tanh())
LOSS = fnn.SoftmaxCrossEntropy()
PARAMS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (11, 3))
TARGET = (X.sum(1) > 0).astype(jnp.int32)
KEY = jax.random.key(2)
value_and_grad = jax.jit(fnn.value_and_grad)


def plan(optimizer=None, net=NET, loss=LOSS, **options):
    return fnn.Plan(net, loss, optimizer or fnn.optim.Adam(0.05), **options)


def fit(plan, params=PARAMS, data=(X, TARGET), key=KEY, state=None, **options):
    options = {"epochs": 2, "batch_size": 4, **options}
    return fnn.fit(plan, state or fnn.start(plan, key, params), data, **options)


def test_a_step_is_gradient_then_update():
    sgd = plan(fnn.optim.SGD(0.5))
    state, row = fnn.step(sgd, fnn.start(sgd, None, PARAMS), (X, TARGET))
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)
    chex.assert_trees_all_close(row["loss"], loss, rtol=1e-10)
    assert state.step == 1


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
    frozen = plan(fnn.optim.SGD(1e-12), metrics=metrics)
    y = NET.forward(PARAMS, X)[0]
    expected = {
        "loss": LOSS.forward(y, TARGET)[0].mean(),
        "accuracy": ((y[:, 1] > y[:, 0]) == (TARGET == 1)).mean(),
        "first": y[:, 0].mean(),
    }
    for batch_size in (1, 4, 11, 100):
        _, history = fit(frozen, epochs=1, batch_size=batch_size)
        row = jax.tree.map(lambda h: h[0], history)
        chex.assert_trees_all_close(row, expected, rtol=1e-7)


def test_validation_runs_over_fewer_sequences_at_a_time_the_longer_they_are():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(3, 2))
    sgd = plan(fnn.optim.SGD(0.1), net)
    state = fnn.start(sgd, KEY)
    assert predictions_per_row(sgd, state, X) == 1
    sequences = jax.ShapeDtypeStruct((40, 256, 3), X.dtype)
    assert predictions_per_row(sgd, state, sequences) == 256
    assert predictions_per_row(sgd, state, fnn.Sequence(sequences)) == 256
    held_out = as_rows("fit", "validation", (jnp.zeros((40, 256, 3)), jnp.zeros((40, 256), int)))

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


RUNS = {
    "step": lambda plan, state, data: fnn.step(plan, state, data)[0],
    "epoch": lambda plan, state, data: fnn.epoch(plan, state, data, batch_size=4)[0],
    "fit": lambda plan, state, data: fnn.fit(plan, state, data, epochs=1, batch_size=4)[0],
    "evaluate": lambda plan, state, data: fnn.evaluate(plan, state, data),
}
TRAINING = [name for name in RUNS if name != "evaluate"]


@pytest.mark.parametrize("run", RUNS)
def test_another_rate_or_penalty_compiles_nothing(run):
    traced = []

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    for rate in (0.1, 0.2):
        numbers = {"penalty": fnn.L2(rate), "metrics": {"counted": counted}}
        once = plan(fnn.optim.SGD(rate), **numbers)
        RUNS[run](once, fnn.start(once, KEY, PARAMS), (X, TARGET))
    assert len(traced) == 1


@pytest.mark.parametrize("run", TRAINING)
@pytest.mark.parametrize("where", ["alone", "in Chain"])
def test_optax_drops_in_with_one_trace(run, where):
    adam, traced = optax.adam(0.05), []
    optimizer = adam if where == "alone" else fnn.optim.Chain(fnn.optim.ClipByNorm(1e3), adam)

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    def train(optimizer):
        counting = plan(optimizer, metrics={"counted": counted})
        return RUNS[run](counting, fnn.start(counting, KEY, PARAMS), (X, TARGET))

    with jax.numpy_dtype_promotion("standard"):
        train(optimizer)
        theirs = train(optimizer)
    assert len(traced) == 1
    chex.assert_trees_all_close(theirs.params, train(fnn.optim.Adam(0.05)).params, rtol=1e-6)


@dataclass(frozen=True)
class Polyak(Optimizer):
    """update = −L g: a rate that is the loss itself."""

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(lambda g: -value * g, grads), state


@pytest.mark.parametrize("where", [lambda o: o, fnn.optim.Chain], ids=["alone", "in Chain"])
def test_the_loss_reaches_an_optimizer_that_asks_for_it(where):
    penalised = plan(where(Polyak()), penalty=fnn.L2(0.1))
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1))
    for run in TRAINING:
        state = fnn.start(penalised, None, PARAMS)
        if run == "step":
            state = fnn.step(penalised, state, (X, TARGET))[0]
        elif run == "epoch":
            state = fnn.epoch(penalised, state, (X, TARGET), batch_size=11)[0]
        else:
            state = fnn.fit(penalised, state, (X, TARGET), epochs=1, batch_size=11)[0]
        expected = jax.tree.map(lambda p, g: p - loss * g, PARAMS, grads)
        chex.assert_trees_all_close(state.params, expected, rtol=1e-10)


@pytest.mark.parametrize("where", ["optax", "fnn"])
def test_a_rate_of_optax_that_waits_for_the_loss_falls_on_a_plateau(where):
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.0, atol=1e9)
    parts = optax.sgd(0.1), plateau  # the loss never falls by 10⁹
    optimizer = optax.chain(*parts) if where == "optax" else fnn.optim.Chain(*parts)
    with jax.numpy_dtype_promotion("standard"):
        waiting = plan(optimizer)
        state, _ = fit(waiting, key=None, epochs=4, batch_size=11)
        alone, _ = fit(plan(optax.sgd(0.1)), key=None, epochs=4, batch_size=11)
    assert float(state.optimizer_state[1].scale) < 1
    assert (state.params[0].w != alone.params[0].w).any()


@pytest.mark.parametrize("run", TRAINING)
def test_an_optimizer_that_evaluates_the_loss_itself_is_refused(run):
    searching = plan(optax.lbfgs())
    with jax.numpy_dtype_promotion("standard"):
        state = fnn.start(searching, KEY, PARAMS)
        message = "the optimizer asks for more than gradients, params and the loss .*in a Plan"
        with pytest.raises(TypeError, match=message):
            RUNS[run](searching, state, (X, TARGET))


def test_params_keep_their_dtype_and_the_callers_arrays_their_values():
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    before = jax.tree.map(jnp.copy, half)
    state, _ = fit(plan(), half, (X.astype(jnp.bfloat16), TARGET))
    chex.assert_trees_all_equal_dtypes(state.params, half)
    chex.assert_trees_all_equal(half, before)


def test_dropout_draws_another_mask_in_every_step():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(8, 1))
    params = (), fnn.DenseParams(w=jnp.zeros((8, 1)), b=jnp.zeros(1))
    x, target = jnp.ones((2, 8)), jnp.ones((2, 1))
    dropping = plan(fnn.optim.SGD(1.0), net, fnn.SquaredError())
    state, masks = fnn.start(dropping, KEY, params), []
    for _ in range(3):
        after, _ = fnn.step(dropping, state, (x, target))
        masks.append(tuple((after.params[1].w != 0).ravel().tolist()))
        state = after._replace(params=params)
    assert len(set(masks)) == 3


def test_a_net_without_random_layers_needs_no_key():
    assert fit(plan(), key=None)[0].key is None
    net = fnn.mlp([3, 4, 2], dropout=0.5)
    with pytest.raises(ValueError, match=r"layer 2, Dropout\(.*\): forward needs a key"):
        fit(plan(net=net), net.init(KEY), key=None)


BAD = {
    "rows": (
        {"data": (X, TARGET[:5])},
        ValueError,
        r"fit: x and target must have equally many rows, got .*\[11, 3\] and \[5\]",
    ),
    "no pair": (
        {"data": X},
        TypeError,
        r"fit: data must be \(x, target\) or \(x, target, weights\), got ArrayImpl",
    ),
    "empty": (
        {"data": (X[:0], TARGET[:0])},
        ValueError,
        "fit: empty batch, the data have no rows",
    ),
    "label": (
        {"data": (X, TARGET.at[3].set(2))},
        ValueError,
        r"hold labels in \[0, 2\), got 2 at index 3 .*labels start at 0",
    ),
    "nan": (
        {"data": (X.at[3, 1].set(jnp.nan), TARGET)},
        ValueError,
        r"fit: x must be finite, got nan at index \[3, 1\] \(1 of 33 are wrong\); give such rows",
    ),
    "validation": (
        {"validation": (X.at[0, 0].set(jnp.inf), TARGET)},
        ValueError,
        r"fit: validation x must be finite, got inf at index \[0, 0\]",
    ),
    "no pair of validation": (
        {"validation": X},
        TypeError,
        r"fit: validation must be \(x, target\) or \(x, target, weights\), got ArrayImpl",
    ),
    "empty validation": (
        {"validation": (X[:0], TARGET[:0])},
        ValueError,
        "fit: empty batch, the validation data have no rows",
    ),
    "epochs 0": ({"epochs": 0}, ValueError, "fit: epochs must be at least 1, got 0"),
    "epochs 2.5": ({"epochs": 2.5}, TypeError, "fit: epochs must be an integer, got 2.5"),
    "batch 0": ({"batch_size": 0}, ValueError, "fit: batch_size must be at least 1, got 0"),
    "batch True": ({"batch_size": True}, TypeError, "fit: batch_size must be an integer, got True"),
    "weights": (
        {"data": (X, TARGET, jnp.ones((11, 1)))},
        ValueError,
        r"fit: weights must have shape \[11\], got \[11, 1\]",
    ),
    "no weights": (
        {"data": (X, TARGET, jnp.zeros(11))},
        ValueError,
        "fit: weights must not all be 0",
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
    options = dict(options)
    with pytest.raises(error, match=message):
        fit(plan(metrics=options.pop("metrics", ())), **options)


def generator():
    yield X, TARGET


VOICES = {
    "plan": (
        lambda p, s: (NET, s, (X, TARGET)),
        TypeError,
        r"plan must be a Plan, got Serial\(.*; write fnn.Plan\(net, loss, optimizer\)",
    ),
    "state": (
        lambda p, s: (p, PARAMS, (X, TARGET)),
        TypeError,
        r"state must be a State, got tuple; fnn.start\(plan, key, params\) is one",
    ),
    "state of another optimizer": (
        lambda p, s: (plan(fnn.optim.AdaGrad()), s, (X, TARGET)),
        ValueError,
        "the State was not made for AdaGrad: its optimizer_state is AdamState",
    ),
    "no pair": (
        lambda p, s: (p, s, X),
        TypeError,
        r"(data|batch) must be \(x, target\) or \(x, target, weights\), got ArrayImpl",
    ),
    "a generator": (
        lambda p, s: (p, s, generator()),
        TypeError,
        "got generator; for batches that a loop makes, call fnn.step with each",
    ),
    "a list of batches": (
        lambda p, s: (p, s, [(X, TARGET)]),
        TypeError,
        "got list of 1; for batches that a loop makes, call fnn.step with each",
    ),
    "rows": (
        lambda p, s: (p, s, (X, TARGET[:5])),
        ValueError,
        r"x and target must have equally many rows, got shapes \[11, 3\] and \[5\]",
    ),
    "strings": (
        lambda p, s: (p, s, (X, ["a"] * 11)),
        TypeError,
        "target must hold numbers, got <U1",
    ),
    "rows of weights": (
        lambda p, s: (p, s, (X, TARGET, jnp.ones(5))),
        ValueError,
        r"weights must have as many rows as target, 11, got shape \[5\]",
    ),
    "weights": (
        lambda p, s: (p, s, (X, TARGET, jnp.ones((11, 1)))),
        ValueError,
        r"weights must have shape \[11\], got \[11, 1\]",
    ),
    "empty": (lambda p, s: (p, s, (X[:0], TARGET[:0])), ValueError, "empty batch"),
    "integer params": (
        lambda p, s: (
            p,
            s._replace(params=jax.tree.map(lambda a: a.astype(int), PARAMS)),
            (X, TARGET),
        ),
        TypeError,
        r"params.*must be floating, got int64",
    ),
}


@pytest.mark.parametrize("case", VOICES)
@pytest.mark.parametrize("run", RUNS)
def test_every_function_speaks_in_its_own_voice(run, case):
    given, error, message = VOICES[case]
    adam = plan()
    with pytest.raises(error, match=message) as caught:
        RUNS[run](*given(adam, fnn.start(adam, KEY, PARAMS)))
    said = str(caught.value)
    assert said.startswith((f"{run}: ", "layer "))
    assert not any(f"{other}:" in said for other in (*RUNS, "value_and_grad") if other != run)


def test_an_evaluation_counts_its_batch_size_in_its_own_voice():
    adam = plan()
    state = fnn.start(adam, None, PARAMS)
    with pytest.raises(ValueError, match="^evaluate: batch_size must be at least 1, got 0"):
        fnn.evaluate(adam, state, (X, TARGET), batch_size=0)
    with pytest.raises(TypeError, match="^epoch: batch_size must be an integer, got 2.5"):
        fnn.epoch(adam, state, (X, TARGET), batch_size=2.5)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_row_of_weight_zero_may_hold_anything(value):
    x, target = X.at[3].set(value), jnp.ones((11, 2)).at[3].set(value)
    data = x, target, jnp.ones(11).at[3].set(0.0)
    squared = plan(fnn.optim.SGD(0.1), loss=fnn.SquaredError())
    zeros = X.at[3].set(0.0), jnp.ones((11, 2)), data[2]
    ours, theirs = (fit(squared, data=d, validation=d) for d in (data, zeros))
    chex.assert_trees_all_close((ours[0].params, ours[1]), (theirs[0].params, theirs[1]))


def test_a_row_of_weight_zero_may_hold_anything_in_its_target():
    target = jnp.ones((11, 2)).at[3].set(jnp.nan)
    squared = plan(fnn.optim.SGD(0.1), loss=fnn.SquaredError())
    state, history = fit(squared, data=(X, target, jnp.ones(11).at[3].set(0.0)))
    chex.assert_tree_all_finite((state.params, history))


READER = fnn.Serial(fnn.RNN(3, 4), fnn.Dense(4, 2))
STEPS = jax.random.normal(jax.random.key(3), (5, 4, 3))
LABELS = (STEPS.sum(-1) > 0).astype(jnp.int32)
MASK = jnp.arange(4) < jnp.array([4, 3, 1, 2, 4])[:, None]


def sequences(padding, mask=MASK):
    return fnn.Sequence(jnp.where(MASK[..., None], STEPS, padding), mask), LABELS


@pytest.mark.parametrize("padding", [1e3, jnp.nan, jnp.inf])
def test_masked_steps_of_sequences_change_nothing_whatever_they_hold(padding):
    reading = plan(fnn.optim.SGD(0.5), READER, metrics={"accuracy": fnn.accuracy})
    zero, padded = sequences(0.0), sequences(padding)
    start, how = fnn.start(reading, KEY), {"epochs": 2, "batch_size": 2}  # the last has one row
    ours, theirs = (
        fnn.fit(reading, start, data, validation=data, **how) for data in (padded, zero)
    )
    chex.assert_trees_all_close((ours[0].params, ours[1]), (theirs[0].params, theirs[1]))
    chex.assert_tree_all_finite(ours[1])
    ours, theirs = (fnn.evaluate(reading, start, data) for data in (padded, zero))
    chex.assert_trees_all_close(ours, theirs)
    ours, theirs = (RUNS["step"](reading, start, data).params for data in (padded, zero))
    chex.assert_trees_all_close(ours, theirs)
    unmasked = fnn.evaluate(reading, start, sequences(0.0, None))
    assert abs(unmasked["loss"] - fnn.evaluate(reading, start, zero)["loss"]) > 1e-3


def test_a_sequence_of_weight_zero_changes_nothing():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start, (x, target) = fnn.start(reading, KEY), sequences(0.0)
    weights = jnp.ones(5).at[1].set(0.0)
    other = x.with_fields(x=x.x.at[1].set(7.0)), target.at[1].set(0), weights
    how = {"epochs": 2, "batch_size": 2}
    ours, losses = fnn.fit(reading, start, (x, target, weights), **how)
    theirs, same = fnn.fit(reading, start, other, **how)
    chex.assert_trees_all_close((ours.params, losses), (theirs.params, same), rtol=1e-12)


def test_a_step_weighs_the_steps_that_count():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start = fnn.start(reading, KEY)
    _, row = fnn.step(reading, start, sequences(0.0))
    losses, _ = LOSS.forward(READER.forward(start.params, STEPS)[0], LABELS)
    expected = losses[MASK].mean()  # the steps that are left out come last
    chex.assert_trees_all_close(row["loss"], expected, rtol=1e-10)


def test_a_state_of_a_sequence_is_carried_by_a_step():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start, h = fnn.start(reading, KEY), jnp.ones((5, 4))
    x = fnn.Sequence(STEPS, state=((h,), ()))
    state, row = fnn.step(reading, start, (x, LABELS))
    done = jax.jit(fnn.fold)(READER, LOSS, start.params, x, LABELS)
    chex.assert_trees_all_close(row["loss"], done.loss, rtol=1e-10)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, start.params, done.result)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)
    without = fnn.step(reading, start, (x.with_fields(state=None), LABELS))[1]
    assert abs(row["loss"] - without["loss"]) > 1e-3


@pytest.mark.parametrize("run", ["epoch", "evaluate", "fit"])
def test_a_state_of_a_sequence_is_refused_where_rows_are_cut(run):
    reading = plan(net=READER)
    x = fnn.Sequence(STEPS, state=((jnp.ones((5, 4)),), ()))
    message = (
        rf"^{run}: x of data has a state, of which no rows can be cut; call fnn.step with each"
    )
    with pytest.raises(ValueError, match=message):
        RUNS[run](reading, fnn.start(reading, KEY), (x, LABELS))


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


def test_parts_of_a_long_sequence_carry_their_state_and_cut_the_gradient():
    net = fnn.Serial(rnn=fnn.Repeat(2, fnn.Residual(fnn.LSTM(3, 3))), head=fnn.Dense(3, 2))
    plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
    x, target = noise(4, 12, 3), noise(4, 12, 2, seed=2)
    params = net.init(KEY)
    training, carried = fnn.start(plan, None, params), None
    before, expected = None, params

    @jax.jit
    def by_autodiff(params, part, before):
        def loss(params):
            y, _ = net.forward(params, fnn.Sequence(x[:, part], state=before))
            return ((y.x - target[:, part]) ** 2).sum(-1).mean(), y.state

        grads, state = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state

    for part in (jnp.arange(4), jnp.arange(4, 8), jnp.arange(8, 12)):
        batch = fnn.Sequence(x[:, part], state=carried), target[:, part]
        training, row = fnn.step(plan, training, batch)
        carried = row["state"]
        expected, before = by_autodiff(expected, part, before)
        chex.assert_trees_all_close((training.params, carried), (expected, before), rtol=1e-9)
    whole, _ = net.forward(params, fnn.Sequence(x))
    parts, state = [], None
    for t in range(0, 12, 4):
        y, _ = net.forward(params, fnn.Sequence(x[:, t : t + 4], state=state))
        parts, state = [*parts, y.x], y.state
    chex.assert_trees_all_close(jnp.concatenate(parts, 1), whole.x, rtol=1e-9)
    chex.assert_trees_all_close(state, whole.state, rtol=1e-9)
