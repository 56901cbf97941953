"""Facts about convolution and recurrence, written out anew, against jax.vjp."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import arrays, close, vjp

# Convolution: 3 images of 9 × 8 with 5 channels, kernels of 4 × 2, 10 feature maps.
IMAGE, KERNEL, BIAS = (3, 9, 8, 5), (4, 2, 5, 10), (10,)
OUT = (3, 6, 7, 10)
OFFSETS = list(itertools.product(range(4), range(2)))


@jax.jit
def convolve(x, k, b):
    """JAX's convolution, without padding."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=numbers) + b


def convolved(x, k, b):
    """Z[n, i, j, c′] = Σ X[n, i+u, j+v, c] K[u, v, c, c′] + b[c′]."""
    rows, columns = x.shape[1] - k.shape[0] + 1, x.shape[2] - k.shape[1] + 1
    offsets = itertools.product(range(k.shape[0]), range(k.shape[1]))
    return sum(x[:, u : u + rows, v : v + columns] @ k[u, v] for u, v in offsets) + b


def test_convolution_has_its_gradients():
    x, k, b, d = arrays(IMAGE, KERNEL, BIAS, OUT)
    close(convolved(x, k, b), convolve(x, k, b))
    dk, dx = np.zeros(KERNEL), np.zeros(IMAGE)
    for u, v in OFFSETS:
        dk[u, v] = np.einsum("nijc,nijd->cd", x[:, u : u + 6, v : v + 7], d)
    for p, q, (u, v) in itertools.product(range(9), range(8), OFFSETS):
        if 0 <= p - u < 6 and 0 <= q - v < 7:  # outside, D is 0
            dx[:, p, q] += d[:, p - u, q - v] @ k[u, v].T
    close((dx, dk, d.sum((0, 1, 2))), vjp(convolve, (x, k, b), d))


def test_convolution_is_a_sparse_matrix_of_shared_weights():
    (n, height, width, c), (rows, columns), k_shape = (1, 5, 4, 2), (3, 3), (3, 2, 2, 3)
    x, k, b = arrays((n, height, width, c), k_shape, (3,))
    t = np.zeros((height, width, c, rows, columns, 3))
    for i, j, (u, v) in itertools.product(range(rows), range(columns), np.ndindex(3, 2)):
        t[i + u, j + v, :, i, j] = k[u, v]
    t = t.reshape(height * width * c, rows * columns * 3)
    z = np.asarray(convolve(x, k, np.zeros(3)))
    np.testing.assert_allclose(x.reshape(1, -1) @ t, z.reshape(1, -1), rtol=1e-12, atol=1e-14)
    assert (t != 0).sum() == rows * columns * k.size < t.size  # local fields
    assert set(np.unique(t[t != 0])) == set(k.ravel())  # shared weights
    assert k.size + b.size == 3 * 2 * 2 * 3 + 3 < t.size


def test_convolution_is_linear_and_moves_with_its_input():
    x, k, b, other = arrays(IMAGE, KERNEL, BIAS, IMAGE)
    none = np.zeros(10)
    both = 2 * np.asarray(convolve(x, k, none)) - np.asarray(convolve(other, k, none))
    close(convolve(2 * x - other, k, none), both, rtol=1e-9, atol=1e-12)
    moved = np.asarray(convolve(np.roll(x, (1, 2), (1, 2)), k, b))
    close(moved[:, 1:, 2:], np.asarray(convolve(x, k, b))[:, :-1, :-2])  # what did not wrap around


# Recurrence: 6 steps of 3 sequences, 4 inputs and 5 hidden units.
STEPS, ROWS, INPUTS, HIDDEN = 6, 3, 4, 5


def unrolled(x, h, wx, wh, b):
    """h_t = tanh(x_t W_x + h_{t−1} W_h + b) of every step, [T, N, n]."""
    states = []
    for x_t in x:
        h = jnp.tanh(x_t @ wx + h @ wh + b)
        states.append(h)
    return jnp.stack(states)


def test_recurrence_has_its_gradients_through_time():
    shapes = (STEPS, ROWS, INPUTS), (ROWS, HIDDEN), (INPUTS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,)
    x, h0, wx, wh, _ = args = arrays(*shapes)
    g = np.asarray(noise(STEPS, ROWS, HIDDEN, seed=9))
    h = np.concatenate([h0[None], np.asarray(jax.jit(unrolled)(*args))])  # h_0, ..., h_T
    d = np.zeros((STEPS + 2, ROWS, HIDDEN))  # D_{T+1} = 0
    for t in range(STEPS, 0, -1):
        d[t] = (g[t - 1] + d[t + 1] @ wh.T) * (1 - h[t] ** 2)
    steps = range(1, STEPS + 1)
    ours = (
        np.stack([d[t] @ wx.T for t in steps]),
        d[1] @ wh.T,
        sum(x[t - 1].T @ d[t] for t in steps),
        sum(h[t - 1].T @ d[t] for t in steps),
        sum(d[t].sum(0) for t in steps),
    )
    close(ours, vjp(unrolled, args, g))


def test_the_derivative_through_time_is_a_product_and_below_its_bound():
    x, h0, wx, wh, b = arrays((7, 1, 4), (1, 5), (4, 5), (5, 5), (5,))

    def last(h, w):
        states = unrolled(x, h, wx, w, b)
        return states[-1, 0], states[:, 0]

    derivative = jax.jit(jax.jacobian(last, has_aux=True))
    for scale in (0.3, 1.5):
        w = scale * wh
        jacobian, states = map(np.asarray, derivative(h0, w))
        product, bound = np.eye(5), 1.0
        for h in states:  # in the order of time
            product = product @ w @ np.diag(1 - h**2)
            bound *= np.linalg.svd(w)[1].max() * (1 - h**2).max()
        close(product.T, jacobian[:, 0])  # jax puts the output first
        assert 0 < np.linalg.norm(jacobian[:, 0], 2) <= bound
    x, wx, b = np.full((7, 1, 1), 0.3), np.eye(1), np.zeros(1)  # with one unit it is attained
    jacobian, states = map(np.asarray, derivative(np.zeros((1, 1)), 0.5 * np.eye(1)))
    assert jacobian.item() == pytest.approx((0.5 * (1 - states**2)).prod(), rel=1e-12)


def test_gradients_through_time_vanish_or_explode_with_the_spectral_radius():
    (w,) = arrays((5, 5))
    w = (w + w.T) / abs(np.linalg.eigvalsh(w + w.T)).max()

    def last(h, w, steps):
        return unrolled(np.zeros((steps, 1, 4)), h, np.zeros((4, 5)), w, np.zeros(5))[-1, 0]

    derivative = jax.jit(jax.jacobian(last), static_argnums=2)
    for radius in (0.7, 1.3):  # at rest h = 0, where tanh′ = 1 and nothing saturates
        size = {t: np.linalg.norm(derivative(np.zeros((1, 5)), radius * w, t)) for t in (8, 24)}
        rate = (size[24] / size[8]) ** (1 / 16)
        assert rate == pytest.approx(radius, rel=0.02)
