"""Tests of fnn.train: what bad input gets, from every function in its own voice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import KEY, LOSS, NET, PARAMS, RUNS, TARGET, X, fit, plan

import fnn

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
        "got generator; batches come from a function that makes an iterator of them, fnn.fit",
    ),
    "a list of batches": (
        lambda p, s: (p, s, [(X, TARGET)]),
        TypeError,
        "got list of 1; batches come from a function that makes an iterator of them, fnn.fit",
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


ARRAYS_ONLY = {(run, "a generator") for run in ("fit", "evaluate")}  # which take streams


@pytest.mark.parametrize(
    ("run", "case"), sorted({(r, c) for r in RUNS for c in VOICES} - ARRAYS_ONLY)
)
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


def test_a_net_with_nan_in_it_is_not_evaluated_as_if_it_were_well():
    ruined = PARAMS[0]._replace(b=PARAMS[0].b.at[1].set(jnp.nan)), *PARAMS[1:]
    state = fnn.start(plan(), None, ruined)
    with pytest.raises(ValueError, match="^evaluate: params.0.b must be finite, got nan at"):
        fnn.evaluate(plan(), state, (X, TARGET))


def test_a_large_memory_mapped_file_is_not_put_on_the_device_without_a_word(tmp_path, monkeypatch):
    file = np.memmap(tmp_path / "x", "float64", "w+", shape=X.shape)
    file[:] = X
    monkeypatch.setattr(fnn.batches, "WHOLE", file.nbytes - 1)
    once = plan()
    message = "^epoch: memory-mapped arrays of more than 0 MiB are copied .* fnn.fit reads them"
    with pytest.warns(UserWarning, match=message):
        RUNS["epoch"](once, fnn.start(once, KEY, PARAMS), (file, np.asarray(TARGET)))


def test_evaluation_of_a_net_that_mixes_examples_asks_for_a_calibration_batch():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4), fnn.Dense(4, 2))
    once = plan(net=net)
    state = fnn.start(once, KEY)
    with pytest.raises(ValueError, match="evaluate: BatchNorm.* give calibration=x"):
        fnn.evaluate(once, state, (X, TARGET))
    with pytest.raises(ValueError, match="fit: BatchNorm.* give calibration=x"):
        fit(once, state=state, validation=(X, TARGET))
    row = fnn.evaluate(once, state, (X, TARGET), calibration=X)
    alone, params = fnn.inference(net, state.params, X)
    losses, _ = LOSS.forward(alone.forward(params, X)[0], TARGET)
    assert float(row["loss"]) == pytest.approx(float(losses.mean()), rel=1e-6)
    state, history = fit(once, state=state, validation=(X, TARGET), calibration=X)
    row = fnn.evaluate(once, state, (X, TARGET), calibration=X)
    assert float(history["validation_loss"][-1]) == pytest.approx(float(row["loss"]), rel=1e-6)
