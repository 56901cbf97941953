"""Tests of fnn.streams.evaluating: an evaluation does not depend on the cut."""

import numpy as np
import pytest
from training import KEY, LOSS, PARAMS, TARGET, X, plan

import fnn

ROWS, LABELS, WEIGHTS = np.asarray(X), np.asarray(TARGET), np.arange(11.0) % 3
METRICS = {"accuracy": fnn.accuracy, "perplexity": fnn.Perplexity()}
ONCE = plan(fnn.optim.SGD(0.5), metrics=METRICS)


def batches():
    for i in range(0, 11, 4):
        yield ROWS[i : i + 4], LABELS[i : i + 4], WEIGHTS[i : i + 4]


def numbers(row):
    return {name: float(a) for name, a in row.items()}


def test_a_stream_is_evaluated_as_its_rows_are():
    state = fnn.start(ONCE, None, PARAMS)
    want = numbers(fnn.evaluate(ONCE, state, (X, TARGET, WEIGHTS)))
    for data in (batches, batches()):
        assert numbers(fnn.evaluate(ONCE, state, data)) == pytest.approx(want, rel=1e-12)
    with pytest.raises(ValueError, match="^evaluate: nothing counts"):
        fnn.evaluate(ONCE, state, lambda: ((x, t, 0 * w) for x, t, w in batches()))
    with pytest.raises(ValueError, match="^evaluate, batch 2: x must be finite"):
        fnn.evaluate(ONCE, state, iter([(ROWS, LABELS), (np.nan * ROWS, LABELS)]))


def test_validation_streams_behind_every_epoch_of_arrays_and_of_streams():
    traced = []

    def counted(y, target):
        traced.append(y.shape)
        return y[..., 0]

    once = plan(fnn.optim.SGD(0.5), metrics={"counted": counted})
    begin, how = fnn.start(once, None, PARAMS), {"epochs": 2, "validation": batches}
    _, history = fnn.fit(once, begin, (X, TARGET), batch_size=4, **how)
    assert traced == [(4, 2), (4, 2)]  # a step, an evaluation
    _, want = fnn.fit(
        once, begin, (X, TARGET), epochs=2, batch_size=4, validation=(X, TARGET, WEIGHTS)
    )
    found = fnn.fit(once, begin, lambda: ((x, t) for x, t, _ in batches()), **how)[1]
    for name, values in want.items():
        assert history[name].tolist() == pytest.approx(values.tolist(), rel=1e-12)
        assert found[name].tolist() == pytest.approx(values.tolist(), rel=1e-12)
    with pytest.raises(ValueError, match="^fit: validation is an iterator"):
        fnn.fit(once, begin, (X, TARGET), epochs=2, batch_size=4, validation=batches())


@pytest.mark.slow
def test_what_mixes_examples_asks_for_its_calibration():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4), fnn.Dense(4, 2))
    once = plan(net=net)
    state = fnn.start(once, KEY)
    with pytest.raises(ValueError, match="evaluate: BatchNorm.* give calibration=x"):
        fnn.evaluate(once, state, batches)
    row = fnn.evaluate(once, state, batches, calibration=X)
    alone, params = fnn.inference(net, state.params, X)
    losses, _ = LOSS.forward(alone.forward(params, X)[0], TARGET)
    assert float(row["loss"]) == pytest.approx(
        float((losses * WEIGHTS).sum() / WEIGHTS.sum()), rel=1e-9
    )
