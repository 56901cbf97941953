"""Tests of fnn.numerics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.numerics import (
    cast,
    common,
    concrete,
    is_floating,
    is_like,
    like,
    narrowed,
    outer,
    owned,
    plus,
    plus_gradient,
    product,
    ratio,
    times,
    total,
    unit,
    unit_gradient,
    wide,
    widened,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("float8_e4m3fn", "float32"),
    ],
)
def test_wide_is_at_least_float32(dtype, expected):
    assert wide(jnp.dtype(dtype)) == expected


def test_concrete_is_numpy_where_the_value_is_known():
    known = concrete(jnp.arange(3))
    assert isinstance(known, np.ndarray)
    np.testing.assert_array_equal(known, [0, 1, 2])
    assert concrete(2.5) == 2.5


def test_concrete_is_none_where_the_value_is_not_known():
    seen = []
    jax.jit(lambda a: seen.append(concrete(a)))(jnp.arange(3))
    jax.vmap(lambda a: seen.append(concrete(a)))(jnp.arange(3))
    jax.grad(lambda a: (seen.append(concrete(a)), a)[1])(1.0)
    assert seen == [None, None, None]
    assert concrete(jax.ShapeDtypeStruct((2,), "float32")) is None


def test_concrete_of_a_constant_under_somebody_elses_jit_is_known():
    constant, seen = jnp.arange(3), []
    jax.jit(lambda a: (seen.append(concrete(constant)), a)[1])(1.0)
    np.testing.assert_array_equal(seen[0], [0, 1, 2])


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [("float32", True), ("bfloat16", True), ("int32", False), (bool, False), ("complex64", False)],
)
def test_is_floating(dtype, floating):
    assert is_floating(jnp.zeros(2, dtype)) is floating


def test_is_floating_of_a_key():
    assert not is_floating(jax.random.key(0))


def test_cast_changes_floating_arrays_only():
    tree = {"a": jnp.ones(2), "n": jnp.ones(2, int), "key": jax.random.key(0), "none": None}
    done = cast(tree, "bfloat16")
    assert done["a"].dtype == "bfloat16"
    assert done["n"] is tree["n"]
    assert done["key"] is tree["key"]


def test_ratio_is_zero_where_the_divisor_is():
    a, b = jnp.array([1.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 0.0])
    np.testing.assert_array_equal(ratio(a, b), [0.5, 0, 0])
    np.testing.assert_array_equal(jax.vjp(ratio, a, b)[1](jnp.ones(3))[0], [0.5, 0, 0])


def test_times_is_zero_where_the_first_factor_is():
    p, q = jnp.array([2.0, 0.0, 0.0, 0.0, NAN]), jnp.array([3.0, NAN, INF, -INF, 1.0])
    np.testing.assert_array_equal(times(p, q), [6, 0, 0, 0, NAN])


def test_outer_and_total_by_hand_sum_over_all_leading_axes():
    a, b = jnp.array([[[1.0, 2.0], [0.0, 1.0]]]), jnp.array([[[3.0], [4.0]]])
    np.testing.assert_array_equal(outer(a, b), [[3], [10]])
    np.testing.assert_array_equal(total(a), [1, 3])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 3, 5), (7, 24, 16), (8, 16, 24), (24, 40, 10), (40, 64, 8)])
def test_outer_is_that_of_its_rows_whichever_side_is_turned(shape, dtype):
    rows, n, m = shape
    a, b = (noise(rows, k, seed=k).astype(dtype) for k in (n, m))
    found = jax.jit(outer)(a, b)
    assert found.dtype == "float32"
    want = np.asarray(a, float).T @ np.asarray(b, float)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_outer_of_halves_is_one_product_of_them_where_no_cpu_is():
    args = [jax.ShapeDtypeStruct(shape, "bfloat16") for shape in ((64, 32), (64, 16))]
    cpu, gpu = (
        jax.export.export(jax.jit(outer), platforms=[p])(*args).mlir_module()
        for p in ("cpu", "cuda")
    )
    assert cpu.count("stablehlo.transpose") == 2
    assert gpu.count("stablehlo.dot_general") == 1
    assert "stablehlo.transpose" not in gpu


def test_product_by_hand_is_that_of_every_vector():
    x, w = jnp.array([[[1.0, 2.0], [0.0, 1.0]]]), jnp.array([[3.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    np.testing.assert_array_equal(product(x, w), [[[11, 2, 1], [4, 1, 0]]])


@pytest.mark.parametrize("shape", [(300, 1), (3, 100, 1)])
def test_sums_of_low_precision_are_float32(shape):
    ones = jnp.ones(shape, "bfloat16")  # 256 + 1 is 256 in bfloat16
    assert outer(ones, ones).dtype == total(ones).dtype == "float32"
    assert float(outer(ones, ones)[0, 0]) == float(total(ones)[0]) == 300


def test_a_product_of_low_precision_is_rounded_once():
    ones = jnp.ones((300, 1), "bfloat16")
    program = jax.make_jaxpr(product)(ones.T, ones)
    assert [v.outvars[0].aval.dtype for v in program.eqns] == ["float32", "bfloat16"]


def test_an_offset_that_is_not_there_adds_nothing_and_has_no_gradient():
    a, b = jnp.ones((2, 3)), jnp.arange(3.0)
    np.testing.assert_array_equal(plus(a, b), a + b)
    np.testing.assert_array_equal(plus_gradient(b, a), [2, 2, 2])
    assert plus(a, None) is a
    assert plus_gradient(None, a) is None


def test_widened_and_narrowed_are_the_dtype_in_common():
    a, b = jnp.ones(2, "bfloat16"), jnp.ones(2, "float32")
    with jax.numpy_dtype_promotion("standard"):
        assert common(a, b) == "float32"
        assert [w.dtype.name for w in widened(b, jnp.ones(2))] == ["float64"] * 2
        assert narrowed(jnp.ones(2), a, b).dtype == "float32"
    assert [w.dtype.name for w in widened(a, a)] == ["float32"] * 2
    assert narrowed(jnp.ones(2), a, a).dtype == "bfloat16"


def test_like_gives_every_leaf_the_dtype_of_its_reference():
    done = like(
        {"a": jnp.ones(2), "b": jnp.ones(3)}, {"a": jnp.ones(2, "float16"), "b": jnp.ones(3)}
    )
    assert (done["a"].dtype, done["b"].dtype) == ("float16", "float64")


def test_is_like_compares_form_and_shapes():
    a = {"w": jnp.ones((2, 3)), "n": ()}
    assert is_like(a, {"w": np.zeros((2, 3), "float32"), "n": ()})
    assert not is_like(a, {"w": jnp.ones((2, 1)), "n": ()})
    assert not is_like(a, {"w": jnp.ones((2, 3))})


def test_unit_by_hand_and_of_any_length():
    a = jnp.array([[3.0, -4.0], [0.0, 0.0]])
    u, length = unit(a, (-1,))
    np.testing.assert_allclose(u, [[0.6, -0.8], [0, 0]], rtol=1e-15)
    np.testing.assert_allclose(length, [[5], [1]], rtol=1e-15)
    np.testing.assert_allclose(unit(a, (0,))[1], [[3, 4]], rtol=1e-15)
    for size in (1e-37, 1e37):
        large, length = unit((a * size).astype("float32"), (-1,))
        np.testing.assert_allclose(large, u, rtol=1e-6)
        np.testing.assert_allclose(length[0], 5 * size, rtol=1e-6)


def test_unit_gradient_is_that_of_jax():
    a, d = jnp.arange(1.0, 7).reshape(2, 3), jnp.sin(jnp.arange(6.0)).reshape(2, 3)
    for axes in ((-1,), (0,), (0, 1)):
        (u, length), pull = jax.vjp(lambda a, axes=axes: unit(a, axes), a)
        (want,) = pull((d, 0 * length))
        np.testing.assert_allclose(unit_gradient(u, length, d, axes), want, rtol=1e-12)


def test_an_owned_array_is_not_that_of_the_caller_who_changes_it_at_once():
    for _ in range(500):  # JAX's own copy comes later, now and then
        a = np.zeros(2**16, np.float32)
        found = owned(a)
        a[:] = 1
        assert not found.any()
