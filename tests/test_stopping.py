"""Tests of fnn.stopping: runs that end early end where the plain loop would."""

import math

import chex
import jax
import jax.numpy as jnp
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.stopping import EarlyStopping

NAN, HOW = math.nan, {"epochs": 9, "batch_size": 4}
ADAM = plan(fnn.optim.Adam(0.3), metrics={"accuracy": fnn.accuracy})
HELD_OUT = X[:5], 1 - TARGET[:5]  # it gets worse from the start


def best(stop, values):
    """By a loop: the epoch of the best value so far, and where the run ends."""
    kept = None
    for e, value in enumerate(values):
        least = math.nan if kept is None else values[kept]
        better = value > least if stop.largest else value < least
        if kept is None or better or (math.isnan(least) and not math.isnan(value)):
            kept = e
        if e - kept == stop.patience:
            break
    return kept, e + 1


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(
    "values",
    [[3, 2, 2, 2, 1], [NAN, NAN, 5, NAN, 4], [1, NAN, NAN, 0], [2, 1, 1, 0, 0, 0, 7, 8, 9],
     [NAN] * 5, [-math.inf, math.inf, 0, 1, 2]],
)  # fmt: skip
def test_nan_is_worst_and_of_two_that_are_alike_the_earlier_counts(values, largest):
    for patience in (1, 2, 3):
        stop, kept, over = EarlyStopping(patience, "loss", largest, best=True), None, False
        rows = []
        while rows != values and not over:
            rows = values[: len(rows) + 1]
            history = [{"loss": v} for v in rows]
            over, kept = stop.looked(history, len(rows) - 1, kept)
        assert (kept, len(rows)) == best(stop, values)


def test_a_run_stops_and_returns_its_best_state_and_goes_on_from_files(tmp_path):
    begin, seen = fnn.start(ADAM, KEY, PARAMS), []
    told = lambda state, row: seen.append((state, row["validation_loss"]))  # noqa: E731
    stop, run = EarlyStopping(3, best=True), {"validation": HELD_OUT, **HOW}
    state, history = fnn.fit(ADAM, begin, (X, TARGET), callback=told, stop=stop, **run)
    e = min(range(len(seen)), key=lambda i: seen[i][1])
    assert len(history["loss"]) == len(seen) == e + 4 < 9
    same = lambda a, b: chex.assert_trees_all_equal(a._replace(key=None), b._replace(key=None))  # noqa: E731
    same(state, seen[e][0])
    given = fnn.fit(ADAM, jax.tree.map(jnp.copy, begin), (X, TARGET), stop=stop, donate=True, **run)
    same(given[0], state)
    last, _ = fnn.fit(ADAM, begin, (X, TARGET), stop=EarlyStopping(3), **run)
    same(last, seen[-1][0])
    saved = {"checkpoint": fnn.Checkpointing(tmp_path, 3, keep=9), "stop": stop}
    for newest in (None, 3 * (e + 2), 3):  # behind the best epoch, and before it
        for path in tmp_path.glob("*.safetensors") if newest else ():
            if int(path.stem) > newest:
                path.unlink()
        found = fnn.fit(ADAM, begin, (X, TARGET), **saved, **run)
        chex.assert_trees_all_close(found[0].params, state.params, rtol=1e-10)
        assert len(found[1]["loss"]) == e + 4
    with pytest.raises(
        fnn.checkpoints.CheckpointError, match=r"another run: stop was EarlyStopping"
    ):
        fnn.fit(ADAM, begin, (X, TARGET), **saved | {"stop": None}, **run)


@pytest.mark.slow
def test_a_stream_stops_skips_and_averages_as_arrays_do():
    x = X.at[5].set(1e200)  # whose square is infinite
    make = plan(fnn.optim.Adam(0.3), loss=fnn.SquaredError(), skips=20, ema=0.5, microbatch=2)
    begin, data = fnn.start(make, None, PARAMS), (x, x[:, :2])
    run = {"stop": EarlyStopping(2, best=True), "validation": (X[:5], -X[:5, :2])}
    want = fnn.fit(make, begin, data, **run, epochs=6, batch_size=4)

    def batches():
        yield from ((x[i : i + 4], x[i : i + 4, :2]) for i in (0, 4, 8))

    found = fnn.fit(make, begin, batches, **run, epochs=6)
    chex.assert_trees_all_close(found, want, rtol=1e-10)
    assert found[0].skipped > 0


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ({"patience": 0}, ValueError, "EarlyStopping: patience must be at least 1, got 0"),
        ({"patience": 1.5}, TypeError, "EarlyStopping: patience must be an integer, got 1.5"),
        ({"patience": 1, "entry": 3}, TypeError, "EarlyStopping: entry must be a name, got 3"),
        ({"patience": 1, "best": 3}, TypeError, "EarlyStopping: best must be True or False"),
        ({"patience": 1, "entry": "acuracy"}, ValueError, "fit: stop looks at 'acuracy', .* loss, a"
         "ccuracy; did you mean 'accuracy'"),
        ({"patience": 1}, ValueError, "fit: stop looks at 'validation_loss', and history will"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_a_step(args, error, message):
    with pytest.raises(error, match=message):
        fnn.fit(ADAM, fnn.start(ADAM, KEY, PARAMS), (X, TARGET), stop=EarlyStopping(**args), **HOW)


def test_it_works_on_the_host():
    begin, stop = fnn.start(ADAM, KEY, PARAMS), EarlyStopping(1, "loss")
    with pytest.raises(
        ValueError, match="fit: with stop it works on the host; call it outside jit"
    ):
        jax.jit(lambda s: fnn.fit(ADAM, s, (X, TARGET), stop=stop, **HOW))(begin)
    with pytest.raises(TypeError, match=r"fit: stop must be a fnn\.EarlyStopping, got 3"):
        fnn.fit(ADAM, begin, (X, TARGET), stop=3, **HOW)
