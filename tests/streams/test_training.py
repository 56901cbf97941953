"""Tests of fnn.streams.training: the numbers of a stream are those of its batches, one by one."""

import itertools
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.streams.training import _jit_steps

ROWS, LABELS, WEIGHTS = np.asarray(X), np.asarray(TARGET), 1 + np.arange(11.0) % 3
SGD = plan(fnn.optim.SGD(0.5), metrics={"accuracy": fnn.accuracy})


def batches(size=4, n=11):
    """A generator of all rows, each batch in the same buffer."""
    x = np.empty((size, 3))
    for i in range(0, n, size):
        part = x[: len(ROWS[i : min(i + size, n)])]
        part[:] = ROWS[i : min(i + size, n)]
        yield part, LABELS[i : min(i + size, n)], WEIGHTS[i : min(i + size, n)]
        part[:] = np.nan


def close(found, want):
    chex.assert_trees_all_close(found, want, rtol=1e-12, atol=1e-14)


def same_run(found, want):
    """Equal States and histories, whatever the key is."""
    close(found[0]._replace(key=None), want[0]._replace(key=None))
    close(found[1], want[1])


def test_a_stream_is_trained_on_as_the_rows_that_it_has():
    begin, data = fnn.start(SGD, None, PARAMS), (X, TARGET, WEIGHTS)
    how = {"epochs": 3, "validation": data}
    found = fnn.fit(SGD, begin, batches, **how)
    same_run(found, fnn.fit(SGD, begin, data, batch_size=4, **how))
    assert found[0].step == 9


def test_one_program_serves_every_batch_and_every_rate():
    traced = []

    def counted(y, target):
        traced.append(y.shape)
        return y[..., 0]

    before = _jit_steps._cache_size()
    for rate in (0.1, 0.2):
        once = plan(fnn.optim.SGD(rate), metrics={"counted": counted})
        fnn.fit(once, fnn.start(once, None, PARAMS), batches, epochs=2)
    assert traced == [(4, 2)]
    assert _jit_steps._cache_size() == before + 1


NET = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4), fnn.Tanh(), fnn.Dropout(0.3), fnn.Dense(4, 2))
ALL = plan(
    fnn.optim.Momentum(0.05), net=NET, penalty=fnn.L2(0.1), metrics={"ppl": fnn.Perplexity()},
    rule=(fnn.rules.backprop, fnn.rules.deltas, fnn.rules.running_averages(NET)),
    watch=fnn.Watch(fnn.rules.delta_norms, every=2),
)  # fmt: skip
INSIDE = ALL.with_fields(in_backward=True, penalty=None, rule=ALL.rule)


@pytest.mark.slow
@pytest.mark.parametrize("once", [ALL, INSIDE], ids=["all", "in_backward"])
def test_whatever_a_plan_has_goes_along(once):
    begin = fnn.start(once, KEY)
    state, history = fnn.fit(once, begin, lambda: batches(4, 8), epochs=2)
    by_hand, rows = begin, []
    for batch in itertools.chain(batches(4, 8), batches(4, 8)):
        by_hand, row = fnn.step(once, by_hand, tuple(map(np.copy, batch)))
        rows.append(row)
    close(state._replace(key=None), by_hand._replace(key=None))
    weights = np.array([WEIGHTS[:4].sum(), WEIGHTS[4:8].sum()])
    for epoch in (0, 1):
        pair = rows[2 * epoch : 2 * epoch + 2]
        loss = sum(w * row["loss"] for w, row in zip(weights, pair, strict=True)) / weights.sum()
        close(history["loss"][epoch], loss)
        for name in ("deltas", "watch"):
            both = jax.tree.map(lambda *a: jnp.stack(a), *(row[name] for row in pair))
            close(jax.tree.map(lambda a, e=epoch: a[e], history[name]), both)


def test_full_batches_alone_have_no_weights_of_their_own():
    begin = fnn.start(SGD, None, PARAMS)
    how = {"epochs": 2, "drop_last": True}
    found = fnn.fit(SGD, begin, lambda: ((x, t) for x, t, _ in batches()), **how)
    same_run(found, fnn.fit(SGD, begin, (X, TARGET), batch_size=4, **how))
    assert found[0].step == 4


def test_an_epoch_of_steps_goes_on_where_the_last_one_ended():
    def endless():
        while True:
            yield from ((x, t) for x, t, _ in batches(4, 8))

    begin = fnn.start(SGD, None, PARAMS)
    for data in (endless, endless(), lambda: batches(4, 8)):
        found = fnn.fit(SGD, begin, data, epochs=2, steps=3)
        assert found[0].step == 6
        if data is endless:
            want, _ = fnn.fit(SGD, begin, (X[:8], TARGET[:8]), epochs=3, batch_size=4)
            close(found[0].params, want.params)


