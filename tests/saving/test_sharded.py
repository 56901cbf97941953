"""Tests of fnn.saving.sharded: arrays that lie on several devices, in one folder."""

import json
import shutil
import socket
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from training import KEY, PARAMS, plan

import fnn
from fnn.checkpoints import CheckpointError, load, notes, save

pytest.importorskip("orbax.checkpoint")
ADAM = plan(fnn.optim.Adam(0.05), ema=0.9)
STATE = fnn.start(ADAM, KEY, PARAMS)
MESH = Mesh(np.array(jax.devices()[:1]), "data")


def placed(a):
    return jax.device_put(a, NamedSharding(MESH, PartitionSpec(*["data"][: a.ndim])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards") / "a"
    state = jax.tree.map(placed, STATE._replace(key=None))._replace(key=KEY)
    save(path, state, plan=ADAM, notes={"n": 1}, sharded=True)
    return path


def same(found, want):
    assert jax.tree.structure(found) == jax.tree.structure(want)
    found, want = (s._replace(key=jax.random.key_data(s.key)) for s in (found, want))
    for a, b in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_state_comes_back_bit_for_bit_as_it_lay_or_as_another_one_lies(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["arrays", "manifest.json"]
    assert [p.name for p in folder.parent.iterdir()] == ["a"]
    like = jax.tree.map(placed, STATE._replace(key=None))._replace(key=KEY)
    found = load(folder, like)
    same(found, STATE)
    assert found.params[0].w.sharding == like.params[0].w.sharding
    same(load(folder, ADAM), STATE)
    assert notes(folder)["notes"] == {"n": 1}
    with pytest.raises(CheckpointError, match="is of another Plan: ema was 0.9 and is now 0.5"):
        load(folder, ADAM.with_fields(ema=0.5))
    with pytest.raises(CheckpointError, match=r"0\.w must be float64\[3, 5\], got float64\[3, 4\]"):
        load(folder, STATE._replace(params=(fnn.DenseParams(jnp.ones((3, 5)), PARAMS[0].b),
                                            *PARAMS[1:])))  # fmt: skip
    with pytest.raises(FileExistsError, match="is there already; name another one"):
        save(folder, STATE, plan=ADAM, sharded=True)


def test_every_file_is_looked_at(folder, tmp_path):
    names = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    assert len(names) > 2
    for i, name in enumerate(names):
        for what in ("changed", "cut", "gone"):
            copy = shutil.copytree(folder, tmp_path / f"{i}{what}")
            data = (copy / name).read_bytes()
            if what == "gone":
                (copy / name).unlink()
            else:
                wrong = data[:-1] + bytes([data[-1] ^ 1]) if what == "changed" else data[:-1]
                (copy / name).write_bytes(wrong)
            with pytest.raises(CheckpointError, match=f"{copy}"):
                load(copy, ADAM)
    copy = shutil.copytree(folder, tmp_path / "more")
    (copy / "arrays" / "more").touch()
    with pytest.raises(CheckpointError, match="arrays/more is no part of it"):
        load(copy, ADAM)
    (copy / "manifest.json").write_text(json.dumps({"sha256": 3}))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(copy, ADAM)


def test_what_a_kill_leaves_is_no_folder_and_goes_with_the_next(tmp_path):
    path = tmp_path / "a"
    (tmp_path / "a.partial" / "arrays").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        load(path, ADAM)
    save(path, PARAMS, sharded=True)
    chex.assert_trees_all_equal(load(path, PARAMS), PARAMS)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


RUN = """
import sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import fnn
mesh = Mesh(np.array(jax.devices()), "data")
rows = NamedSharding(mesh, PartitionSpec("data"))
whole = np.arange(24.0, dtype=np.float32).reshape(8, 3)
a = jax.make_array_from_callback(whole.shape, rows, lambda i: whole[i])
fnn.checkpoints.save(sys.argv[3], {"a": a}, sharded=True)
like = jax.ShapeDtypeStruct((8, 3), a.dtype, sharding=rows)
found = fnn.checkpoints.load(sys.argv[3], {"a": like})
for shard in found["a"].addressable_shards:
    np.testing.assert_array_equal(shard.data, whole[shard.index])
print(len(found["a"].addressable_shards), found["a"].is_fully_addressable)
"""


@pytest.mark.slow
def test_two_processes_write_and_read_one_folder(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    commands = [[sys.executable, "-c", RUN, address, f"{i}", f"{tmp_path / 'a'}"] for i in (0, 1)]
    runs = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    try:
        said = [run.communicate(timeout=300)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [s.splitlines()[-1] for s in said] == ["2 False"] * 2  # of four shards
    found = load(tmp_path / "a", {"a": jax.ShapeDtypeStruct((8, 3), np.float32)})  # one device
    np.testing.assert_array_equal(found["a"], np.arange(24.0).reshape(8, 3))
