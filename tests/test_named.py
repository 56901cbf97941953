"""Tests of fnn.named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.named import by_name, differences, of_names, on_jax

NET = fnn.Serial(embed=fnn.Embedding(5, 3), blocks=fnn.Repeat(2, fnn.Residual(fnn.Dense(3, 3))))


def test_names_are_the_paths_of_errors_and_come_back():
    params = NET.init(jax.random.key(0))
    named = by_name(params)
    assert {name: a.shape for name, a in named.items()} == {
        "blocks.b": (2, 3), "blocks.w": (2, 3, 3), "embed.table": (5, 3),
    }  # fmt: skip
    again = of_names(dict(reversed(named.items())), params)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (again, params)), strict=True))


def test_tuples_have_numbers_and_what_is_none_has_no_name():
    net = fnn.Serial(fnn.Dense(3, 2, bias=False), fnn.Tanh(), fnn.Dense(2, 4))
    assert sorted(by_name(net.init(jax.random.key(0)))) == ["0.w", "2.b", "2.w"]
    assert by_name(()) == {}
    assert list(by_name(np.zeros(2))) == [""]


def test_two_arrays_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"by_name: two arrays have the name a\.b; rename a key"):
        by_name({"a": {"b": np.zeros(1)}, "a.b": np.zeros(2)})


def test_differences_name_what_is_missing_unexpected_and_of_another_kind():
    want = {"a": np.zeros((2, 3)), "b": np.zeros(4, np.float32), "c": np.zeros(1), "d": np.zeros(5)}
    got = {"a": np.zeros((3, 2)), "b": np.zeros(4), "d": np.zeros(5), "e": np.zeros(6, np.int8)}
    assert differences(got, want) == (
        "c is missing, float64[1]; e is unexpected, int8[6]; a must be float64[2, 3], "
        "got float64[3, 2]; b must be float32[4], got float64[4]"
    )
    assert differences(want, want) == ""
    shapes = jax.eval_shape(lambda: {name: jnp.asarray(a) for name, a in want.items()})
    assert differences(want, shapes) == ""


def test_of_many_differences_some_are_listed_and_long_names_cut():
    many = {f"{i}{'x' * 1000}": np.zeros(1) for i in range(20)}
    assert differences({}, many).endswith(" and 12 more")
    assert len(differences({}, many)) < 1200


def test_arrays_come_to_jax_in_memory_of_their_own_and_never_narrower():
    a = np.zeros(2**16, np.float32)
    found = on_jax("me", {"a": a})["a"]
    a[:] = 1
    assert not found.any()
    assert on_jax("me", {"a": np.zeros(3)})["a"].dtype == "float64"
    with jax.enable_x64(False), pytest.raises(TypeError) as error:
        on_jax("me", {"a": np.zeros(3, np.float16), "b": np.zeros(3)})
    assert str(error.value) == (
        "me: b is float64, of which JAX would make float32; cast it, or keep it with "
        'jax.config.update("jax_enable_x64", True).'
    )
