"""Tests of fnn.layers.normalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

import fnn
from fnn.layers.affine import AffineParams
from fnn.layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fnn.numerics import cast
from fnn.sequence import Sequence

CASES = [
    (LayerNorm(3), (5, 3)),
    (LayerNorm(4), (2, 3, 4)),
    (RMSNorm(3), (5, 3)),
    (RMSNorm(4), (2, 3, 4)),
    (GroupNorm(6, 2), (5, 3, 6)),
    (GroupNorm(6, 3), (2, 4, 5, 6)),
    (InstanceNorm(3), (5, 4, 3)),
    (InstanceNorm(3), (2, 5, 4, 3)),
    (BatchNorm(3), (5, 3)),
    (BatchNorm(4), (2, 3, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


@pytest.mark.parametrize("layer", [LayerNorm(3), RMSNorm(3), BatchNorm(3)], ids=str)
def test_contract_of_sequences(layer):
    x = Sequence(noise(2, 5, 3), MASK)
    check_sequence(layer, x, steps=not layer.mixes_examples)


def test_layer_norm_by_hand():
    layer, x = LayerNorm(3, eps=0.0), jnp.array([[1.0, 2.0, 6.0]])  # μ = 3, σ² = 14/3
    params = AffineParams(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.0, 0.0]))
    y, cache = layer.forward(params, x)
    r = np.sqrt(3 / 14)
    np.testing.assert_allclose(y, [[-2 * r + 0.5, -2 * r, 9 * r]])
    grads, dx = layer.backward(params, cache, jnp.array([[1.0, 0.0, 0.0]]))
    # dz = (1, 0, 0): mean 1/3, and mean(dz z) z = -2r/3 (-2, -1, 3) r = 3/14 (4, 2, -6)/3
    np.testing.assert_allclose(dx, [r * (np.array([2, -1, -1]) / 3 - np.array([4, 2, -6]) / 14)])
    np.testing.assert_allclose(grads.scale, [-2 * r, 0, 0])
    np.testing.assert_allclose(grads.b, [1, 0, 0])


def test_rms_norm_by_hand():
    layer, x = RMSNorm(2, eps=0.0), jnp.array([[1.0, 7.0]])  # mean x² = 25
    params = layer.init(jax.random.key(0))
    y, cache = layer.forward(params, x)
    np.testing.assert_allclose(y, [[0.2, 1.4]])
    _, dx = layer.backward(params, cache, jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(dx, [[(1 - 0.2 * 0.1) / 5, (-1.4 * 0.1) / 5]])


def test_instance_norm_by_hand():
    layer, x = InstanceNorm(2, eps=0.0), jnp.array([[[1.0, 5.0], [3.0, -5.0]]])  # r = 1, 1/5
    params = AffineParams(jnp.array([2.0, 10.0]), jnp.array([0.5, 0.0]))
    y, cache = layer.forward(params, x)
    np.testing.assert_allclose(y, [[[-1.5, 10], [2.5, -10]]])
    grads, dx = layer.backward(params, cache, jnp.array([[[1.0, 4.0], [3.0, 3.0]]]))
    np.testing.assert_allclose(grads.scale, [3 - 1, 4 - 3])
    np.testing.assert_allclose(grads.b, [4, 7])
    np.testing.assert_allclose(dx, np.zeros((1, 2, 2)), atol=1e-14)  # two entries are always ±1


def test_instance_norm_is_group_norm_with_one_channel_to_a_group():
    x, dy = noise(2, 5, 4, 3), noise(2, 5, 4, 3, seed=2)
    params = AffineParams(noise(3, seed=3), noise(3, seed=4))
    found = []
    for layer in (InstanceNorm(3), GroupNorm(3, 3)):
        y, cache = layer.forward(params, x)
        found.append((y, layer.backward(params, cache, dy)))
    for ours, group in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(ours, group, rtol=1e-12, atol=1e-14)


def test_each_set_of_entries_has_mean_0_and_variance_1():
    x = 5 + 3 * noise(4, 5, 6)

    def y(layer):
        return np.asarray(layer.forward(layer.init(jax.random.key(0)), x)[0])

    def judged(values, axes):
        np.testing.assert_allclose(values.mean(axes), 0, atol=1e-12)
        np.testing.assert_allclose(values.std(axes), 1, rtol=1e-4)

    judged(y(LayerNorm(6)), (2,))
    judged(y(GroupNorm(6, 2)).reshape(4, 5, 2, 3), (1, 3))
    judged(y(InstanceNorm(6)), (1,))
    judged(y(BatchNorm(6)), (0, 1))
    np.testing.assert_allclose((y(RMSNorm(6)) ** 2).mean(2), 1, rtol=1e-5)


def test_a_shift_and_a_factor_of_a_row_change_nothing_and_get_no_gradient():
    layer, x, dy = LayerNorm(7, eps=0.0), noise(5, 7), noise(5, 7, seed=2)
    params = layer.init(jax.random.key(0))
    y, cache = layer.forward(params, x)
    other, _ = layer.forward(params, 3 * x + 8)
    _, dx = layer.backward(params, cache, dy)
    np.testing.assert_allclose(other, y, rtol=1e-10)
    np.testing.assert_allclose(dx.sum(-1), 0, atol=1e-13)
    np.testing.assert_allclose((dx * x).sum(-1), 0, atol=1e-13)


def test_one_group_of_all_channels_at_one_position_is_layer_norm():
    x = noise(5, 6)
    group, layer = GroupNorm(6, 1), LayerNorm(6)
    params = layer.init(jax.random.key(0))
    np.testing.assert_allclose(group.forward(params, x)[0], layer.forward(params, x)[0], rtol=1e-12)


def test_at_test_time_batch_norm_is_the_affine_map_of_the_calibration_batch():
    net = fnn.Serial(fnn.Dense(3, 4), BatchNorm(4), fnn.Repeat(2, BatchNorm(4)))
    params, x = net.init(jax.random.key(0)), noise(50, 3)
    calm, calm_params = fnn.inference(net, params, x)
    assert not any(f.mixes_examples for f in calm.children.values())
    y, _ = net.forward(params, x)
    np.testing.assert_allclose(calm.forward(calm_params, x)[0], y, rtol=1e-10, atol=1e-12)
    one, _ = calm.forward(calm_params, x[:1])
    np.testing.assert_allclose(one, y[:1], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="give a calibration batch x"):
        fnn.inference(net, params)


@pytest.mark.parametrize(("mean", "most"), [(0.0, 0.02), (100.0, 0.02), (1000.0, 0.06)])
def test_at_test_time_in_bfloat16_it_is_as_exact_as_in_training(mean, most):
    x = jnp.asarray(mean + noise(200, 1)).astype("bfloat16")
    net, params = fnn.Cast(BatchNorm(1), "bfloat16"), AffineParams(*jnp.ones((2, 1)))
    y, _ = net.forward(params, x)
    calm, calm_params = fnn.inference(net, params, x)
    found, _ = calm.forward(calm_params, x)
    exact = np.asarray(x, float)
    exact = (exact - exact.mean()) / exact.std() + 1
    for z in (y, found):
        assert abs(np.asarray(z, float) - exact).max() < most


def test_per_example_norms_refuse_batch_norm():
    net, x = BatchNorm(3), noise(5, 3)
    params = net.init(jax.random.key(0))
    with pytest.raises(NotImplementedError, match=r"BatchNorm\(n=3, eps=1e-05\)"):
        fnn.fold(net, fnn.SquaredError(), params, x, x, rule=fnn.rules.example_norms)


NORMS = pytest.mark.parametrize(
    "layer", [LayerNorm(64), RMSNorm(64), GroupNorm(64, 4), BatchNorm(64)], ids=str
)


def in_float32(layer, x):
    """y, and dx of dy = x, of the layer in float32."""
    params = cast(layer.init(None), "float32")
    y, cache = layer.forward(params, jnp.asarray(x, "float32"))
    return y, layer.backward(params, cache, jnp.asarray(noise(*x.shape), "float32"))[1]


@NORMS
@pytest.mark.parametrize("size", [1e-26, 1.0, 1e20, 1e36])
@pytest.mark.parametrize("offset", [0.0, -1e4])
def test_values_of_any_size_and_offset_are_exact_to_a_few_roundings(layer, size, offset):
    x = np.asarray((noise(64, 64, seed=1) + offset) / (1 + abs(offset)) * size, "float32")
    y, dx = in_float32(layer, x)
    d, axes = np.asarray(x, "longdouble"), (-1,)
    if not isinstance(layer, RMSNorm):
        d = layer.view(d)
        axes = layer.axes(d)
        d = d - d.mean(axes, keepdims=True)
    z = d / np.sqrt((d * d).mean(axes, keepdims=True) + layer.eps)
    assert abs(np.asarray(y, z.dtype) - z.reshape(x.shape)).max() < 1e-6 * abs(z).max()
    params = layer.init(None)
    _, cache = layer.forward(params, jnp.asarray(x, "float64"))
    expected = layer.backward(params, cache, noise(*x.shape))[1]
    np.testing.assert_allclose(dx, expected, rtol=0, atol=4e-6 * cache.r.max() + 1e-37)


def test_rows_without_spread_are_0_whatever_their_size():
    for n, constant in ((7, 12345.678), (3, 33333.33), (5, 5e37), (4, 0.0)):
        for layer in (LayerNorm(n), GroupNorm(n, 1)):
            y, dx = in_float32(layer, np.full((2, n), constant))
            np.testing.assert_allclose(y, np.zeros((2, n)), atol=1e-5)
            assert np.isfinite(dx).all()


def test_the_largest_values_do_not_flatten_a_row():
    for size in (1.0, 1e20, 3e37):
        y, _ = in_float32(LayerNorm(4, eps=0.0), np.array([[1.0, 2.0, 3.0, 5.0]]) * size)
        np.testing.assert_allclose(y, [[-1.183216, -0.507093, 0.169031, 1.521278]], rtol=2e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(BatchNorm(3), (1, 3)), (BatchNorm(3), (1, 1, 1, 3)), (GroupNorm(6, 6), (2, 6)),
     (LayerNorm(1), (5, 1)), (InstanceNorm(3), (5, 1, 3)), (InstanceNorm(3), (5, 3))],
    ids=str,
)  # fmt: skip
def test_one_entry_alone_has_no_spread(layer, shape):
    with pytest.raises(ValueError, match=r"every mean must be of at least 2 entries, got x \["):
        layer.forward(layer.init(None), noise(*shape))


def test_one_example_of_several_positions_has_a_spread():
    y, _ = in_float32(BatchNorm(3), np.asarray(noise(1, 4, 3)))
    np.testing.assert_allclose(y.std((0, 1)), np.ones(3), rtol=1e-3)


def test_errors():
    for wrong in (lambda: LayerNorm(0), lambda: RMSNorm(3, eps=-1.0), lambda: BatchNorm(0)):
        with pytest.raises(ValueError, match="n must be at least 1 and eps at least 0"):
            wrong()
    with pytest.raises(ValueError, match=r"n_groups must divide n, got 5 and 2"):
        GroupNorm(5, 2)
    layer = LayerNorm(3)
    params = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[2, 4\]"):
        layer.forward(params, noise(2, 4))
    with pytest.raises(ValueError, match=r"params.scale must have shape \[3\], got \[4\]"):
        layer.forward(LayerNorm(4).init(jax.random.key(0)), noise(2, 3))
