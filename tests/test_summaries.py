"""Tests of fnn.summaries."""

import jax
import jax.numpy as jnp
import pytest

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


def test_what_the_layers_keep_is_a_column_and_what_would_be_kept_stands_below():
    block = fnn.Serial(up=fnn.Dense(4, 8), bend=fnn.Recompute(fnn.GELU()), down=fnn.Dense(8, 4))
    net = fnn.Serial(first=fnn.Dense(3, 4), blocks=fnn.Repeat(5, fnn.Residual(block)))
    x = jax.ShapeDtypeStruct((64, 3), jnp.float64)
    params = jax.eval_shape(net.init, jax.random.key(0))
    plain, kept = (fnn.summary(net, params, x, cache=c).splitlines() for c in (False, True))
    assert kept[0].split() == [*plain[0].split(), "cache"]
    rows = [line.split() for line in kept[2:]]
    assert [row[0] for row in rows[:5]] == [
        "first", "blocks.up", "blocks.bend", "blocks.bend", "blocks.down",
    ]  # fmt: skip
    assert rows[2][1:] == ["Recompute", "20.0", "KiB"]  # x of GELU, and keys
    assert [" ".join(row[-2:]) for row in rows[:5]] == [
        "0 B", "10.0 KiB", "20.0 KiB", "0 B", "20.0 KiB",
    ]  # fmt: skip
    assert rows[6] == ["total", "396", "50.0", "KiB"]
    assert kept[-2:] == [
        "with Recompute around blocks: 10.0 KiB kept, and 10.0 KiB made again at a time",
        'with Cast(…, "bfloat16") around blocks: 12.5 KiB kept',
    ]


def test_a_cache_is_asked_for_with_yes_or_no():
    with pytest.raises(TypeError, match="^summary: cache must be True or False, got 'bytes'"):
        fnn.summary(fnn.Tanh(), (), jnp.ones((2, 3)), cache="bytes")
