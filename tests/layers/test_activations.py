"""Tests of fnn.layers.activations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.activations import (
    ELU,
    GELU,
    SELU,
    HardTanh,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)

λ, α = 1.0507009873554805, 1.6732632423543772
INF = math.inf

# layer: f(−∞), f(∞), f′(−∞), f′(∞)
LIMITS = {
    Identity(): (-INF, INF, 1, 1),
    Sigmoid(): (0, 1, 0, 0),
    Tanh(): (-1, 1, 0, 0),
    ReLU(): (0, INF, 0, 1),
    LeakyReLU(): (-INF, INF, 0.01, 1),
    LeakyReLU(slope=0.3): (-INF, INF, 0.3, 1),
    ELU(): (-1, INF, 0, 1),
    ELU(alpha=0.7): (-0.7, INF, 0, 1),
    SELU(): (-λ * α, INF, 0, λ),
    Softplus(): (0, INF, 0, 1),
    Softsign(): (-1, 1, 0, 0),
    GELU(): (0, INF, 0, 1),
    GELU(approximate=False): (0, INF, 0, 1),
    SiLU(): (0, INF, 0, 1),
    Mish(): (0, INF, 0, 1),
    HardTanh(): (-1, 1, 0, 0),
}
ALL = pytest.mark.parametrize("layer", LIMITS, ids=repr)
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])


def f_and_df(layer, x, dtype="float64"):
    """f and f′ at the numbers x, in dtype, as float64."""
    padded = np.full((1, 300), 0.5)  # one shape: jax compiles every operation once
    padded[0, : len(x)] = x
    padded = jnp.asarray(padded, dtype)
    y, cache = layer.forward((), padded)
    _, dx = layer.backward((), cache, jnp.ones_like(padded))
    assert y.dtype == dx.dtype == padded.dtype
    return np.float64(y)[0, : len(x)], np.float64(dx)[0, : len(x)]


@ALL
def test_contract(layer):
    x = noise(5, 3) * 2
    check_layer(layer, jnp.where(abs(abs(x) - 1) < 1e-2, 1.5, jnp.where(abs(x) < 1e-2, 0.5, x)))


def test_contract_of_more_axes():
    check_layer(SiLU(), noise(2, 3, 4))


# By hand: f and f′ at −2, −½, ½ and 2, from the definitions in exact arithmetic of e, tanh
# and the normal distribution.
E2, E05 = math.exp(-2), math.exp(-0.5)
LOG = {x: math.log1p(math.exp(x)) for x in (-2, -0.5, 0.5, 2)}
PHI = {x: math.erf(x / math.sqrt(2)) / 2 + 0.5 for x in (-2, -0.5, 0.5, 2)}
DPHI = {x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in PHI}
SIGMA = {x: 1 / (1 + math.exp(-x)) for x in PHI}
T = {x: math.tanh(LOG[x]) for x in PHI}
BY_HAND = {
    Identity(): ([-2, -0.5, 0.5, 2], [1, 1, 1, 1]),
    Sigmoid(): (
        [E2 / (1 + E2), E05 / (1 + E05), 1 / (1 + E05), 1 / (1 + E2)],
        [E2 / (1 + E2) ** 2, E05 / (1 + E05) ** 2, E05 / (1 + E05) ** 2, E2 / (1 + E2) ** 2],
    ),
    Tanh(): (
        [math.tanh(x) for x in PHI],
        [1 / math.cosh(x) ** 2 for x in PHI],
    ),
    ReLU(): ([0, 0, 0.5, 2], [0, 0, 1, 1]),
    LeakyReLU(): ([-0.02, -0.005, 0.5, 2], [0.01, 0.01, 1, 1]),
    LeakyReLU(slope=0.3): ([-0.6, -0.15, 0.5, 2], [0.3, 0.3, 1, 1]),
    ELU(): ([E2 - 1, E05 - 1, 0.5, 2], [E2, E05, 1, 1]),
    ELU(alpha=0.7): ([0.7 * (E2 - 1), 0.7 * (E05 - 1), 0.5, 2], [0.7 * E2, 0.7 * E05, 1, 1]),
    SELU(): (
        [λ * α * (E2 - 1), λ * α * (E05 - 1), λ * 0.5, λ * 2],
        [λ * α * E2, λ * α * E05, λ, λ],
    ),
    Softplus(): (list(LOG.values()), list(SIGMA.values())),
    Softsign(): ([-2 / 3, -1 / 3, 1 / 3, 2 / 3], [1 / 9, 4 / 9, 4 / 9, 1 / 9]),
    GELU(approximate=False): (
        [x * p for x, p in PHI.items()],
        [p + x * DPHI[x] for x, p in PHI.items()],
    ),
    SiLU(): (
        [x * s for x, s in SIGMA.items()],
        [s + x * s * (1 - s) for x, s in SIGMA.items()],
    ),
    Mish(): (
        [x * t for x, t in T.items()],
        [t + x * SIGMA[x] / math.cosh(LOG[x]) ** 2 for x, t in T.items()],
    ),
    HardTanh(): ([-1, -0.5, 0.5, 1], [0, 1, 1, 0]),
}


@pytest.mark.parametrize("layer", BY_HAND, ids=repr)
def test_value_and_derivative_by_hand(layer):
    y, dx = f_and_df(layer, [-2, -0.5, 0.5, 2])
    np.testing.assert_allclose(y, BY_HAND[layer][0], rtol=1e-12)
    np.testing.assert_allclose(dx, BY_HAND[layer][1], rtol=1e-12)


def test_backward_multiplies_by_dy():
    _, cache = Tanh().forward((), jnp.array([[0.0, 1.0]]))
    _, dx = Tanh().backward((), cache, jnp.array([[3.0, -2.0]]))
    np.testing.assert_allclose(dx, [[3, -2 / math.cosh(1) ** 2]], rtol=1e-12)


JAX_NN = {
    Sigmoid(): jax.nn.sigmoid,
    ReLU(): jax.nn.relu,
    LeakyReLU(): jax.nn.leaky_relu,
    ELU(): jax.nn.elu,
    SELU(): jax.nn.selu,
    Softplus(): jax.nn.softplus,
    Softsign(): jax.nn.soft_sign,
    GELU(): jax.nn.gelu,
    GELU(approximate=False): lambda x: jax.nn.gelu(x, approximate=False),
    SiLU(): jax.nn.silu,
    Mish(): jax.nn.mish,
    HardTanh(): jax.nn.hard_tanh,
}


@pytest.mark.parametrize("layer", JAX_NN, ids=repr)
def test_value_and_derivative_are_those_of_jax_nn(layer):
    x = np.array([-9, -3.3, -0.7, -1e-4, 1e-4, 0.2, 0.9, 4, 11])
    y, dx = f_and_df(layer, x)
    np.testing.assert_allclose(y, JAX_NN[layer](x), rtol=1e-12, atol=1e-12)
    slopes = jax.jit(jax.vmap(jax.grad(JAX_NN[layer])))(x)
    np.testing.assert_allclose(dx, slopes, rtol=1e-10, atol=1e-12)


@ALL
@DTYPES
def test_limits_at_infinity(layer, dtype):
    y, dx = f_and_df(layer, [-INF, INF], dtype)
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y, LIMITS[layer][:2], rtol=unit)
    np.testing.assert_allclose(dx, LIMITS[layer][2:], rtol=unit, atol=2 * unit)


@pytest.mark.parametrize("layer", [layer for layer in LIMITS if layer != Identity()], ids=repr)
@DTYPES
def test_nan_stays_nan(layer, dtype):
    y, dx = f_and_df(layer, [math.nan], dtype)
    assert np.isnan(y).all()
    assert np.isnan(dx).all()


@ALL
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_finite_input_is_near_double_precision(layer, dtype):
    moderate = np.concatenate([np.linspace(-30, 30, 241), [-1e-6, 0, 1e-6]])
    x = np.concatenate([moderate, [-3e38, -1e20, -1e4, -200, 200, 1e4, 1e20, 3e38]])
    x = np.float64(jnp.asarray(x).astype(dtype))
    y, dx = f_and_df(layer, x, dtype)
    exact_y, exact_dx = f_and_df(layer, x)
    assert np.isfinite([y, dx]).all()
    error = {"float32": 1e-6, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(y, exact_y, rtol=error, atol=error)
    np.testing.assert_allclose(dx, exact_dx, rtol=error, atol=error)


@pytest.mark.parametrize(
    ("layer", "kink", "y", "dx"),
    [
        (ReLU(), 0.0, 0.0, 0.0),
        (LeakyReLU(), 0.0, 0.0, 0.01),
        (ELU(alpha=0.7), 0.0, 0.0, 0.7),
        (SELU(), 0.0, 0.0, λ * α),
        (HardTanh(), -1.0, -1.0, 0.0),
        (HardTanh(), 1.0, 1.0, 0.0),
        (Softsign(), 0.0, 0.0, 1.0),
    ],
    ids=str,
)
def test_value_and_derivative_at_a_kink(layer, kink, y, dx):
    assert f_and_df(layer, [kink]) == (pytest.approx([y]), pytest.approx([dx]))


def test_selu_keeps_mean_0_and_variance_1():
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()  # E f(z) for z ~ N(0, 1) is Σ weight f(z), kink aside
    y, _ = f_and_df(SELU(), z)
    assert weight @ y == pytest.approx(0, abs=2e-3)
    assert weight @ y**2 == pytest.approx(1, abs=2e-3)


def test_tanh_is_a_sigmoid_rescaled():
    x = np.linspace(-4, 4, 9)
    np.testing.assert_allclose(f_and_df(Tanh(), x)[0], 2 * f_and_df(Sigmoid(), 2 * x)[0] - 1)


def test_derivative_of_softplus_is_the_sigmoid():
    x = np.linspace(-40, 40, 17)
    np.testing.assert_allclose(f_and_df(Softplus(), x)[1], f_and_df(Sigmoid(), x)[0])


def test_mish_and_silu_have_their_published_minima():
    x = np.linspace(-1.4, -1.1, 300)
    assert f_and_df(Mish(), x)[0].min() == pytest.approx(-0.30884, abs=1e-5)
    assert f_and_df(SiLU(), x)[0].min() == pytest.approx(-0.27846, abs=1e-5)


@ALL
def test_no_parameters(layer):
    assert layer.init(jax.random.key(0)) == ()


@pytest.mark.parametrize("slope", [0, -0.1, 1.5, math.nan, math.inf])
def test_slope_that_hides_the_sign_is_rejected(slope):
    with pytest.raises(ValueError, match=r"LeakyReLU: slope must be (in \(0, 1\]|finite), got"):
        LeakyReLU(slope)


@pytest.mark.parametrize("alpha", [0, -1, math.nan])
def test_alpha_that_hides_the_sign_is_rejected(alpha):
    with pytest.raises(ValueError, match=r"ELU: alpha must be (in \(0, inf\)|finite), got"):
        ELU(alpha)


def test_choice_that_is_no_boolean_is_rejected():
    with pytest.raises(TypeError, match=r"GELU: approximate must be True or False, got 'tanh'"):
        GELU("tanh")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 1)], ids=str)
def test_any_shape_is_taken(shape):
    x = -jnp.ones(shape)
    y, cache = LeakyReLU(0.5).forward((), x)
    np.testing.assert_array_equal(y, np.full(shape, -0.5))
    np.testing.assert_array_equal(LeakyReLU(0.5).backward((), cache, x)[1], np.full(shape, -0.5))


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"^Tanh\(\): x must be floating, got int64; convert it"):
        Tanh().forward((), jnp.zeros((2, 3), int))


BY_Y = (Sigmoid(), Tanh())  # f′ of y: what 1 − y keeps, 2⁻²⁴ in float32


@pytest.mark.parametrize("layer", [f for f in LIMITS if f not in BY_Y], ids=repr)
def test_tails_keep_their_digits(layer):
    x = np.float32([-80, -40, -20, -17.5, -9, -6, -3, -1e-3, -1e-30, 1e-30, 1e-3, 3, 9, 20, 40, 80])
    x = x[(x > -5) if isinstance(layer, GELU) and layer.approximate else ...]  # u cancels there
    y, dy = f_and_df(layer, x, "float32")
    exact_y, exact_dy = f_and_df(layer, x)
    np.testing.assert_allclose(y, exact_y, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(dy, exact_dy, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("layer", BY_Y, ids=repr)
def test_the_slope_of_a_saturated_sigmoid_is_right_to_a_rounding_of_1(layer):
    x = np.float32(np.linspace(-90, 90, 181))
    _, dy = f_and_df(layer, x, "float32")
    np.testing.assert_allclose(dy, f_and_df(layer, x)[1], rtol=1e-5, atol=5e-7)


def test_the_slope_of_elu_far_to_the_left_is_not_lost():
    assert f_and_df(ELU(), [-20.0], "float32")[1][0] == pytest.approx(2.0611536e-09, rel=1e-6)
    assert f_and_df(ELU(), [-40.0])[1][0] == pytest.approx(4.248354255291589e-18, rel=1e-12)


@pytest.mark.parametrize("approximate", [True, False])
def test_the_second_derivative_of_gelu_is_that_of_autodiff_at_zero_too(approximate):
    layer = GELU(approximate=approximate)

    def second(df):
        return jax.jit(jax.vmap(jax.grad(df)))(jnp.array([-0.3, 0.0, 0.4]))

    want = second(jax.grad(lambda x: jax.nn.gelu(x, approximate)))
    np.testing.assert_allclose(second(layer.df), want, rtol=1e-12, atol=1e-15)
