"""Tests of fnn.saving.pieces: the numbers are those of fit in one piece, bit for bit."""

import signal
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.checkpoints import CheckpointError
from fnn.saving.pieces import _jit_piece

HOW = {"epochs": 3, "batch_size": 4}
DATA, HELD_OUT = (X, TARGET, 1 + jnp.arange(11.0)), (X[:5], TARGET[:5])
NET = fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.3)
PLAN = plan(
    fnn.optim.Scheduled(fnn.optim.AdamW(0.05), fnn.optim.CosineDecay(1.0, 9)),
    net=NET, penalty=fnn.L2(0.1), metrics={"accuracy": fnn.accuracy},
    rule=(fnn.rules.backprop, fnn.rules.deltas),
)  # fmt: skip


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C as a terminal has it: what is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def fit(plan, state, data=DATA, **options):
    return fnn.fit(plan, state, data, **HOW | options)


def same(found, want):
    """Equal bit for bit, of a run's State and history."""
    found, want = (
        (state if state.key is None else state._replace(key=jax.random.key_data(state.key)), rows)
        for state, rows in (found, want)
    )
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def begin():
    return fnn.start(PLAN, KEY, (PARAMS[0], (), (), PARAMS[2]))


@pytest.fixture(scope="module")
def whole(begin):
    """The run in one piece."""
    return fit(PLAN, begin, validation=HELD_OUT)


class Stopped(Exception):  # noqa: N818
    """What takes a run away."""


def stopping(monkeypatch, n):
    """Take the run away before its n-th piece."""
    before, left = fnn.saving.pieces.Run.piece, [n]

    def piece(*args):
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return before(*args)

    monkeypatch.setattr(fnn.saving.pieces.Run, "piece", piece)


@pytest.mark.parametrize("every", [1, 2, 4, 100])
def test_a_run_in_pieces_is_the_run_in_one_piece(every, begin, whole, tmp_path):
    checkpoint = fnn.Checkpointing(tmp_path, every)
    same(fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint), whole)
    assert _jit_piece._cache_size() == 1
    again = fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint)  # from its last file
    same(again, whole)
    more = fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint, epochs=4)
    assert more[0].step == 12
    assert more[1]["loss"][:3].tolist() == whole[1]["loss"].tolist()


@pytest.mark.parametrize("pieces", range(0, 9, 2))
def test_a_run_that_was_taken_away_goes_on_to_the_same_end(
    pieces, begin, whole, tmp_path, monkeypatch
):
    checkpoint = fnn.Checkpointing(tmp_path, 1)
    with monkeypatch.context() as patch:
        stopping(patch, pieces)
        with pytest.raises(Stopped):
            fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint)
    files = len([*tmp_path.glob("*")])
    assert min(pieces, 1) <= files <= min(pieces, 2)  # a slow disk leaves some out
    same(fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint), whole)


def test_rows_in_their_order_and_without_the_last_batch(tmp_path):
    sgd = plan(fnn.optim.SGD(0.5))
    begin = fnn.start(sgd, None, PARAMS)
    for drop_last in (False, True):
        checkpoint = fnn.Checkpointing(tmp_path / f"{drop_last}", 2)
        found = fit(sgd, begin, drop_last=drop_last, checkpoint=checkpoint)
        same(found, fit(sgd, begin, drop_last=drop_last))


