"""Tests of fnn.layers.convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import every, noise

import fnn
from fnn.layers.convolution import (
    Kernel,
    around,
    convolve,
    convolve_kernel,
    convolve_transpose,
    rest,
    swap_channels,
)
from fnn.layers.windows import windows

X = noise(2, 9, 4)


def along(stride, dilation, padding=((2, 1),)):
    return windows("f", (9,), (3,), (stride,), (dilation,), padding)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_three_sums_are_the_faces_of_one_trilinear_form(stride, dilation, groups):
    where = along(stride, dilation)
    w = noise(3, 4 // groups, 6, seed=2)
    y = noise(2, where[0].n_out, 6, seed=3)
    form = (convolve(X, w, where, groups) * y).sum()
    np.testing.assert_allclose((convolve_kernel(X, y, where, groups) * w).sum(), form, rtol=1e-12)
    np.testing.assert_allclose(
        (convolve_transpose(y, swap_channels(w, groups), where, groups) * X).sum(), form, rtol=1e-12
    )


KERNELS = {  # sizes of x and y, kernel, stride, groups, swapped
    "few windows, many channels": ((5, 5), (7,), (3,), (2,), 1, False),
    "many windows": ((5, 6, 2), (3,), (2, 3), (1, 1), 1, False),
    "swapped": ((4, 3, 5), (4,), (2, 2), (1, 1), 1, True),
    "groups": ((7, 6), (4,), (3,), (2,), 2, False),
    "groups, swapped": ((7, 6), (4,), (3,), (2,), 2, True),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_the_sum_over_windows_of_every_example(name):
    (*shape, n_x), (n_y,), size, stride, groups, swapped = KERNELS[name]
    where = windows("f", shape, size, stride, (1,) * len(size), "valid")
    x, y = noise(3, *shape, n_x), noise(3, *(a.n_out for a in where), n_y, seed=2)

    def of_one(x, y):
        w = convolve_kernel(x[None], y[None], where, groups)
        return swap_channels(w, groups) if swapped else w

    f = Kernel(x, y, where, groups, swapped)
    g = jnp.stack([of_one(*rows) for rows in zip(x, y, strict=True)])
    flat, v = g.reshape(3, -1), noise(*g.shape[1:], seed=3)
    np.testing.assert_allclose(f.gradient(), g.sum(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(f.each(), g, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(f.square_norms(), (flat**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(f.slopes(v), flat @ v.reshape(-1), rtol=1e-10)
    assert (f.size() > jnp.sqrt(f.square_norms())).all()


def test_of_one_window_the_size_of_a_kernel_is_its_norm():
    where = windows("f", (3, 2), (3, 2), (1, 1), (1, 1), "valid")
    f = Kernel(noise(4, 3, 2, 5), noise(4, 1, 1, 6, seed=2), where, 1)
    np.testing.assert_allclose(f.size(), jnp.sqrt(f.square_norms()), rtol=1e-12)


def test_by_hand():
    where = windows("f", (3,), (2,), (1,), (1,), "valid")
    x, y = jnp.array([[[1.0], [10.0], [100.0]]]), jnp.array([[[1.0], [2.0]]])
    w = jnp.array([[[2.0]], [[3.0]]])
    np.testing.assert_array_equal(convolve(x, w, where, 1)[0, :, 0], [2 + 30, 20 + 300])
    np.testing.assert_array_equal(convolve_transpose(y, w, where, 1)[0, :, 0], [2, 3 + 4, 6])
    np.testing.assert_array_equal(convolve_kernel(x, y, where, 1)[:, 0, 0], [1 + 20, 10 + 200])


def test_exchanged_is_a_transposed_w_in_every_group_and_undoes_itself():
    w = noise(3, 2, 6)  # 2 groups of 2 inputs and 3 outputs
    other = swap_channels(w, 2)
    assert other.shape == (3, 3, 4)
    for g in range(2):
        ours, theirs = other[..., 2 * g : 2 * g + 2], w[..., 3 * g : 3 * g + 3]
        np.testing.assert_array_equal(ours, theirs.swapaxes(1, 2))
    np.testing.assert_array_equal(swap_channels(other, 2), w)


def test_paddings_restore_the_lengths_of_the_window_and_of_the_input():
    (a,) = along(2, 2)  # 9 + 3 entries, a span of 5: 4 outputs, spread over 7
    assert (rest(a), around(a)) == (0, (2, 4))


def test_weights_are_drawn_for_the_entries_of_a_window():
    asked = []

    def w_init(key, n_in, n_out):
        asked.append((n_in, n_out))
        return noise(n_in, n_out)

    layer = fnn.Conv1d(4, 6, 3, groups=2, w_init=w_init)
    assert layer.init(jax.random.key(0)).w.shape == layer.shapes()["w"] == (3, 2, 6)
    assert asked == [(6, 6)]


@pytest.mark.parametrize("groups", [1, 2])
def test_every_sum_has_its_axes_where_xla_reads_them_inside_of_loops_too(groups):
    layer = fnn.Conv2d(4, 6, (3, 2), (2, 1), 1, groups=groups)
    params, x = layer.init(jax.random.key(0)), noise(5, 8, 9, 4)

    def both(params, x):
        y, cache = layer.forward(params, x)
        return layer.backward(params, cache, y)

    program = jax.make_jaxpr(both)(params, x)
    found = [e.params for e in every(program) if e.primitive.name == "conv_general_dilated"]
    assert len(found) == 3
    for p in found:
        assert tuple(p["dimension_numbers"]) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
