"""Tests of fnn.losses.logit_derivatives; what is made of them is tested in test_columns.py."""

import jax.numpy as jnp
import numpy as np

from fnn.losses.logit_derivatives import LogitDerivatives


def made(target, *, smoothing=0.0, blocks=2):
    """Of two positions whose logits are the rows of w."""
    w = jnp.log(jnp.array([[1.0, 2, 5], [1, 1, 2]]))
    h, dl = jnp.eye(2)[:, None], jnp.array([[8.0], [4.0]])
    losses = jnp.log(jnp.array([[8 / 5], [4.0]]))
    top = jnp.log(jnp.array([[8.0], [4.0]]))
    return LogitDerivatives(h, w, target, dl, losses, top, smoothing, blocks)


def test_by_hand():
    d = made(jnp.array([[2], [0]]))
    np.testing.assert_allclose(d.vectors()[:, 0], [[1, 2, -3], [-3, 1, 2]])
    np.testing.assert_allclose(d.block(1, 2)[:, 0], [[2, -3], [1, 2]])
    np.testing.assert_allclose(d.at(jnp.array([[2, -1], [0, 0]]))[:, 0], [[-3, 0], [-3, -3]])
    np.testing.assert_allclose(d.scaled(jnp.array([0.0, 2])).vectors()[1, 0], [-6, 2, 4])


def test_rows_and_smoothing():
    rows = jnp.array([[[0.0, 0.5, 0.5]], [[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(made(rows).vectors()[:, 0], [[1, -2, 1], [-3, 1, 2]])
    smoothed = made(jnp.array([[2], [0]]), smoothing=0.3)
    np.testing.assert_allclose(smoothed.vectors()[0, 0], [1 - 0.8, 2 - 0.8, 5 - 0.8 - 5.6])
    smoothed = made(rows, smoothing=0.3)
    np.testing.assert_allclose(smoothed.vectors()[0, 0], [1 - 0.8, 2 - 3.6, 5 - 3.6])