def test_a_callback_sees_every_epoch_once_and_its_end_is_one(begin, whole, tmp_path):
    rows, checkpoint = [], fnn.Checkpointing(tmp_path, 2)

    def callback(state, row):
        rows.append((int(state.step), row["loss"]))
        return len(rows) == 2

    for _ in range(2):
        state, history = fit(PLAN, begin, callback=callback, checkpoint=checkpoint)
        assert rows == [(3, whole[1]["loss"][0]), (6, whole[1]["loss"][1])]
        assert state.step == 6
        assert len(history["loss"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_when_it_is_saved(number, begin, whole, tmp_path, monkeypatch):
    checkpoint, before = fnn.Checkpointing(tmp_path, 100), signal.getsignal(number)
    with monkeypatch.context() as patch:
        piece = fnn.saving.pieces.Run.piece

        def signalled(self, position, *args):
            if int(position.state.step) == 4:
                signal.raise_signal(number)
            return piece(self, position, *args)

        patch.setattr(fnn.saving.pieces.Run, "piece", signalled)
        patch.setattr(fnn.saving.pieces, "SECONDS", 0.0)
        with pytest.raises(fnn.Interrupted) as error:
            fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint)
    assert (error.value.step, error.value.code) == (5, 128 + number)
    assert signal.getsignal(number) is before
    assert fnn.checkpoints.load(error.value.path, PLAN).step == 5
    same(fit(PLAN, begin, validation=HELD_OUT, checkpoint=checkpoint), whole)


def test_a_second_ctrl_c_is_at_once_and_the_older_file_stays(begin, tmp_path, monkeypatch):
    checkpoint, piece = fnn.Checkpointing(tmp_path, 1), fnn.saving.pieces.Run.piece

    def signalled(self, position, *args):
        if int(position.state.step) == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return piece(self, position, *args)

    monkeypatch.setattr(fnn.saving.pieces.Run, "piece", signalled)
    with pytest.raises(KeyboardInterrupt) as error:
        fit(PLAN, begin, checkpoint=checkpoint)
    assert error.type is KeyboardInterrupt
    time.sleep(0.1)  # the thread of the file before
    assert fnn.checkpoints.load(fnn.checkpoints.latest(tmp_path), PLAN).step in (1, 2)


def test_a_step_that_is_not_finite_is_not_taken(tmp_path):
    sgd = plan(fnn.optim.SGD(1e200), loss=fnn.SquaredError())
    data = (X, X[:, :2])
    begin = fnn.start(sgd, KEY, PARAMS)
    for _ in range(2):
        with pytest.raises(fnn.NotFinite) as error:
            fit(sgd, begin, data=data, checkpoint=fnn.Checkpointing(tmp_path, 100))
        assert error.value.step == 1
        assert error.value.names[:2] == ("loss", "the gradient of 0.w")
        assert str(error.value).startswith(
            "fit: step 2 is not finite in loss, the gradient of 0.w, the gradient of 0.b and "
        )
        assert error.value.first == (0, "delta", "1", ())
        for part in (
            ", first in δ of layer 1 (epoch 1, batch 2, the loss before was ",
            "learning rate 1e+200); it was",
        ):
            assert part in str(error.value)
        assert len(str(error.value)) <= 400 + len(f"{tmp_path}")
    state = fnn.checkpoints.load(error.value.path, sgd)
    assert state.step == 1
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(state.params))
    less = plan(fnn.optim.SGD(1e-250), loss=fnn.SquaredError())
    with pytest.raises(CheckpointError, match="is of another Plan: optimizer was SGD"):
        fit(less, begin, data=data, checkpoint=fnn.Checkpointing(tmp_path, 100))
    checkpoint = fnn.Checkpointing(tmp_path, 100, changed=("optimizer",))
    with pytest.raises(fnn.NotFinite, match="step 2 .* learning rate 1e-250"):
        fit(less, begin, data=data, checkpoint=checkpoint)


def leaping(grads, step, params):
    return jax.tree.map(lambda g: jnp.where(step == 8, jnp.inf, -0.1 * g), grads), step + 1


def test_params_that_are_not_finite_are_seen_where_no_loss_has_them(tmp_path):
    leap = optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), leaping)
    begin = fnn.start(plan(leap), KEY, PARAMS)
    checkpoint = fnn.Checkpointing(tmp_path, 100)
    with pytest.raises(
        fnn.NotFinite, match=r"fit: step 9 is not finite in params\.0\.w, p"
    ) as error:
        fit(plan(leap), begin, data=(X, TARGET), checkpoint=checkpoint)
    assert (error.value.step, len(error.value.names)) == (8, 4)
    assert "loss" not in error.value.names
    state = fnn.checkpoints.load(error.value.path, plan(leap))
    assert state.optimizer_state == state.step == 8


def test_what_begins_at_infinity_may_stay_there(tmp_path):
    def update(grads, best, params):
        return jax.tree.map(lambda g: -0.1 * g, grads), best

    best = optax.GradientTransformation(lambda params: jnp.array(jnp.inf), update)
    begin = fnn.start(plan(best), KEY, PARAMS)
    state, _ = fit(plan(best), begin, data=(X, TARGET), checkpoint=fnn.Checkpointing(tmp_path, 9))
    assert (state.step, state.optimizer_state) == (9, jnp.inf)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"in_backward": True}, {"watch": "deltas"}])
def test_steps_on_the_way_back_and_watched_ones_are_the_same_in_pieces(
    options, tmp_path, monkeypatch
):
    if "watch" in options:
        options = {"watch": fnn.Watch(fnn.rules.gradient_norms, every=2)}
    adam = plan(fnn.optim.Adam(0.05), **options)
    begin = fnn.start(adam, KEY, PARAMS)
    one, other = (fnn.Checkpointing(tmp_path / name, 1) for name in "ab")
    found = fit(adam, begin, data=(X, TARGET), checkpoint=one)
    want = fit(adam, begin, data=(X, TARGET))
    chex.assert_trees_all_close(found[0].params, want[0].params, rtol=1e-12)
    chex.assert_trees_all_close(found[1], want[1], rtol=1e-12)
    with monkeypatch.context() as patch:
        stopping(patch, 4)
        with pytest.raises(Stopped):
            fit(adam, begin, data=(X, TARGET), checkpoint=other)
    same(fit(adam, begin, data=(X, TARGET), checkpoint=other), found)


def test_under_jit_there_is_nothing_to_save(begin, tmp_path):
    with pytest.raises(
        ValueError, match="fit: with a checkpoint it works on the host; call it out"
    ):
        jax.jit(lambda s: fit(PLAN, s, checkpoint=fnn.Checkpointing(tmp_path, 1)))(begin)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(TypeError, match=r"fit: checkpoint must be a fnn\.Checkpointing, got 'run'"):
        fit(PLAN, begin, checkpoint="run")