def test_epochs_of_different_lengths_are_one_history():
    once, sizes = plan(SGD.optimizer, rule=(fnn.rules.backprop, fnn.rules.deltas)), iter((8, 4))
    begin = fnn.start(once, None, PARAMS)
    _, history = fnn.fit(once, begin, lambda: batches(4, next(sizes)), epochs=2)
    delta = history["deltas"][0]
    assert delta.shape[:2] == (2, 2)
    assert np.isfinite(delta[0]).all()
    assert np.isfinite(delta[1, 0]).all()
    assert np.isnan(delta[1, 1]).all()


def test_the_callers_state_stays_and_so_does_what_a_callback_saw():
    begin, seen = fnn.start(SGD, None, jax.tree.map(jnp.copy, PARAMS)), []
    fnn.fit(SGD, begin, batches, epochs=3, callback=lambda state, row: seen.append(state))
    assert [int(state.step) for state in (begin, *seen)] == [0, 3, 6, 9]
    assert all(np.isfinite(a).all() for a in jax.tree.leaves([s.params for s in (begin, *seen)]))
    fnn.fit(SGD, begin, batches, epochs=1, donate=True)
    assert all(a.is_deleted() for a in jax.tree.leaves(begin.params))


def test_a_callback_ends_a_stream_and_its_generator():
    ended = []

    def endless():
        try:
            while True:
                yield from batches(4, 8)
        finally:
            ended.append(True)

    begin = fnn.start(SGD, None, PARAMS)
    stops = {"callback": lambda state, row: type(row["loss"]) is float}
    state, history = fnn.fit(SGD, begin, endless, epochs=9, steps=2, **stops)
    assert state.step == 2
    assert history["loss"].shape == (1,)
    assert ended == [True]


def test_a_stream_is_read_in_the_precision_of_its_caller():
    with jax.enable_x64(False):
        state = fnn.start(SGD, None, jax.tree.map(lambda p: p.astype(np.float32), PARAMS))
        state, history = fnn.fit(SGD, state, batches, epochs=1)
    assert {a.dtype for a in jax.tree.leaves((state.params, history))} == {np.dtype("float32")}


def loader_of_pytorch(**options):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(ROWS), torch.tensor(LABELS))
    return torch.utils.data.DataLoader(data, batch_size=4, **options)


WORKERS = {"num_workers": 2, "timeout": 60, "multiprocessing_context": "fork"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork")  # a worker runs nothing of JAX's
@pytest.mark.parametrize("options", [{}, WORKERS, WORKERS | {"persistent_workers": True}])
def test_a_loader_of_pytorch_is_a_stream(options):
    loader, held_out = (loader_of_pytorch(**options) for _ in range(2))
    begin = fnn.start(SGD, None, PARAMS)
    for _ in range(2):
        found = fnn.fit(SGD, begin, loader, epochs=2, validation=held_out)
        how = {"epochs": 2, "batch_size": 4, "validation": (X, TARGET)}
        same_run(found, fnn.fit(SGD, begin, (X, TARGET), **how))
    close(fnn.evaluate(SGD, begin, loader), fnn.evaluate(SGD, begin, (X, TARGET)))
    state, _ = fnn.fit(SGD, begin, loader, epochs=2, steps=3)
    close(state.params, found[0].params)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork")
def test_workers_that_stay_serve_one_pass_at_a_time():
    loader, begin = loader_of_pytorch(**WORKERS, persistent_workers=True), fnn.start(SGD, KEY)
    with pytest.raises(TypeError, match="fit: validation gives an iterator that is read already"):
        fnn.fit(SGD, begin, loader, epochs=2, validation=loader)


@pytest.mark.slow
def test_a_dataset_of_tensorflow_is_a_stream():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).batch(4).prefetch(2)
    begin, how = fnn.start(SGD, None, PARAMS), {"epochs": 2}
    want = fnn.fit(SGD, begin, (X, TARGET), batch_size=4, validation=(X, TARGET), **how)
    for stream in (data, data.as_numpy_iterator):
        same_run(fnn.fit(SGD, begin, stream, validation=stream, **how), want)
    state, _ = fnn.fit(SGD, begin, data.repeat(), steps=3, **how)
    close(state.params, want[0].params)
    ragged = data.map(lambda x, t: (tf.RaggedTensor.from_tensor(x), t))
    with pytest.raises(TypeError, match="fit, epoch 1, batch 1: x must hold numbers, got object"):
        fnn.fit(SGD, begin, ragged, **how)


@pytest.mark.slow
def test_a_long_stream_leaves_nothing_behind():
    def endless():
        while True:
            yield ROWS[:4], LABELS[:4]

    alive = []

    def callback(state, row):
        alive.append(len(jax.live_arrays()) - len(row) * len(alive))  # those of the history

    state, _ = fnn.fit(
        SGD, fnn.start(SGD, None, PARAMS), endless, epochs=6, steps=500, callback=callback
    )
    assert state.step == 3000
    assert max(alive[1:]) <= min(alive[1:]) + 20  # a window or two more or less
    assert threading.active_count() < 20
