import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import fnn
from experiments.common import checkpoints
from experiments.common.cli import DATA, UserError
from experiments.gpt import states
from experiments.gpt.states import Saved

NET = fnn.Serial(fnn.Dense(3, 2), fnn.Tanh(), fnn.Dense(2, 4))
LOSS = fnn.SoftmaxCrossEntropy()


def plan_of(net, config):
    schedule = fnn.optim.CosineDecay(config["rate"], 10)
    return fnn.Plan(net, LOSS, fnn.optim.Scheduled(fnn.optim.AdamW(), schedule))


@pytest.fixture
def saved():
    """A run after two steps."""
    config = {"rate": 0.1}
    plan = plan_of(NET, config)
    state = fnn.start(plan, jax.random.key(1))
    for _ in range(2):
        state, _ = step(plan, state)
    return Saved(plan, state, config, [{"step": 2, "loss": 0.1 + 0.2}])


def step(plan, state):
    return fnn.step(plan, state, (np.eye(5, 3, dtype=np.float32), np.arange(5) % 4))


def test_a_run_that_was_stored_goes_on_as_one_that_was_not(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    states.save(path, saved)
    loaded = states.load(path, plan_of)
    assert loaded[2:] == (saved.config, saved.history)
    assert loaded.plan.net == NET
    assert loaded.state.key is None
    assert int(loaded.state.step) == 2
    ends = [step(s.plan, s.state._replace(key=None))[0] for s in (saved, loaded)]
    assert jax.tree.structure(ends[0]) == jax.tree.structure(ends[1])
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_file_of_another_kind_or_with_a_changed_byte_is_refused(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = checkpoints.by_name(saved.state._replace(key=None))
    checkpoints.write(path, tensors, {"network": {}, "config": {}})
    with pytest.raises(UserError, match="it has no history"):
        states.load(path, plan_of)
    states.save(path, saved)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match="is damaged") as error:
        states.load(path, plan_of)
    assert error.value.code == DATA


def test_a_run_of_fnn_0_4_is_refused_with_what_to_do(saved, tmp_path):
    tensors = {
        path.replace(".", "/"): a
        for path, a in checkpoints.by_name(saved.state._replace(key=None)).items()
    }
    values = {"network": checkpoints.described(NET), "config": {"rate": 0.1}, "history": []}
    texts = {name: json.dumps(value) for name, value in values.items()}
    save_file(tensors, tmp_path / "a", texts | {"sha256": checkpoints.digest(tensors, texts)})
    with pytest.raises(UserError, match=r"got format 1, which fnn 0\.4 wrote .* train again"):
        states.load(tmp_path / "a", plan_of)


def test_a_state_of_another_optimizer_is_refused_tensor_by_tensor(saved, tmp_path):
    states.save(tmp_path / "a", saved)
    with pytest.raises(UserError, match=r"optimizer_state\.inner\.\S+ is unexpected"):
        states.load(
            tmp_path / "a", lambda net, config: fnn.Plan(net, LOSS, fnn.optim.Momentum(0.1))
        )
