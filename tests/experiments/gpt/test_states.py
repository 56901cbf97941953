import jax
import numpy as np
import pytest

import fnn
from experiments.common import checkpoints
from experiments.common.cli import DATA, UserError
from experiments.gpt import states
from experiments.gpt.states import Saved

NET = fnn.Serial(fnn.Dense(3, 2), fnn.Tanh(), fnn.Dense(2, 4))
LOSS = fnn.SoftmaxCrossEntropy()


def optimizer_of(config):
    return fnn.optim.Scheduled(fnn.optim.AdamW(), fnn.optim.CosineDecay(config["rate"], 10))


@pytest.fixture
def saved():
    """A run after two steps."""
    config = {"rate": 0.1}
    state = fnn.start(optimizer_of(config), NET.init(jax.random.key(0)), jax.random.key(1))
    for _ in range(2):
        state, _ = step(state, config)
    return Saved(NET, state, config, [{"step": 2, "loss": 0.1 + 0.2}])


def step(state, config):
    x, target = np.eye(5, 3, dtype=np.float32), np.arange(5) % 4
    return fnn.step(NET, LOSS, optimizer_of(config), state, x, target)


def test_a_run_that_was_stored_goes_on_as_one_that_was_not(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    states.save(path, saved)
    loaded = states.load(path, optimizer_of)
    assert (loaded.net, loaded.config, loaded.history) == (NET, saved.config, saved.history)
    assert loaded.state.key is None
    assert int(loaded.state.step) == 2
    ends = [step(s.state._replace(key=None), saved.config)[0] for s in (saved, loaded)]
    assert jax.tree.structure(ends[0]) == jax.tree.structure(ends[1])
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_file_of_another_kind_or_with_a_changed_byte_is_refused(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = checkpoints.by_name(saved.state._replace(key=None))
    checkpoints.write(path, tensors, {"network": {}, "config": {}})
    with pytest.raises(UserError, match="it has no history"):
        states.load(path, optimizer_of)
    states.save(path, saved)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match="is damaged") as error:
        states.load(path, optimizer_of)
    assert error.value.code == DATA


def test_a_state_of_another_optimizer_is_refused_tensor_by_tensor(saved, tmp_path):
    states.save(tmp_path / "a", saved)
    with pytest.raises(UserError, match=r"optimizer_state/inner/\S+ is unexpected"):
        states.load(tmp_path / "a", lambda config: fnn.optim.Momentum(0.1))
