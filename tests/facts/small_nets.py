"""What the facts share: numbers and parameters in numpy, jax's vjp, closeness of trees."""

import itertools

import jax
import numpy as np
from contract import noise

import fnn


def drawn(*sizes, scale=1.0, seed=0):
    """Weights and biases for a net of these sizes with an activation after every layer."""
    rng = np.random.default_rng(seed)
    dense = [
        fnn.DenseParams(scale * rng.normal(size=(n_in, n_out)), rng.normal(size=n_out))
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    return tuple(p for layer in dense for p in (layer, ()))


def close(ours, theirs, rtol=1e-10, atol=1e-13):
    """Raise unless two trees of arrays agree."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def arrays(*shapes):
    """Normal numbers of these shapes, in numpy."""
    return [np.asarray(noise(*shape, seed=i)) for i, shape in enumerate(shapes)]


def vjp(f, args, dy):
    """What jax sends back."""
    return jax.jit(lambda *a: jax.vjp(f, *a)[1](dy))(*args)
