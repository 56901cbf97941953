import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import fnn
import fnn.files
from experiments.common import checkpoints
from experiments.common.cli import DATA, UserError
from experiments.gpt import pictures, states
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


def further(saved):
    """The run a step later."""
    state, _ = step(saved.plan, saved.state)
    return saved._replace(state=state, history=[*saved.history, {"step": int(state.step)}])


def newest_in(folder):
    return fnn.checkpoints.latest(folder)


def step(plan, state):
    return fnn.step(plan, state, (np.eye(5, 3, dtype=np.float32), np.arange(5) % 4))


def test_a_run_that_was_stored_goes_on_as_one_that_was_not(saved, tmp_path):
    states.save(tmp_path, saved)
    loaded = states.load(newest_in(tmp_path), plan_of)
    assert loaded[2:] == (saved.config, saved.history)
    assert loaded.plan.net == NET
    assert int(loaded.state.step) == 2
    numbers = [jax.random.key_data(s.state.key).tolist() for s in (saved, loaded)]
    assert numbers[0] == numbers[1]
    ends = [step(s.plan, s.state._replace(key=None))[0] for s in (saved, loaded)]
    assert jax.tree.structure(ends[0]) == jax.tree.structure(ends[1])
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_file_of_another_kind_or_with_a_changed_byte_is_refused(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoints.write(path, saved.state, {"network": {}, "config": {}}, saved.plan)
    with pytest.raises(UserError, match="it has no history"):
        states.load(path, plan_of)
    states.save(tmp_path, saved)
    path = newest_in(tmp_path)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match="is damaged") as error:
        states.load(path, plan_of)
    assert error.value.code == DATA


def test_a_run_of_fnn_0_4_is_refused_with_what_to_do(saved, tmp_path):
    tensors = {"params/0/w": np.zeros(3, np.float32)}
    values = {"network": checkpoints.described(NET), "config": {"rate": 0.1}, "history": []}
    texts = {name: json.dumps(value) for name, value in values.items()}
    save_file(tensors, tmp_path / "a", texts | {"sha256": fnn.files.digest(tensors, texts)})
    with pytest.raises(UserError, match=r"of an older format, that of fnn 0\.4; train again"):
        states.load(tmp_path / "a", plan_of)


def test_a_state_of_another_optimizer_is_refused_tensor_by_tensor(saved, tmp_path):
    states.save(tmp_path, saved)
    with pytest.raises(UserError, match=r"optimizer_state\.inner\.\S+ is unexpected"):
        states.load(
            newest_in(tmp_path), lambda net, config: fnn.Plan(net, LOSS, fnn.optim.Momentum(0.1))
        )


def test_behind_a_newest_file_that_is_damaged_stands_the_one_before(saved, tmp_path, capsys):
    states.save(tmp_path, saved)
    states.save(tmp_path, further(saved))
    states.save(tmp_path, further(further(saved)))
    path, before = (tmp_path / f"000000000{i}.safetensors" for i in (4, 3))
    assert sorted(tmp_path.iterdir()) == [before, path]
    assert int(states.newest(tmp_path, plan_of).state.step) == 4
    assert capsys.readouterr().out == ""

    path.write_bytes(path.read_bytes()[:-1])
    assert int(states.newest(tmp_path, plan_of).state.step) == 3
    said = capsys.readouterr().out
    assert said.startswith(f"{path} is not a safetensors file: ")
    assert said.endswith(f" Going on from {before}, after step 3.\n")

    before.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{path} is .* {before} is empty"):
        states.newest(tmp_path, plan_of)
    for file in (path, before):
        file.unlink()
    with pytest.raises(UserError, match="holds no checkpoint; begin again"):
        states.newest(tmp_path, plan_of)
    with pytest.raises(UserError, match="there is no folder"):
        states.newest(tmp_path / "none", plan_of)


def test_a_damaged_file_is_never_all_that_is_left(saved, tmp_path):
    states.save(tmp_path, saved)
    states.save(tmp_path, further(saved))
    newest_in(tmp_path).write_bytes(b"damaged")
    states.save(tmp_path, further(further(saved)))
    newest_in(tmp_path).write_bytes(b"damaged")
    assert int(states.newest(tmp_path, plan_of).state.step) == 2


def test_a_long_history_is_saved_with_every_figure_and_some_samples(saved, tmp_path):
    n = 5000
    rows = [{"step": i, "loss": 0.1, "sample": f"{i} " + "x\\é" * 40_000} for i in range(n)]
    state = saved.state._replace(step=saved.state.step + (n - 3))
    states.save(tmp_path, saved._replace(history=rows, state=state))
    path = newest_in(tmp_path)
    assert path.stat().st_size < fnn.files.HEADER
    loaded = states.load(path, plan_of).history
    assert [row["step"] for row in loaded] == [*range(n)]
    kept = [i for i, row in enumerate(loaded) if row["sample"]]
    assert {0, n - 1} <= {*kept}
    assert 500 <= len(kept) <= 1001
    assert loaded[kept[3]]["sample"] == rows[kept[3]]["sample"][:600]
    assert states.thinned(loaded) == loaded
    shown = pictures.samples(loaded)
    assert [line for line in shown if line.startswith("step")] == [
        "step 0", "step 1,248", f"step {n - 1:,}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"config": {}}, "describes no run: 'rate'"),
        ({"config": 3}, "describes no run: "),
        ({"config": {"rate": "high"}}, "describes no run: "),
        ({"history": 3}, "its history must be a list of rows"),
        ({"history": [3]}, "its history must be a list of rows"),
        ({"history": []}, "its history ends at step 0, its State at 2"),
        ({"history": [{"loss": 1}]}, "describes no run: 'step'"),
        ({"history": [{"step": "2"}]}, "step in its history is '2'"),
        ({"history": [{"step": 2, "sample": 3}]}, "sample in its history is 3"),
        ({"history": [{"step": 2, "insides": [1]}]}, "insides in its history is [1]"),
        ({"history": [{"step": 2, "insides": {"norms": {"0": 1.0}}}]}, "insides in its history is"),
        ({"history": [{"step": 2, "loss": float("nan")}]}, "NaN is no number"),
        ({"network": {"Serial": []}}, "does not fit: optimizer_state"),
    ],
)
def test_a_file_may_say_anything_and_its_digest_be_right(values, message, saved, tmp_path):
    good = {"network": checkpoints.described(NET), "config": saved.config, "history": saved.history}
    notes = json.dumps(good | values)
    checkpoints.write(tmp_path / "a", saved.state, {}, saved.plan)
    tensors, texts = fnn.files.read(tmp_path / "a")
    del texts["sha256"]
    fnn.files.write(tmp_path / "a", tensors, texts | {"notes": notes})
    with pytest.raises(UserError) as error:
        states.load(tmp_path / "a", plan_of)
    assert error.value.code == DATA
    assert str(error.value).startswith(f"{tmp_path / 'a'} ")
    assert message in str(error.value)
