import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import autoencoder
from experiments.autoencoder import AUTO, PCA, VARIATIONAL, Coder
from experiments.common.data import Rows

X = np.random.default_rng(0).random((7, 5), np.float32)


def test_coders_are_the_halves_of_their_nets():
    net = autoencoder.autoencoder(5, 4, 2)
    params = net.init(jax.random.key(0))
    found = autoencoder.of_autoencoder(net, params)
    np.testing.assert_allclose(
        found.decode(found.encode(X)), net.forward(params, jnp.asarray(X))[0], rtol=1e-5
    )


def test_the_variational_coder_codes_by_means_and_decodes_chances():
    net = autoencoder.variational(5, 4, 2)
    net, params = fnn.inference(net, net.init(jax.random.key(0)))
    found = autoencoder.of_variational(net, params)
    (y, code), _ = net.forward(params, jnp.asarray(X))
    np.testing.assert_allclose(found.encode(X), code[:, :2], rtol=1e-5)
    np.testing.assert_allclose(found.decode(code[:, :2]), jax.nn.sigmoid(y), rtol=1e-5)


def test_errors_are_sums_over_pixels_and_means_over_digits():
    assert Coder(lambda x: x, lambda z: z + 2).error(np.zeros((3, 4))) == 4 * 2**2


@pytest.mark.long
def test_principal_components_keep_what_lies_in_a_plane():
    flat = X[:, :2] @ np.random.default_rng(1).random((2, 5))
    (found,) = autoencoder.coders(autoencoder.QUICK, PCA, 2, flat)
    assert found.error(flat) < 1e-10


def test_distances_are_squared():
    a, b = np.array([[0.0, 0], [1, 1]]), np.array([[3.0, 4]])
    np.testing.assert_allclose(autoencoder.distances(a, b), [[25], [13]])


def test_neighbours_have_the_class_of_the_nearest_code_and_new_digits_lie_like_the_codes():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    codes = rng.normal(size=(400, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + 10
    rows = Rows(codes, label)
    same = Coder(lambda x: x, lambda z: z)
    found = autoencoder.drawn([same], AUTO, rows, Rows(codes[:50] + 1e-9, label[:50]), 0)
    assert found.apart == [1.0]
    assert found.news[0] < 0.5
    far = autoencoder.drawn([same], VARIATIONAL, rows, rows, 0)  # drawn from N(0, 1)
    assert far.news[0] > 30
