"""Tests of fnn.sharding, on two devices that a process of its own pretends to have."""

import os
import subprocess
import sys

import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from fnn.sharding import Cut, Layout, apart, over_rows, whole_rows

W, SQUARE = PartitionSpec("data"), PartitionSpec(None, "data")
LAYOUT = Layout(
    AbstractMesh((4,), ("data",)),
    (
        Cut(("0", "w"), (8, 3), W),
        Cut(("1", "w"), (4, 4), W),
        Cut(("2", "w"), (4, 4), SQUARE),
    ),
)


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("params.0.w", (8, 3), W),
        ("optimizer_state.m.0.w", (8, 3), W),
        ("optimizer_state.1.inner.m.2.w", (4, 4), SQUARE),  # "1" and "w" stand there, too
        ("optimizer_state.2.m.w", (4, 4), SQUARE),  # of a step inside the backward pass
        ("optimizer_state.m.0.w", (8, 4), PartitionSpec()),
        ("optimizer_state.m.3.w", (4, 4), PartitionSpec()),
        ("step", (), PartitionSpec()),
    ],
)
def test_what_is_like_an_array_of_params_lies_as_it_does(path, shape, spec):
    assert LAYOUT.spec(path.split("."), shape) == spec


def test_without_a_mesh_nothing_is_apart():
    a = jnp.ones((3, 2))
    assert whole_rows(a) is a
    assert apart(lambda a, b: (a, b), (("data",), a), (("model",), None)) == (a, None)
    each, total = over_rows(lambda a, b: (a, a.sum() + b), a, 1)
    assert each is a
    assert total == 7


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import fnn
from fnn.sharding import automatic, explicit_mesh

key, rows = jax.random.key(0), jnp.arange(8)
net = fnn.Serial(fnn.Embedding(7, 4), fnn.LSTM(4, 5), fnn.Last(), fnn.Dense(5, 3))
x, target = jax.random.randint(key, (8, 3), 0, 7), rows % 3
plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(0.1))
state = fnn.start(plan, None, net.init(key))

def run(state, x, target):
    grads = fnn.value_and_grad(net, plan.loss, state.params, x, target)
    _, cache = net.forward(state.params, x)
    fitted = fnn.fit(plan, state, (x, target), epochs=2, batch_size=4)
    return grads, net.forward(state.params, x)[0], fitted

def near(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), a, b)

expected = run(state, x, target)
for kind in (AxisType.Explicit, AxisType.Auto):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    put = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, PartitionSpec(*spec)))
    on_mesh = put(state), put(x, "data"), put(target, "data")
    near(run(*on_mesh), expected)
    assert (explicit_mesh(on_mesh) is None) == (kind == AxisType.Auto)
near(jax.jit(run)(*on_mesh), expected)
print("the same")
"""


@pytest.mark.slow
def test_a_mesh_with_explicit_axes_gives_the_numbers_of_one_device():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
    assert run.stdout == "the same\n", run.stderr[-2000:]
