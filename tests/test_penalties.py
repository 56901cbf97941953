"""Tests of fnn.penalties."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.penalties import L1, L2, members, weight_mask

KEY = jax.random.key(0)

PARAMS = (
    DenseParams(w=jnp.array([[1.0, -2.0], [0.0, 3.0]]), b=jnp.array([5.0, -7.0])),
    (),
    DenseParams(w=jnp.array([[-4.0], [0.5]]), b=jnp.array([2.0])),
)
BOTH = pytest.mark.parametrize("penalty", [L1(0.3), L2(0.3)], ids=repr)


@BOTH
def test_gradient_is_the_derivative_of_value(penalty):
    params = (
        DenseParams(w=noise(3, 4), b=noise(4)),
        {"in": fnn.RNNParams(noise(2, 3), noise(3, 3), noise(3))},
    )
    grads = penalty.gradient(params)
    chex.assert_trees_all_close(grads, jax.jit(jax.grad(penalty.value))(params), rtol=1e-12)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    fnn.check_gradient(penalty.value, penalty.gradient, params).raise_if_wrong()


def test_value_and_gradient_by_hand():
    assert float(L1(0.5).value(PARAMS)) == 0.5 * (1 + 2 + 0 + 3 + 4 + 0.5)
    assert float(L2(0.5).value(PARAMS)) == 0.25 * (1 + 4 + 0 + 9 + 16 + 0.25)
    first, _, last = L1(0.5).gradient(PARAMS)
    np.testing.assert_array_equal(first.w, [[0.5, -0.5], [0, 0.5]])
    np.testing.assert_array_equal(last.w, [[-0.5], [0.5]])
    first, _, last = L2(0.5).gradient(PARAMS)
    np.testing.assert_array_equal(first.w, [[0.5, -1], [0, 1.5]])
    np.testing.assert_array_equal(last.w, [[-2], [0.25]])


def test_proximal_map_by_hand():
    first, _, last = L1(0.5).proximal(PARAMS, 2.0)  # threshold 1
    np.testing.assert_array_equal(first.w, [[0, -1], [0, 2]])
    np.testing.assert_array_equal(last.w, [[-3], [0]])
    first, _, last = L2(0.5).proximal(PARAMS, 2.0)
    np.testing.assert_array_equal(first.w, [[0.5, -1], [0, 1.5]])
    np.testing.assert_array_equal(last.w, [[-2], [0.25]])


@BOTH
def test_proximal_map_minimises_what_it_should(penalty):
    w, step = DenseParams(w=jnp.array([[1.3, -0.2, 0.0]]), b=jnp.zeros(3)), 1.7

    def objective(v):
        return float(((v.w - w.w) ** 2).sum() / 2 + step * penalty.value(v))

    best = penalty.proximal(w, step)
    for seed in range(5):
        other = best._replace(w=best.w + 0.1 * noise(1, 3, seed=seed))
        assert objective(best) < objective(other)


@BOTH
def test_biases_are_neither_counted_nor_changed(penalty):
    grads, moved = penalty.gradient(PARAMS), penalty.proximal(PARAMS, 2.0)
    for i in (0, 2):
        np.testing.assert_array_equal(grads[i].b, np.zeros_like(PARAMS[i].b))
        np.testing.assert_array_equal(moved[i].b, PARAMS[i].b)


class Layered(NamedTuple):
    """Params of a class that names its weights, one of them a tree."""

    w: object
    gate: object
    b: object

    weights = ("w", "gate")


class Silent(NamedTuple):
    """Params of a class that names none."""

    w: object


def test_weights_are_what_a_params_class_declares():
    params = {
        "in": Layered(1.0, {"left": 2.0, "right": 3.0}, 4.0),
        "norm": fnn.AffineParams(5.0, 6.0),
    }
    expected = {
        "in": Layered(True, {"left": True, "right": True}, False),
        "norm": fnn.AffineParams(False, False),
    }
    assert weight_mask("f", params) == expected
    assert fnn.optim.weight_mask is weight_mask
    assert weight_mask("f", ((), {})) == ((), {})


@pytest.mark.parametrize(
    ("params", "path", "n"),
    [
        ({"w": 1.0}, r"params\.w", 1),
        ((Layered(1.0, 2.0, 3.0), Silent(4.0), 5.0), r"params\.1\.w", 2),
        (1.0, "params", 1),
    ],
)
def test_what_no_class_declares_is_no_weight_and_a_warning_names_it(params, path, n):
    message = (
        rf"f: {path} belongs to no params class .*none \({n} such\); write weights = .* select="
    )
    with pytest.warns(UserWarning, match=message):
        mask = weight_mask("f", params)
    assert sum(jax.tree.leaves(mask)) == (2 if n == 2 else 0)
    with pytest.warns(UserWarning, match="^L2: "):
        assert L2(1.0).value({"w": jnp.ones(3)}) == 0


def test_select_is_told_the_path_and_silences_the_warning():
    params = {"up": ({"w": jnp.full(3, 2.0), "b": jnp.ones(3)},)}
    paths = []
    mask = weight_mask("f", params, lambda path: paths.append(path) or path == "up.0.w")
    assert mask == {"up": ({"w": True, "b": False},)}
    assert paths == ["up.0.b", "up.0.w"]
    assert float(L2(1.0, select=lambda path: path.endswith(".w")).value(params)) == 6
    assert weight_mask("f", jnp.ones(3), lambda path: path == "") is True


def test_every_params_class_of_the_library_declares_its_weights():
    classes = [c for c in vars(fnn).values() if getattr(c, "__name__", "").endswith("Params")]
    assert len(classes) > 8
    others = {fnn.WeightNormParams: ("scale",)}  # ‖g‖² is ‖w‖²
    for c in classes:
        own = tuple(name for name in c._fields if name.startswith("w"))
        assert c.weights == others.get(c, own)


def test_weights_inside_repeat_and_serial_are_found():
    net = Serial(Dense(2, 3), Repeat(4, Dense(3, 3)))
    params = net.init(jax.random.key(0))
    expected = (params[0].w ** 2).sum() + (params[1].w ** 2).sum()
    np.testing.assert_allclose(L2(2.0).value(params), expected, rtol=1e-12)


@BOTH
def test_select_decides_otherwise(penalty):
    everything = type(penalty)(0.3, select=lambda path: True)
    nothing = type(penalty)(0.3, select=lambda path: False)
    assert float(everything.value(PARAMS)) > float(penalty.value(PARAMS))
    assert float(nothing.value(PARAMS)) == 0
    assert not np.any(nothing.gradient(PARAMS)[0].w)
    assert np.all(everything.gradient(PARAMS)[0].b != 0)


@BOTH
def test_half_precision_sums_in_single_precision_and_keeps_its_dtype(penalty):
    params = fnn.UnembedParams(jnp.ones(1000, "bfloat16"))
    value = type(penalty)(1.0).value(params)
    assert value.dtype == "float32"
    assert float(value) == (1000 if isinstance(penalty, L1) else 500)
    assert penalty.gradient(params).w.dtype == "bfloat16"
    assert penalty.proximal(params, 0.1).w.dtype == "bfloat16"


def test_strength_is_data():
    value = jax.jit(lambda p: p.value(PARAMS))
    swept = jax.vmap(lambda s: L1(s).value(PARAMS))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(swept, [value(L1(0.5)), value(L1(2.0))])
    assert jax.tree.leaves(L2(0.5)) == [0.5]


def test_members_flattens_tuples():
    one, other = L1(0.1), L2(0.2)
    assert members("f", None) == ()
    assert members("f", one) == (one,)
    assert members("f", (one, (None, [other]))) == (one, other)


def test_what_is_no_penalty_is_refused():
    with pytest.raises(TypeError, match=r"penalty must be L1, L2 or a tuple of such, got 0\.1"):
        members("f", (L1(0.1), 0.1))


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_strength_out_of_range_is_rejected(strength):
    with pytest.raises(ValueError, match=r"^L1: strength must be in \[0, inf\), got"):
        L1(strength)


@pytest.mark.parametrize("strength", [None, "0.1", True])
def test_strength_that_is_no_number_is_rejected(strength):
    with pytest.raises(TypeError, match=r"^L2: strength must be a number, got"):
        L2(strength)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_gradients_have_the_dtype_of_params_where_there_are_no_weights_too(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), fnn.Dense(3, 4).init(KEY))
    for penalty in (fnn.L1(0.1), fnn.L2(0.1)):
        gradient = penalty.gradient(params)
        chex.assert_trees_all_equal_shapes_and_dtypes(gradient, params)
