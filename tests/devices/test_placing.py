"""Tests of fnn.devices.placing; what needs eight devices is in eight.py, one process for all."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

import fnn

ROOT = pathlib.Path(__file__).parents[2]
EIGHT = pathlib.Path(__file__).parent / "eight.py"


def on_eight(which):
    """The names of the checks that passed, and all that was written to stderr."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"  # conftest's
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}"}
    run = subprocess.run([sys.executable, EIGHT, which], env=env, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert lines, run.stderr[-2000:]
    wrong = [line for line in lines if not line.startswith("ok ")]
    assert not wrong, f"{wrong}\n{run.stderr[-4000:]}"
    return run.stderr


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_one():
    on_eight("quick")


@pytest.mark.long
def test_rules_curvature_and_a_gpt_on_eight_devices():
    assert "rematerialization" not in on_eight("slow")


def test_a_state_on_one_device_is_one():
    plan = fnn.Plan(fnn.Dense(3, 2), fnn.SquaredError(), fnn.optim.SGD(0.1))
    state = fnn.start(plan, jax.random.key(0))
    mesh = fnn.devices.mesh(devices=jax.devices()[:1])
    placed = fnn.devices.place(plan, state, mesh)
    assert placed.layout.mesh == mesh
    assert fnn.devices.gathered(placed).layout is None
    shapes = fnn.devices.place(plan, jax.eval_shape(lambda: state), mesh)
    assert shapes.params.w.sharding.mesh == mesh
    with pytest.raises(TypeError, match=r"place: mesh must be a jax.sharding.Mesh, got 8; .*mesh"):
        fnn.devices.place(plan, state, 8)
    with pytest.raises(TypeError, match=r"gathered: tree\.a\.0 must be an array, got str"):
        fnn.devices.gathered({"a": ["text"]})
    with pytest.raises(TypeError, match="place: state must be a State, got tuple"):
        fnn.devices.place(plan, (), mesh)
