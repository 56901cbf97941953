"""Tests of fnn.rules.per_example."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.rules.per_example import (
    example_grads,
    example_norms,
    example_products,
    example_slopes,
    total,
)
from fnn.ruling import backprop

LOSS = fnn.SoftmaxCrossEntropy()
fold = jax.jit(fnn.fold)


def one_by_one(net, params, x, target, weights=None):
    """Every example in a batch of its own, by plain backpropagation."""

    @jax.jit
    def norm(x, target, weights):
        _, g = fnn.value_and_grad(net, LOSS, params, x, target, weights=weights)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(g))

    rows = [slice(b, b + 1) for b in range(len(x))]
    return jnp.stack([norm(x[b], target[b], None if weights is None else weights[b]) for b in rows])


NETS = {
    "mlp": (fnn.mlp([3, 5, 4], fnn.Tanh()), (6, 3)),
    "sequences, Gram": (fnn.mlp([9, 8, 7], fnn.Tanh()), (6, 2, 9)),
    "long sequences": (fnn.mlp([3, 2, 4], fnn.Tanh()), (6, 7, 3)),
    "repeated": (
        fnn.Serial(fnn.Repeat(2, fnn.Residual(fnn.Dense(3, 3))), fnn.Dense(3, 4)),
        (5, 3),
    ),
    "recomputed": (fnn.Recompute(fnn.mlp([3, 5, 4], fnn.GELU())), (5, 3)),
}


@pytest.mark.parametrize("name", NETS)
def test_norms_are_those_of_every_example_alone(name):
    net, shape = NETS[name]
    params = jax.jit(net.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), shape)
    target = jax.random.randint(jax.random.key(2), shape[:-1], 0, 4)
    done = fold(net, LOSS, params, x, target, rule=example_norms)
    chex.assert_trees_all_close(total(done.result), one_by_one(net, params, x, target), rtol=1e-10)
    together = fold(net, LOSS, params, x, target, rule=(backprop, example_norms))
    grads, norms = together.result
    chex.assert_trees_all_close(total(norms), total(done.result), rtol=1e-10)
    want = fold(net, LOSS, params, x, target)
    chex.assert_trees_all_close(grads, want.result, rtol=1e-12)
    for found in (done, together):
        chex.assert_trees_all_close((found.loss, found.dx), (want.loss, want.dx), rtol=1e-12)


def test_the_norm_of_an_example_does_not_depend_on_its_batch():
    net, shape = NETS["mlp"]
    params = jax.jit(net.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), shape)
    target = jnp.array([0, 1, 2, 3, 0, 1])

    def norms(rows):
        done = fold(net, LOSS, params, x[:rows], target[:rows], rule=example_norms)
        return total(done.result)

    chex.assert_trees_all_close(norms(2), norms(6)[:2], rtol=1e-10)


def test_weights_of_predictions_count_within_their_example():
    net, shape = NETS["long sequences"]
    params = jax.jit(net.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), shape)
    target = jax.random.randint(jax.random.key(2), shape[:-1], 0, 4)
    weights = jax.random.uniform(jax.random.key(3), shape[:-1]).at[1, 2:].set(0.0)
    for rule in (example_norms, (example_norms, backprop)):
        done = fold(net, LOSS, params, x, target, weights=weights, rule=rule)
        norms = done.result if rule is example_norms else done.result[0]
        want = one_by_one(net, params, x, target, weights)
        chex.assert_trees_all_close(total(norms), want, rtol=1e-10)


def test_an_example_without_weight_has_norm_0_beside_other_rules():
    net, _ = NETS["mlp"]
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (3, 3))
    target, weights = jnp.array([0, 1, 2]), jnp.array([1.0, 0.0, 2.0])
    for rule in (example_norms, (backprop, example_norms)):
        result = fold(net, LOSS, params, x, target, weights=weights, rule=rule).result
        norms = total(result if rule is example_norms else result[1])
        assert (norms > 0).tolist() == [True, False, True]


def test_sequences_with_a_mask_are_those_of_every_example_alone():
    net = fnn.Serial(fnn.LSTM(3, 4), fnn.Dense(4, 4))
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 5, 3))
    mask = jnp.arange(5) < jnp.array([[3], [5]])
    target = jax.random.randint(jax.random.key(2), (2, 5), 0, 4)
    done = fold(net, LOSS, params, fnn.Sequence(x, mask), target, rule=example_norms)
    rows = [(slice(b, b + 1), slice(n)) for b, n in ((0, 3), (1, 5))]
    alone = [one_by_one(net, params, x[at], target[at]) for at in rows]
    chex.assert_trees_all_close(total(done.result), jnp.concatenate(alone), rtol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_the_formula_of_dense_equals_the_default(bias):
    layer, default = fnn.Dense(9, 8, bias=bias), example_norms.formula.dispatch(object)
    params = layer.init(jax.random.key(0))
    for shape in [(4,), (4, 1), (4, 3), (4, 2, 3)]:
        x = jax.random.normal(jax.random.key(1), (*shape, 9))
        dy = jax.random.normal(jax.random.key(2), (*shape, 8))
        _, cache = layer.forward(params, x)
        chex.assert_trees_all_close(
            example_norms(layer, params, cache, dy),
            default(layer, params, cache, dy),
            rtol=1e-10,
        )


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 7), (4, 2, 3), (4, 0)], ids=str)
def test_the_formula_of_embedding_equals_the_default(shape):
    layer, default = fnn.Embedding(5, 3), example_norms.formula.dispatch(object)
    params = layer.init(jax.random.key(0))
    x = jax.random.randint(jax.random.key(1), shape, -2, 7)  # those outside are dropped
    dy = jax.random.normal(jax.random.key(2), (*shape, 3))
    _, cache = jax.jit(layer.forward)(params, x)
    for norms in (example_norms, jax.jit(example_norms, static_argnums=0)):
        found, dx = norms(layer, params, cache, dy)
        chex.assert_trees_all_close(found, default(layer, params, cache, dy)[0], rtol=1e-10)
        assert dx is None


def test_embedding_by_hand():
    layer = fnn.Embedding(9, 1)
    _, cache = layer.forward(layer.init(jax.random.key(0)), jnp.array([[7, 2, 7], [1, 1, 1]]))
    dy = jnp.array([[1.0, 10.0, 2.0], [1.0, 2.0, -3.0]])[..., None]
    norms, _ = example_norms(layer, layer.init(jax.random.key(0)), cache, dy)
    chex.assert_trees_all_equal(norms, jnp.array([3.0**2 + 10**2, 0.0]))


def test_an_embedding_needs_no_table_for_every_example():
    layer = fnn.Embedding(10_000, 8)
    params = layer.init(jax.random.key(0))
    x, dy = jnp.arange(60).reshape(20, 3), jnp.ones((20, 3, 8))
    _, cache = layer.forward(params, x)
    run = jax.jit(lambda *args: example_norms(layer, *args)[0])
    memory = run.lower(params, cache, dy).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 8 * params.table.size  # one table, of twenty


def test_by_hand():
    layer = fnn.Dense(2, 1)
    params = layer.init(jax.random.key(0))
    _, cache = layer.forward(params, jnp.array([[1.0, 2.0], [0.0, 3.0]]))
    norms, _ = example_norms(layer, params, cache, jnp.array([[2.0], [-1.0]]))
    chex.assert_trees_all_close(norms, jnp.array([24.0, 10.0]))  # (1 + 4 + 1) 4, (9 + 1) 1


def test_half_precision_sums_in_float32():
    layer = fnn.Dense(2, 1)
    params = jax.tree.map(lambda p: p.astype(jnp.float16), layer.init(jax.random.key(0)))
    _, cache = layer.forward(params, jnp.full((1, 2), 300.0, jnp.float16))
    norms, _ = example_norms(layer, params, cache, jnp.ones((1, 1), jnp.float16))
    chex.assert_trees_all_close(norms, jnp.array([180_001.0], jnp.float32))


def test_total_sums_leaves_and_the_axes_of_repeat():
    norms = (jnp.array([1.0, 2.0]), {"a": jnp.array([[10.0, 20.0], [30.0, 40.0]])})
    chex.assert_trees_all_equal(total(norms), jnp.array([41.0, 62.0]))


@dataclass(frozen=True)
class Centred(fnn.Identity):
    """y = x minus its mean over the batch."""

    mixes_examples = True


def test_a_layer_that_mixes_examples_is_named():
    net = fnn.Serial(fnn.Dense(3, 4), Centred())
    params = net.init(jax.random.key(0))
    with pytest.raises(NotImplementedError, match=r"^layer 1, Centred\(\): nothing per example"):
        fnn.fold(net, LOSS, params, jnp.ones((2, 3)), jnp.array([0, 1]), rule=example_norms)


def test_a_composite_with_a_backward_of_its_own_needs_a_formula():
    @dataclass(frozen=True)
    class Half(fnn.composite.Wrapper):
        def forward(self, params, x, *, key=None):
            return self.inner.forward(params, x, key=key)

        def backward(self, params, cache, dy):
            grads, dx = self.inner.backward(params, cache, dy)
            return jax.tree.map(lambda g: g / 2, grads), dx

        def backward_with(self, rule, params, cache, dy):
            return rule(self.inner, params, cache, dy)

    net, x = Half(fnn.Dense(3, 4)), jax.random.normal(jax.random.key(1), (5, 3))
    params, target = net.init(jax.random.key(0)), jnp.arange(5) % 4
    with pytest.raises(NotImplementedError, match=r"example_norms: .*Half.* a backward of its own"):
        fnn.fold(net, LOSS, params, x, target, rule=example_norms)
    with pytest.raises(NotImplementedError, match="a backward of its own"):
        fnn.clipped_grad(net, LOSS, params, x, target, 1.0)


def test_gradients_products_and_slopes_are_those_of_every_example_alone():
    net = fnn.Serial(
        fnn.Embedding(7, 4), fnn.Repeat(2, fnn.Residual(fnn.GRU(4, 4))), fnn.LayerNorm(4),
        fnn.Unembed(4, 7),
    )  # fmt: skip
    params = net.init(jax.random.key(0))
    x, target = jax.random.randint(jax.random.key(1), (2, 5, 3), 0, 7)
    direction = jax.tree.map(jnp.cos, params)
    rules = (example_grads, example_products, example_slopes.given(direction))
    grads, products, slopes = fold(net, LOSS, params, x, target, rule=rules).result

    def alone(x, target):
        return fnn.value_and_grad(net, LOSS, params, x[None], target[None])[1]

    want = jax.jit(lambda: jax.lax.map(lambda row: alone(*row), (x, target)))()
    moved = {  # under Repeat the copies are in front
        1: jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), grads[1])
    }
    grads = (grads[0], moved[1], *grads[2:])
    chex.assert_trees_all_close(grads, want, rtol=1e-10, atol=1e-14)
    flat = jnp.concatenate([g.reshape(5, -1) for g in jax.tree.leaves(want)], 1)
    found = sum(p.reshape(-1, 5, 5).sum(0) for p in jax.tree.leaves(products))
    chex.assert_trees_all_close(found, flat @ flat.T, rtol=1e-10)
    v = jnp.concatenate([a.reshape(-1) for a in jax.tree.leaves(direction)])
    chex.assert_trees_all_close(total(slopes), flat @ v, rtol=1e-10)
