"""Tests of fnn.summaries."""

import jax
import jax.numpy as jnp

import fnn

NET = fnn.Serial(
    fnn.Dense(3, 4),
    fnn.Repeat(5, fnn.Residual(fnn.Serial(fnn.Dense(4, 4), fnn.Dropout(0.1)))),
    fnn.Dense(4, 2),
)


def test_the_table_names_paths_shapes_and_counts():
    params = jax.eval_shape(NET.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((7, 3), jnp.float64)
    lines = fnn.summary(NET, params, x).splitlines()
    rows = [line.split() for line in lines[2:-2]]
    assert lines[0].split() == ["path", "layer", "y", "parameters"]
    assert [row[0] for row in rows] == ["0", "1.0", "1.1", "2"]
    assert "5 × [7, 4]" in lines[3]
    assert [row[-1] for row in rows] == ["16", "100", "0", "10"]
    assert lines[-1].split() == ["total", "126"]


def test_layers_with_names_are_listed_in_their_order_under_them():
    net = fnn.Serial(up=fnn.Dense(3, 4), act=fnn.Tanh(), down=fnn.Residual(fnn.Dense(4, 4)))
    params = jax.eval_shape(net.init, jax.random.key(0))
    lines = fnn.summary(net, params, jax.ShapeDtypeStruct((7, 3), jnp.float64)).splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == ["up", "act", "down"]
    assert [line.split()[-1] for line in lines[2:]] == ["16", "0", "20", lines[-2], "36"]


def test_a_sequence_is_counted_by_its_values():
    x = fnn.Sequence(jnp.ones((2, 5, 3)), jnp.ones((2, 5), bool))
    net = fnn.Serial(fnn.LSTM(3, 4), fnn.Last(), fnn.Dense(4, 2))
    lines = fnn.summary(net, net.init(jax.random.key(0)), x).splitlines()
    for line, shape in zip(lines[2:5], ("[2, 5, 4]", "[2, 4]", "[2, 2]"), strict=True):
        assert shape in line


def test_arrays_and_shapes_give_the_same_table():
    params, x = NET.init(jax.random.key(0)), jnp.ones((7, 3))
    shapes = jax.eval_shape(lambda: (params, x))
    assert fnn.summary(NET, params, x) == fnn.summary(NET, *shapes)


def test_a_single_layer_has_a_table_too():
    table = fnn.summary(fnn.Tanh(), (), jnp.ones((2, 3)))
    assert "Tanh()" in table
    assert "[2, 3]" in table
