"""Tests of fnn.arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.arrays import as_array, as_input, check_arrays
from fnn.logits import Logits


@pytest.mark.parametrize(
    "a",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[1.0, 2.0], [3.0, 4.0]], ">f8"),
        np.array([[1.0, 3.0], [2.0, 4.0]]).T,
    ],
    ids=["list", "numpy", "big-endian", "transposed"],
)
def test_what_holds_numbers_becomes_an_array(a):
    found = as_array("f", "x", a)
    assert isinstance(found, jax.Array)
    assert found.dtype == "float64"
    assert found.tolist() == [[1, 2], [3, 4]]


def test_an_array_of_jax_is_passed_on_and_a_traced_one_too():
    a = jnp.ones(3)
    assert as_array("f", "x", a) is a
    assert jax.jit(lambda a: as_array("f", "x", a))(a).shape == (3,)


def test_integers_and_booleans_stay_what_they_are():
    assert as_array("f", "x", [1, 2]).dtype == "int64"
    assert as_array("f", "x", np.array([1, 2], "uint8")).dtype == "uint8"
    assert as_array("f", "x", [True]).dtype == "bool"
    assert as_array("f", "x", np.zeros((0, 3), int)).shape == (0, 3)


REFUSED = {
    "ragged": ([[1.0], [1.0, 2.0]], ValueError, "f: x is ragged: its rows differ in length"),
    "objects": ([1.0, None], TypeError, r"f: x must hold numbers, got object \(first entry 1.0\)"),
    "long ones": ([{"a" * 99}], TypeError, r"\(first entry {'a{58}\); convert"),
    "strings": (["a"], TypeError, r"got <U1 .*'a'\); convert it with x.astype\(float\)"),
    "bytes": ([b"a"], TypeError, "f: x must hold numbers, got .S1"),
    "a set": ({1.0}, TypeError, "f: x must hold numbers, got object"),
    "complex": ([1j], TypeError, "f: x must hold real numbers, got complex128"),
    "complex in jax": (jnp.ones(2, complex), TypeError, "real numbers, got complex128"),
    "masked": (np.ma.masked_array([1.0, 2.0], [0, 1]), TypeError, "f: x is a masked array; give"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_real_numbers_is_refused_by_name(case):
    a, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        as_array("f", "x", a)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_integers_beyond_32_bits_do_not_wrap_in_single_precision(value):
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="f: x has values beyond int32, such as"):
            as_array("f", "x", np.array([0, value]))
        assert as_array("f", "x", np.array([0, 2**31 - 1])).dtype == "int32"


def test_every_array_of_an_input_is_converted_in_its_place():
    a, mask = np.ones((2, 3, 4)), np.ones((2, 3), bool)
    x = as_input("f", fnn.Sequence(a, mask, state=(a[:, 0],), memory=a))
    assert isinstance(x, fnn.Sequence)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x))
    assert (x.mask.dtype, len(jax.tree.leaves(x))) == ("bool", 4)
    pair = as_input("f", ({"a": a}, a))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(pair))
    logits = as_input("f", Logits(a, a[0].T))
    assert (type(logits), logits.shape) == (Logits, (2, 3, 3))
    assert as_input("f", [[1.0, 2.0]]).shape == (1, 2)  # a list is an array


def test_an_input_with_no_numbers_in_it_is_refused():
    with pytest.raises(TypeError, match="f: x must hold numbers, got"):
        as_input("f", (np.ones(2), "a"))


def test_params_are_floating_arrays_and_others_are_named_by_their_path():
    params = {"up": fnn.DenseParams(jnp.ones((2, 3)), np.ones(3, "float32")), "act": ()}
    check_arrays("f", params)
    jax.jit(lambda p: check_arrays("f", p))(params)
    for b, got in ((jnp.ones(3, int), "floating, got int64"), ([1.0], "an array, got float")):
        bad = {"up": params["up"]._replace(b=b)}
        with pytest.raises(TypeError, match=rf"f: params\.up\.b.* must be {got}"):
            check_arrays("f", bad)


def test_nothing_shares_the_memory_of_the_callers_arrays():
    x, target = np.ones((4096, 3)), np.zeros((4096, 2))  # large and aligned: shared by jnp.asarray
    net = fnn.Dense(3, 2)
    params = jax.tree.map(np.array, net.init(jax.random.key(0)))
    _, cache = net.forward(params, x)
    plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
    state, loss = fnn.start(plan, None, params), fnn.SquaredError()
    _, of_loss = loss.forward(x[:, :2], target)
    for a in (x, target, *params):
        a[:] = np.nan
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((cache, state.params, of_loss)))
