"""Tests of fnn.errors."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.errors import (
    at,
    check_floating,
    check_key,
    check_known,
    check_leaves,
    check_like,
    check_number,
    check_params,
    check_steps,
    dotted,
    shown,
    speaking,
)
from fnn.layers.dense import DenseParams


def test_paths_are_put_in_front_and_the_type_stays():
    message = "^layer 1, layer 0, no such thing$"
    with pytest.raises(NotImplementedError, match=message), at("layer 1"), at("layer 0"):
        raise NotImplementedError("no such thing")
    with pytest.raises(KeyError, match="^'untouched'$"), at("layer 1"):
        raise KeyError("untouched")


@pytest.mark.parametrize(
    ("a", "message"),
    [
        ([1.0], r"f: x must be an array, got list; convert it with jnp.asarray\(x\)"),
        ("a", "f: x must be an array, got str"),
        (
            jnp.arange(3),
            r"f: x must be floating, got int64; convert it with x.astype\('float32'\)",
        ),
        (jnp.ones(3, complex), "f: x must be floating, got complex128"),
        (np.ones(3, ">f4"), "f: x must be in native byte order, got >f4"),
        (jnp.ones(3, bool), "f: x must be floating, got bool"),
    ],
)
def test_what_is_no_floating_array_is_refused(a, message):
    with pytest.raises(TypeError, match=message):
        check_floating("f", "x", a)


def test_bfloat16_is_floating():
    check_floating("f", "x", jnp.ones(3, jnp.bfloat16))
    check_floating("f", "x", np.asarray(jnp.ones(3, jnp.bfloat16)))


def test_parameters_are_checked_by_name_and_shape():
    params = DenseParams(w=jnp.ones((3, 1)), b=jnp.ones(4))
    with pytest.raises(ValueError, match=r"f: params.w must have shape \[3, 4\], got \[3, 1\]"):
        check_params("f", params, {"w": (3, 4), "b": (4,)})
    with pytest.raises(TypeError, match=r"f: params must have a field w, got \(\)"):
        check_params("f", (), {"w": (3, 4), "b": (4,)})


def test_a_batch_of_sequences_has_three_axes():
    check_steps("f", "x", jnp.ones((2, 3, 4)), 4)
    check_steps("f", "x", jax.ShapeDtypeStruct((2, 3, 4), "float32"))
    with pytest.raises(ValueError, match=r"f: x must have shape \[B, T, 4\], got \[2, 3, 5\]\.$"):
        check_steps("f", "x", jnp.ones((2, 3, 5)), 4)
    with pytest.raises(ValueError, match=r"\[B, T, n\], got \[3, 4\]; one sequence is x\[None\]"):
        check_steps("f", "x", jnp.ones((3, 4)))
    with pytest.raises(TypeError, match=r"f: x must be floating, got int64"):
        check_steps("f", "x", jnp.ones((2, 3, 4), int))


def test_traced_numbers_pass_and_known_ones_are_checked():
    jax.jit(lambda r: check_number("f", "r", r, 0))(-1.0)
    check_number("f", "r", jnp.array(0.5, jnp.bfloat16), 0, 1)
    with pytest.raises(ValueError, match=r"f: r must be in \[0, 1\], got 2"):
        check_number("f", "r", 2, 0, 1, closed_high=True)


def test_the_first_wrong_entry_is_named():
    a = np.array([[1, 2], [7, 8]])
    with pytest.raises(ValueError, match=r"f: a must be small, got 7 at index \[1, 0\] \(2 of 4"):
        check_known("f", "a", a, a < 5, "be small")


@pytest.mark.parametrize("key", [0, None, np.zeros(2, np.uint32), jax.random.PRNGKey(0)])
def test_what_is_no_typed_key_is_refused(key):
    with pytest.raises(TypeError, match=r"f: key must be a typed key, got .*jax.random.key\(0\)"):
        check_key("f", key)


def test_an_array_of_keys_is_not_one_key():
    with pytest.raises(TypeError, match=r"f: key must be one key, got an array of \(3,\)"):
        check_key("f", jax.random.split(jax.random.key(0), 3))


def test_a_tuple_in_the_place_of_params_is_called_by_its_type():
    params = DenseParams(w=jnp.ones((3, 4)), b=jnp.ones(4))
    with pytest.raises(
        TypeError, match=r"f: grads must be a DenseParams, got a tuple, as in params"
    ):
        check_like("f", "grads", tuple(params), "params", params)
    nested = {"up": params}, {"up": tuple(params)}
    with pytest.raises(TypeError, match=r"f: grads\.up must be a DenseParams, got a tuple"):
        check_like("f", "grads", nested[1], "params", nested[0])
    with pytest.raises(ValueError, match=r"f: grads\.b is missing; params has it"):
        check_like("f", "grads", params._replace(b=None), "params", params)


def test_a_path_is_written_with_dots():
    tree = {"blocks": ({"up": DenseParams(1, 2)},)}
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    assert [dotted("params", path) for path in paths] == [
        "params.blocks.0.up.w",
        "params.blocks.0.up.b",
    ]
    assert dotted("params", ()) == "params"


@pytest.mark.parametrize("raw", [ValueError("no"), ZeroDivisionError("no")])
def test_a_raw_error_becomes_the_owners_and_stands_in_the_second_line(raw):
    message = rf"^Dense: x must fit\.\n{type(raw).__name__}: no$"
    with pytest.raises(ValueError, match=message) as caught, speaking("Dense", "x must fit"):
        raise raw
    assert caught.value.__cause__ is raw
    with pytest.raises(TypeError, match="^Dense: x must fit"), speaking("Dense", "x must fit"):
        _ = None.x


@pytest.mark.parametrize(
    "said", [ValueError("Tanh(): x must fit"), ValueError("layer 0, no"), NotImplementedError("no")]
)
def test_what_speaks_for_somebody_passes(said):
    with pytest.raises(type(said)) as caught, speaking("Dense", "x must fit"):
        raise said
    assert caught.value is said


def test_trees_are_made_of_arrays():
    shape = jax.ShapeDtypeStruct((2,), "int32")
    check_leaves("f", "x", {"a": np.ones(2, int), "b": (jnp.ones(2), shape)})
    with pytest.raises(TypeError, match=r"^f: x\.b must be an array, got str"):
        check_leaves("f", "x", {"a": np.ones(2), "b": "text"})
    with pytest.raises(TypeError, match=r"^f: x must be an array, got <U1"):
        check_leaves("f", "x", np.array(["a"]))


def test_a_tracer_is_shown_as_an_array():
    assert shown((1, 2)) == "(1, 2)"
    assert jax.jit(lambda a: len(shown(a)) + a)(0) == len("an array")


@dataclass(frozen=True)
class Mine(fnn.Layer):
    def forward(self, params, x, *, key=None):
        return x, x

    def backward(self, params, cache, dy):
        return (), cache[99999].missing


def test_an_error_in_somebodys_own_formula_stays_what_it_is():
    with pytest.raises(AttributeError, match="missing"):
        Mine().backward((), jnp.ones(3), jnp.ones(3))
    with pytest.raises(TypeError, match="Tanh.*: the cache must be what forward returned"):
        fnn.Tanh().backward((), (), jnp.ones(3))
