"""Tests of fnn.layers.dense."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, every, noise

from fnn.driver import fold
from fnn.evaluation import inference
from fnn.initializers import he_normal
from fnn.interop import as_function
from fnn.layers.activations import Tanh
from fnn.layers.dense import Dense, DenseCache, DenseParams
from fnn.layers.serial import Serial
from fnn.losses.regression import SquaredError
from fnn.optim import AdamW
from fnn.penalties import L2
from fnn.plan import Plan, start
from fnn.sequence import Sequence
from fnn.summaries import summary
from fnn.train import step


@pytest.mark.parametrize("batch", [(7,), (2, 5), (2, 1, 6)], ids=str)
def test_contract(batch):
    check_layer(Dense(3, 4), noise(*batch, 3))


def test_contract_without_a_bias():
    check_layer(Dense(3, 4, bias=False), noise(2, 5, 3))


def test_contract_of_sequences():
    check_sequence(Dense(3, 4), Sequence(noise(2, 5, 3), MASK))


def test_forward_and_backward_by_hand():
    layer = Dense(2, 2)
    params = DenseParams(w=jnp.array([[1.0, 2.0], [3.0, 4.0]]), b=jnp.array([10.0, 20.0]))
    x = jnp.array([[1.0, 1.0], [2.0, 0.0]])
    dy = jnp.array([[1.0, 0.0], [0.0, 1.0]])

    y, cache = layer.forward(params, x)
    grads, dx = layer.backward(params, cache, dy)

    chex.assert_trees_all_close(y, jnp.array([[14.0, 26.0], [12.0, 24.0]]))
    chex.assert_trees_all_close(grads.w, jnp.array([[1.0, 2.0], [1.0, 0.0]]))
    chex.assert_trees_all_close(grads.b, jnp.array([1.0, 1.0]))
    chex.assert_trees_all_close(dx, jnp.array([[1.0, 3.0], [2.0, 4.0]]))


def test_without_a_bias_by_hand():
    layer, w = Dense(2, 2, bias=False), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    params = DenseParams(w, None)
    y, cache = layer.forward(params, jnp.array([[1.0, 1.0], [2.0, 0.0]]))
    grads, dx = layer.backward(params, cache, jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(y, [[4, 6], [2, 4]])
    chex.assert_trees_all_equal(grads, DenseParams(jnp.array([[1.0, 2.0], [1.0, 0.0]]), None))
    np.testing.assert_array_equal(dx, [[1, 3], [2, 4]])


def test_without_a_bias_everything_is_as_with_one_that_stays_0():
    def training(bias):
        net = Serial(Dense(3, 4, bias=bias), Tanh(), Dense(4, 2, bias=bias))
        params, optimizer = net.init(jax.random.key(0)), AdamW(0.1, weight_decay=0.1)
        plan = Plan(net, SquaredError(), optimizer, penalty=L2(0.1))
        return plan, params, fold(net, plan.loss, params, noise(5, 3), noise(5, 2, seed=2))

    (plan, params, done), (_, same, usual) = training(False), training(True)
    assert [a.shape for a in jax.tree.leaves(params)] == [(3, 4), (4, 2)]
    chex.assert_trees_all_equal((params[0].w, done.loss), (same[0].w, usual.loss))
    chex.assert_trees_all_equal((done.result[0].w, done.dx), (usual.result[0].w, usual.dx))
    state, _ = step(plan, start(plan, jax.random.key(1), params), (noise(5, 3), noise(5, 2)))
    assert jax.tree.structure(state.params) == jax.tree.structure(params)
    assert inference(plan.net, params) == (plan.net, params)
    assert summary(plan.net, params, noise(5, 3)).split()[-1] == "20"
    f = as_function(plan.net)
    _, vjp = jax.vjp(f, params, noise(5, 3))
    chex.assert_trees_all_equal_shapes_and_dtypes(vjp(noise(5, 2)), (params, noise(5, 3)))


def test_without_a_bias_nothing_is_added_or_summed():
    layer, dy = Dense(3, 4, bias=False), noise(5, 4)
    params = layer.init(jax.random.key(0))
    for f, args in ((layer.forward, (params, noise(5, 3))),
                    (layer.backward, (params, DenseCache(noise(5, 3)), dy))):  # fmt: skip
        names = {e.primitive.name for e in jax.make_jaxpr(f)(*args).eqns}
        assert "dot_general" in names
        assert not names & {"add", "reduce_sum"}


def test_the_text_of_a_layer_says_where_there_is_no_bias():
    assert repr(Dense(3, 4)) == repr(Dense(3, 4, bias=True)) == "Dense(n_in=3, n_out=4)"
    assert repr(Dense(3, 4, bias=False)) == "Dense(n_in=3, n_out=4, bias=False)"
    assert Dense(3, 4, bias=False) != Dense(3, 4)


def test_weight_gradient_is_the_sum_of_outer_products():
    layer = Dense(3, 4)
    params = layer.init(jax.random.key(0))
    x, dy = np.arange(15.0).reshape(5, 3), np.arange(20.0).reshape(5, 4) ** 2
    _, cache = layer.forward(params, jnp.asarray(x))
    grads, _ = layer.backward(params, cache, jnp.asarray(dy))
    np.testing.assert_allclose(grads.w, sum(map(np.outer, x, dy)))
    np.testing.assert_allclose(grads.b, sum(dy))


def test_initial_weights_have_the_variance_of_glorot_and_bengio():
    w = Dense(300, 200).init(jax.random.key(0)).w
    assert np.var(w) == pytest.approx(2 / (300 + 200), rel=0.02)


def test_initial_weights_are_drawn_by_w_init_and_biases_are_zero():
    params = Dense(3, 4, w_init=he_normal).init(jax.random.key(0))
    chex.assert_trees_all_equal(params.w, he_normal(jax.random.key(0), 3, 4))
    chex.assert_trees_all_equal(params.b, jnp.zeros(4))


def test_layers_that_draw_differently_are_not_equal():
    assert Dense(3, 4) == Dense(3, 4)
    assert Dense(3, 4) != Dense(3, 4, w_init=he_normal)
    assert Dense(3, 4) != Dense(4, 3)


def test_half_precision_sums_over_the_batch_in_single_precision():
    layer, dy = Dense(3, 4), jax.ShapeDtypeStruct((5, 4), "bfloat16")
    x = jax.ShapeDtypeStruct((5, 3), "bfloat16")
    params = DenseParams(*(jax.ShapeDtypeStruct(s, "bfloat16") for s in ((3, 4), (4,))))
    program = jax.make_jaxpr(layer.backward)(params, DenseCache(x), dy)
    sums = [e for e in every(program) if e.primitive.name in ("dot_general", "reduce_sum")]
    made = {(e.primitive.name, *sorted(e.outvars[0].aval.shape)) for e in sums}
    assert made == {("dot_general", 3, 4), ("dot_general", 3, 5), ("reduce_sum", 4)}
    assert {e.outvars[0].aval.dtype.name for e in sums} == {"float32"}


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (jnp.zeros((5, 4)), ValueError, r"x must have shape \[B, ..., 3\], got \[5, 4\]\.$"),
        (jnp.zeros(3), ValueError, r"got \[3\]; one example is x\[None, :\]\.$"),
        (jnp.zeros(()), ValueError, r"x must have shape \[B, ..., 3\], got \[\]"),
        (jnp.zeros((5, 3), int), TypeError, r"must be floating, got int64; convert it with x\."),
        (jnp.zeros((5, 3), bool), TypeError, r"x must be floating, got bool"),
        (jnp.zeros((5, 3), complex), TypeError, r"x must be floating, got complex128\.$"),
        ([[1.0, 2.0, 3.0]], TypeError, r"must be an array, got list; convert it with jnp\.as"),
        (np.zeros((5, 3), ">f4"), TypeError, r"x must be in native byte order, got >f4"),
    ],
    ids=["width", "rank 1", "rank 0", "int", "bool", "complex", "list", "big endian"],
)
def test_wrong_input_names_the_layer_the_expected_and_the_given(x, error, message):
    layer = Dense(3, 2)
    params = layer.init(jax.random.key(0))
    with pytest.raises(error, match=r"^Dense\(n_in=3, n_out=2\): .*" + message):
        layer.forward(params, x)


def test_wrong_shape_is_found_under_jit():
    layer = Dense(3, 2)
    params = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[5, 4\]"):
        jax.jit(layer.forward)(params, jnp.zeros((5, 4)))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (Dense(2, 3).init(jax.random.key(0)), ValueError, r"params\.w must have shape \[3, 2\]"),
        (DenseParams(jnp.ones((3, 2)), jnp.ones(1)), ValueError, r"params\.b .*\[2\], got \[1\]"),
        (DenseParams(jnp.ones((3, 2), int), jnp.ones(2)), TypeError, r"params\.w must be float"),
        ((), TypeError, r"params must have a field w, got \(\)"),
        (DenseParams(jnp.ones((3, 2)), None), TypeError, r"params\.b must be an array, got None"),
    ],
    ids=["transposed", "bias", "integers", "empty", "no bias"],
)
def test_wrong_params_name_the_field(params, error, message):
    with pytest.raises(error, match=r"^Dense\(n_in=3, n_out=2\): .*" + message):
        Dense(3, 2).forward(params, jnp.zeros((5, 3)))


def test_a_bias_where_there_is_none_is_refused():
    params = Dense(3, 2).init(jax.random.key(0))
    message = r"^Dense\(n_in=3, n_out=2, bias=False\): params\.b must be None, got float64\[2\]\.$"
    with pytest.raises(TypeError, match=message):
        Dense(3, 2, bias=False).forward(params, jnp.zeros((5, 3)))


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (-1, 3)], ids=str)
def test_impossible_size_is_rejected_when_built(sizes):
    with pytest.raises(ValueError, match="n_in and n_out must be at least 1"):
        Dense(*sizes)


@pytest.mark.parametrize("size", [True, None, "3", 2.5, float("inf"), [3], np.zeros(1)], ids=str)
def test_size_that_is_no_integer_is_rejected_when_built(size):
    with pytest.raises(TypeError, match=r"^Dense: n_in must be "):
        Dense(size, 2)
