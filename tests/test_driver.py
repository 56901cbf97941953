"""Tests of fnn.driver."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.driver import run_fold
from fnn.logits import Logits

NET = fnn.mlp([3, 5, 4], fnn.Tanh())
LOSS = fnn.SoftmaxCrossEntropy()
PARAMS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (6, 3))
TARGET = jnp.array([0, 1, 2, 3, 0, 1])
value_and_grad, fold = jax.jit(fnn.value_and_grad), jax.jit(fnn.fold)


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
    with pytest.raises(ValueError, match="value_and_grad: weights must not all be 0"):
        fnn.value_and_grad(NET, LOSS, PARAMS, X, TARGET, weights=zero)
    loss, grads = jax.jit(fnn.value_and_grad)(NET, LOSS, PARAMS, X, TARGET, weights=zero)
    chex.assert_trees_all_equal((loss, grads), jax.tree.map(jnp.zeros_like, (loss, PARAMS)))


@pytest.mark.parametrize("bad", [-1.0, jnp.nan])
def test_weights_that_are_no_weights_raise_and_under_jit_are_poisoned(bad):
    weights = jnp.ones(6).at[4].set(bad)
    with pytest.raises(
        ValueError, match="_grad: weights must be finite and at least 0, got .* index 4"
    ):
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
    with pytest.raises(
        ValueError, match="fold: a penalty needs a rule whose result is like params"
    ):
        fold(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1), rule=fnn.rules.deltas)
    both = (fnn.rules.backprop, fnn.rules.deltas)
    grads, deltas = fold(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1), rule=both).result
    _, expected = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1))
    chex.assert_trees_all_close(grads, expected, rtol=1e-10)
    alone = fold(NET, LOSS, PARAMS, X, TARGET, rule=fnn.rules.deltas).result
    chex.assert_trees_all_close(deltas, alone, rtol=1e-10)


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


def test_a_fold_tells_all_that_one_pass_computes():
    weights, penalty = jnp.array([1.0, 2, 0, 1, 1, 1]), fnn.L2(0.3)
    done = fold(NET, LOSS, PARAMS, X, TARGET, weights=weights, penalty=penalty)
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET, weights=weights, penalty=penalty)
    chex.assert_trees_all_close((done.loss, done.result), (loss, grads), rtol=1e-12)
    y, _ = NET.forward(PARAMS, X.at[2].set(0))  # the row of weight 0
    chex.assert_trees_all_close(done.y, y, rtol=1e-12)
    losses = LOSS.forward(y, TARGET)[0].at[2].set(0)
    chex.assert_trees_all_close(done.losses, losses, rtol=1e-12)
    chex.assert_trees_all_equal(done.weights, weights)
    chex.assert_trees_all_close(done.penalty, penalty.value(PARAMS), rtol=1e-12)
    mean = (weights * done.losses).sum() / 6
    chex.assert_trees_all_close(done.loss, mean + done.penalty, rtol=1e-12)

    def of_x(x):
        return fnn.value_and_grad(NET, LOSS, PARAMS, x, TARGET, weights=weights)[0]

    chex.assert_trees_all_close(done.dx, jax.jit(jax.grad(of_x))(X), rtol=1e-10)
    assert (done.dx[2] == 0).all()
    assert done.companion is None


def test_a_fold_in_several_rules_is_each_of_them():
    rules = (fnn.rules.backprop, fnn.rules.deltas, fnn.rules.example_norms)
    together = fold(NET, LOSS, PARAMS, X, TARGET, rule=rules)
    for rule, result in zip(rules, together.result, strict=True):
        alone = fold(NET, LOSS, PARAMS, X, TARGET, rule=rule)
        chex.assert_trees_all_close(result, alone.result, rtol=1e-10)
        chex.assert_trees_all_close(together.dx, alone.dx, rtol=1e-10)
    assert together.companion == (None, None, None)


SEQUENCE_NET = fnn.Serial(fnn.RNN(3, 4), fnn.Dense(4, 4))
STEPS = jax.random.normal(jax.random.key(4), (2, 5, 3))
LABELS = jnp.array([[0, 1, 2, 3, 0], [1, 2, 3, 0, 1]])
MASK = jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], bool)


@pytest.mark.parametrize("padding", [0.0, 1e30, jnp.inf, jnp.nan])
def test_masked_steps_change_nothing_whatever_they_hold(padding):
    params = jax.jit(SEQUENCE_NET.init)(jax.random.key(0))
    x = fnn.Sequence(jnp.where(MASK[..., None], STEPS, padding), MASK)
    done = fold(SEQUENCE_NET, LOSS, params, x, LABELS)
    chex.assert_trees_all_equal(done.weights, MASK.astype(jnp.float64))
    losses, grads = 0.0, jax.tree.map(jnp.zeros_like, params)
    for row, n in ((0, 3), (1, 4)):  # each sequence alone, without its padding
        one = fold(SEQUENCE_NET, LOSS, params, STEPS[row : row + 1, :n], LABELS[row : row + 1, :n])
        losses = losses + one.loss * n / 7
        grads = jax.tree.map(lambda a, b, n=n: a + b * n / 7, grads, one.result)
        chex.assert_trees_all_close(done.dx.x[row, :n], one.dx[0] * n / 7, rtol=1e-10)
    chex.assert_trees_all_close((done.loss, done.result), (losses, grads), rtol=1e-10)
    assert (done.dx.x[~MASK] == 0).all()


def test_a_sequence_carries_its_final_state_out_and_its_cotangent_back():
    net, loss = fnn.RNN(3, 4), fnn.SquaredError()
    params, target = net.init(jax.random.key(0)), jnp.zeros((2, 5, 4))
    whole = fold(net, loss, params, fnn.Sequence(STEPS), target)
    first = fold(net, loss, params, fnn.Sequence(STEPS[:, :2]), target[:, :2])
    later = fnn.Sequence(STEPS[:, 2:], state=first.y.state)
    second = fold(net, loss, params, later, target[:, 2:])
    chex.assert_trees_all_close(whole.y.state, second.y.state, rtol=1e-12)
    mean = (first.loss * 2 + second.loss * 3) / 5
    chex.assert_trees_all_close(whole.loss, mean, rtol=1e-12)

    def of_state(h):
        y, _ = net.forward(params, later.with_fields(state=(h,)))
        return (y.x**2).sum(-1).mean()

    expected = jax.jit(jax.grad(of_state))(first.y.state[0])
    chex.assert_trees_all_close(second.dx.state, (expected,), rtol=1e-10)


def test_factored_logits_are_one_more_form_of_y():
    net = fnn.Serial(fnn.Dense(3, 5), fnn.Unembed(5, 4))
    params = net.init(jax.random.key(0))
    done = fold(net, LOSS, params, X, TARGET)
    assert isinstance(done.y, Logits)
    zero = fnn.DenseParams(params[1].w, jnp.zeros(4))
    dense = fold(fnn.Serial(fnn.Dense(3, 5), fnn.Dense(5, 4)), LOSS, (params[0], zero), X, TARGET)
    chex.assert_trees_all_close(done.loss, dense.loss, rtol=1e-12)
    chex.assert_trees_all_close(done.result[1].w, dense.result[1].w, rtol=1e-10)
    chex.assert_trees_all_close(done.dx, dense.dx, rtol=1e-10)


SPEAKERS = {
    "value_and_grad": fnn.value_and_grad,
    "fold": fnn.fold,
    "mine": lambda *args, **options: run_fold("mine", *args, **options),
}


@pytest.mark.parametrize("name", SPEAKERS)
def test_each_speaks_in_its_own_voice(name):
    call = SPEAKERS[name]
    with pytest.raises(TypeError, match=f"^{name}: loss must be a Loss, got 'ce'"):
        call(NET, "ce", PARAMS, X, TARGET)
    with pytest.raises(TypeError, match=f"^{name} takes layers, got 3"):
        call(3, LOSS, PARAMS, X, TARGET)
    with pytest.raises(TypeError, match=f"^{name}: key must be a typed key, got 0"):
        call(NET, LOSS, PARAMS, X, TARGET, key=0)
    with pytest.raises(TypeError, match=rf"^{name}: params\.0\.b must be floating, got int64"):
        call(NET, LOSS, (PARAMS[0]._replace(b=jnp.ones(5, int)), *PARAMS[1:]), X, TARGET)
    with pytest.raises(ValueError, match=rf"^{name}: weights must have shape \[6\], got \[5\]"):
        call(NET, LOSS, PARAMS, X, TARGET, weights=jnp.ones(5))
    with pytest.raises(TypeError, match=f"^{name}: weights must hold numbers"):
        call(NET, LOSS, PARAMS, X, TARGET, weights=["a"] * 6)
    with pytest.raises(ValueError, match=f"^{name}: x is ragged"):
        call(NET, LOSS, PARAMS, [[1.0], [1.0, 2.0]], TARGET)
    with pytest.raises(TypeError, match=f"^{name}: target must hold real numbers"):
        call(NET, LOSS, PARAMS, X, TARGET.astype(complex))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda *a: fnn.rules.deltas(*a), r"^fold: rule must be a Rule, got <function .*@fnn.rule"),
        ((fnn.rules.deltas, 3), "^fold: rule must be a Rule, got 3"),
        ("backprop", "^fold: rule must be a Rule, got 'backprop'"),
    ],
)
def test_what_is_no_rule_is_refused(rule, message):
    with pytest.raises(TypeError, match=message):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=rule)
    with pytest.raises(ValueError, match="fold: rule must be a Rule or a tuple of at least one"):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=())


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_row_of_weight_zero_may_hold_anything(value, jit):
    run = jax.jit(fnn.value_and_grad) if jit else fnn.value_and_grad
    params = fnn.DenseParams(jnp.ones((2, 1)), jnp.zeros(1))
    x, weights = jnp.array([[1.0, 2.0], [value, 0.0]]), jnp.array([1.0, 0.0])
    _, grads = run(
        fnn.Dense(2, 1), fnn.SquaredError(), params, x, jnp.zeros((2, 1)), weights=weights
    )
    chex.assert_trees_all_close(
        grads, fnn.DenseParams(jnp.array([[6.0], [12.0]]), jnp.array([6.0]))
    )
