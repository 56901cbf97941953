"""Initial weights.

Each is a function (key, n_in, n_out) → w [n_in, n_out], float32 unless JAX's default is
float64, and raises in its own name: a TypeError for a key that is not typed and for sizes that
are no integers, a ValueError for sizes below 1. The entries have mean 0 and the
variance

    glorot   2 / (n_in + n_out)     keeps both passes level under tanh-like activations
    he       2 / n_in               makes up for the half that a rectifier removes
    lecun    1 / n_in               keeps the forward pass level under linear units

drawn from a normal distribution, not truncated as Keras's, or from U(−a, a), whose variance is
a²/3. `orthogonal` has w whose shorter side is orthonormal, `zeros` has 0.

Sources: glorot: Glorot & Bengio (2010), AISTATS, eqs. 12 and 16. he: He, Zhang, Ren &
Sun (2015), arXiv:1502.01852, eq. 10. lecun: LeCun, Bottou, Orr & Müller (1998),
Efficient BackProp, section 4.6. orthogonal: Saxe, McClelland & Ganguli (2014),
arXiv:1312.6120, section 3.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn.errors import check_key
from fnn.records import Array, Key, integer


def _checked(f: Callable[[Key, int, int], Array]) -> Callable[[Key, int, int], Array]:
    """`f` behind the checks of its key and its sizes, which speak in its name."""
    owner = f.__name__

    @functools.wraps(f)
    def w_init(key: Key, n_in: int, n_out: int) -> Array:
        check_key(owner, key)
        for name, n in (("n_in", n_in), ("n_out", n_out)):
            if integer(f"{owner}: {name}", n) < 1:
                raise ValueError(f"{owner}: {name} must be at least 1, got {n}.")
        return f(key, int(n_in), int(n_out))

    return w_init


@_checked
def glorot_uniform(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ U(−a, a) with a = √(6 / (n_in + n_out))."""
    return _uniform(key, n_in, n_out, 2 / (n_in + n_out))


@_checked
def glorot_normal(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ N(0, 2 / (n_in + n_out))."""
    return _normal(key, n_in, n_out, 2 / (n_in + n_out))


@_checked
def he_uniform(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ U(−a, a) with a = √(6 / n_in)."""
    return _uniform(key, n_in, n_out, 2 / n_in)


@_checked
def he_normal(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ N(0, 2 / n_in)."""
    return _normal(key, n_in, n_out, 2 / n_in)


@_checked
def lecun_uniform(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ U(−a, a) with a = √(3 / n_in)."""
    return _uniform(key, n_in, n_out, 1 / n_in)


@_checked
def lecun_normal(key: Key, n_in: int, n_out: int) -> Array:
    """w ~ N(0, 1 / n_in)."""
    return _normal(key, n_in, n_out, 1 / n_in)


@_checked
def orthogonal(key: Key, n_in: int, n_out: int) -> Array:
    """wᵀ w = I for n_in ≥ n_out, else w wᵀ = I; uniform among such matrices."""
    return jax.nn.initializers.orthogonal()(key, (n_in, n_out))


@_checked
def zeros(key: Key, n_in: int, n_out: int) -> Array:
    """w = 0."""
    return jnp.zeros((n_in, n_out))


def _uniform(key: Key, n_in: int, n_out: int, variance: float) -> Array:
    """w ~ U(−a, a) with a²/3 = variance."""
    bound = (3 * variance) ** 0.5
    return jax.random.uniform(key, (n_in, n_out), minval=-bound, maxval=bound)


def _normal(key: Key, n_in: int, n_out: int, variance: float) -> Array:
    """w ~ N(0, variance)."""
    return variance**0.5 * jax.random.normal(key, (n_in, n_out))
