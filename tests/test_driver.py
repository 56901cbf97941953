"""Tests of fnn.driver."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

NET = fnn.mlp([3, 5, 4], fnn.Tanh())
LOSS = fnn.SoftmaxCrossEntropy()
PARAMS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (6, 3))
TARGET = jnp.array([0, 1, 2, 3, 0, 1])


value_and_grad = jax.jit(fnn.value_and_grad)


@jax.jit
def by_autodiff(params, weights=None):
    """The same loss and gradient, from jax.grad of the plain forward."""
    w = jnp.ones(6) if weights is None else weights

    def mean(params):
        y = jnp.tanh(X @ params[0].w + params[0].b) @ params[2].w + params[2].b
        losses = -jnp.take_along_axis(jax.nn.log_softmax(y), TARGET[:, None], 1)[:, 0]
        return (w * losses).sum() / w.sum()

    return jax.value_and_grad(mean)(params)


def test_loss_and_gradient_are_those_of_autodiff():
    ours = value_and_grad(NET, LOSS, PARAMS, X, TARGET)
    chex.assert_trees_all_close(ours, by_autodiff(PARAMS), rtol=1e-10)


def test_one_dense_layer_by_hand():
    params = fnn.Dense(2, 1).init(jax.random.key(0))._replace(w=jnp.array([[1.0], [2.0]]))
    x, target = jnp.array([[1.0, 1.0], [0.0, 2.0]]), jnp.array([[1.0], [5.0]])
    loss, grads = fnn.value_and_grad(fnn.Dense(2, 1), fnn.SquaredError(), params, x, target)
    assert loss == (2.0**2 + 1.0**2) / 2  # r = 2, −1
    chex.assert_trees_all_close(grads.w, jnp.array([[2.0], [0.0]]))  # (2/2) Σ r x
    chex.assert_trees_all_close(grads.b, jnp.array([1.0]))


def test_jit_takes_net_and_loss_as_plain_arguments_and_compiles_once():
    run = jax.jit(lambda *args: fnn.value_and_grad(*args))  # with a cache of its own
    chex.assert_trees_all_close(run(NET, LOSS, PARAMS, X, TARGET), by_autodiff(PARAMS), rtol=1e-10)
    again = fnn.mlp([3, 5, 4], fnn.Tanh())
    run(again, fnn.SoftmaxCrossEntropy(), PARAMS, X, TARGET)
    assert run._cache_size() == 1


def test_vmap_over_params_equals_a_loop():
    stacked = jax.vmap(NET.init)(jax.random.split(jax.random.key(3), 4))
    swept = jax.jit(jax.vmap(lambda p: fnn.value_and_grad(NET, LOSS, p, X, TARGET)))(stacked)
    for i in range(4):
        one = jax.tree.map(lambda a, i=i: a[i], stacked)
        expected = by_autodiff(one)
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], swept), expected, rtol=1e-10)


def test_a_hessian_vector_product_is_a_jvp_of_the_gradient():
    v = jax.tree.map(jnp.sin, PARAMS)
    ours = jax.jvp(lambda p: value_and_grad(NET, LOSS, p, X, TARGET)[1], (PARAMS,), (v,))[1]
    theirs = jax.jvp(lambda p: by_autodiff(p)[1], (PARAMS,), (v,))[1]
    chex.assert_trees_all_close(ours, theirs, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_weights_average_the_losses(dtype):
    weights = jnp.array([1, 0, 1, 1, 0, 1]).astype(dtype)
    ours = value_and_grad(NET, LOSS, PARAMS, X, TARGET, weights=weights)
    chex.assert_trees_all_close(ours, by_autodiff(PARAMS, weights.astype(jnp.float64)), rtol=1e-10)


def test_weights_of_rows_serve_all_their_predictions():
    x = jax.random.normal(jax.random.key(1), (4, 2, 3))
    target = jnp.arange(8).reshape(4, 2) % 4
    rows = jnp.array([1.0, 2.0, 0.0, 3.0])
    by_row = value_and_grad(NET, LOSS, PARAMS, x, target, weights=rows)
    every = jnp.repeat(rows[:, None], 2, 1)
    chex.assert_trees_all_close(
        by_row, value_and_grad(NET, LOSS, PARAMS, x, target, weights=every), rtol=1e-12
    )


@pytest.mark.parametrize("jit", [False, True])
def test_a_prediction_of_weight_zero_is_left_out_even_where_it_is_nan(jit):
    run = jax.jit(fnn.value_and_grad) if jit else fnn.value_and_grad
    loss = fnn.SquaredError()
    target = jnp.ones((6, 4)).at[2].set(jnp.nan)
    weights = jnp.ones(6).at[2].set(0.0)
    kept = jnp.array([0, 1, 3, 4, 5])
    ours = run(NET, loss, PARAMS, X, target, weights=weights)
    chex.assert_trees_all_close(
        ours, fnn.value_and_grad(NET, loss, PARAMS, X[kept], target[kept]), rtol=1e-10
    )


def test_weights_that_sum_to_zero_raise_and_under_jit_give_zero():
    zero = jnp.zeros(6)
    with pytest.raises(ValueError, match="weights must not all be 0"):
        fnn.value_and_grad(NET, LOSS, PARAMS, X, TARGET, weights=zero)
    loss, grads = jax.jit(fnn.value_and_grad)(NET, LOSS, PARAMS, X, TARGET, weights=zero)
    chex.assert_trees_all_equal((loss, grads), jax.tree.map(jnp.zeros_like, (loss, PARAMS)))


@pytest.mark.parametrize("bad", [-1.0, jnp.nan])
def test_weights_that_are_no_weights_raise_and_under_jit_are_poisoned(bad):
    weights = jnp.ones(6).at[4].set(bad)
    with pytest.raises(ValueError, match="weights must be finite and at least 0, got .* index 4"):
        fnn.value_and_grad(NET, LOSS, PARAMS, X, TARGET, weights=weights)
    out = jax.jit(fnn.value_and_grad)(NET, LOSS, PARAMS, X, TARGET, weights=weights)
    assert all(jnp.isnan(leaf).any() for leaf in jax.tree.leaves(out))


def test_penalties_are_added_once_to_loss_and_gradient():
    penalty = (fnn.L1(0.1), fnn.L2(0.3))
    ours = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=penalty)

    def penalised(params):
        ws = [params[0].w, params[2].w]
        extra = sum(0.1 * abs(w).sum() + 0.15 * (w**2).sum() for w in ws)
        return by_autodiff(params)[0] + extra

    chex.assert_trees_all_close(ours, jax.value_and_grad(penalised)(PARAMS), rtol=1e-10)


def test_a_penalty_needs_a_rule_whose_result_is_like_params():
    with pytest.raises(ValueError, match="a penalty needs a rule whose result is like params"):
        fnn.value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1), rule=fnn.rules.deltas)


def test_an_ignored_label_has_no_weight_in_the_mean():
    loss = fnn.SoftmaxCrossEntropy(ignore_label=-1)
    target = TARGET.at[1].set(-1).at[4].set(-1)
    kept = jnp.array([0, 2, 3, 5])
    ours = value_and_grad(NET, loss, PARAMS, X, target)
    chex.assert_trees_all_close(
        ours, value_and_grad(NET, loss, PARAMS, X[kept], target[kept]), rtol=1e-10
    )
    none = value_and_grad(NET, loss, PARAMS, X, jnp.full(6, -1))
    chex.assert_trees_all_equal(none, jax.tree.map(jnp.zeros_like, none))


def test_loss_is_float32_at_least_and_gradients_have_the_dtype_of_params():
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    loss, grads = value_and_grad(NET, LOSS, half, X.astype(jnp.bfloat16), TARGET)
    assert loss.dtype == jnp.float32
    chex.assert_trees_all_equal_dtypes(grads, half)
    chex.assert_trees_all_close(loss, by_autodiff(PARAMS)[0], rtol=2e-2)


def test_arguments_are_left_as_they_are():
    x, target = np.array(X), np.array(TARGET)
    params = jax.tree.map(np.array, PARAMS)
    before = jax.tree.map(np.copy, (x, target, params))
    value_and_grad(NET, LOSS, params, x, target)
    chex.assert_trees_all_equal((x, target, params), before)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::-1][::-1], np.asfortranarray, lambda a: a.astype(">f8")],
    ids=["reversed", "Fortran order", "big-endian"],
)
def test_the_memory_layout_of_x_does_not_matter(view):
    same = fnn.value_and_grad(NET, LOSS, PARAMS, view(np.array(X)), TARGET)
    chex.assert_trees_all_equal(same, fnn.value_and_grad(NET, LOSS, PARAMS, X, TARGET))


def test_rows_in_another_order_give_the_same_loss():
    order = jnp.array([5, 3, 1, 0, 2, 4])
    ours = value_and_grad(NET, LOSS, PARAMS, X[order], TARGET[order])
    chex.assert_trees_all_close(ours, by_autodiff(PARAMS), rtol=1e-10)


def test_labels_beyond_32_bits_do_not_wrap_in_single_precision():
    with jax.enable_x64(False), pytest.raises(ValueError, match="target has values beyond int32"):
        fnn.value_and_grad(NET, LOSS, PARAMS, np.ones((2, 3), "f4"), np.array([2**32 + 1, 0]))


def test_numpy_arrays_in_double_precision_pass_without_a_warning_in_single():
    x = np.ones((2, 3))
    with jax.enable_x64(False):
        for layer in (fnn.ReLU(), fnn.Softmax(), fnn.Dense(3, 3)):
            params = layer.init(jax.random.key(0))
            y, cache = layer.forward(params, x)
            assert layer.backward(params, cache, y)[1].dtype == jnp.float32
        losses, cache = fnn.SquaredError().forward(x, x)
        assert losses.dtype == jnp.float32
        assert fnn.SquaredError().backward(cache, losses).dtype == jnp.float32
