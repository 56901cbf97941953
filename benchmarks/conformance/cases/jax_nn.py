"""Rules of jax.nn and jax.numpy: activations, softmax, means, sorting."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.conformance.case import Case, normal, uniform

X = np.array([0.3, -0.7, 1.2, -2.5, 4.0])


def cases() -> list[Case]:
    """Activations and what follows them."""
    return [*activations(), *rows(), *pairs(), *attention()]


def activations() -> list[Case]:
    """One number to one number."""
    nn = jax.nn
    return [
        Case("jax.nn.relu", nn.relu, (X,), plain=lambda x: jnp.maximum(x, 0)),
        Case("jax.nn.relu at 0", nn.relu, (np.array([0.0, 1.0, -1.0]),)),
        Case("jax.nn.relu6", nn.relu6, (np.array([-1.0, 0.5, 5.5, 7.0]),)),
        Case("jax.nn.silu", nn.silu, (X,), plain=lambda x: x / (1 + jnp.exp(-x))),
        Case("jax.nn.gelu", nn.gelu, (X,)),
        Case("jax.nn.gelu, exact", lambda x: nn.gelu(x, approximate=False), (X,)),
        Case("jax.nn.elu", nn.elu, (X,)),
        Case("jax.nn.celu", lambda x: nn.celu(x, 0.7), (X,)),
        Case("jax.nn.selu", nn.selu, (X,)),
        Case("jax.nn.softplus", nn.softplus, (X,), plain=lambda x: jnp.log1p(jnp.exp(x))),
        Case("jax.nn.mish", nn.mish, (X,)),
        Case("jax.nn.squareplus", nn.squareplus, (X,)),
        Case("jax.nn.log_sigmoid", nn.log_sigmoid, (X,)),
        Case("jax.nn.sigmoid", nn.sigmoid, (X,), plain=lambda x: 1 / (1 + jnp.exp(-x))),
        Case("jax.nn.hard_tanh", nn.hard_tanh, (X,)),
        Case("jax.nn.sparse_plus", nn.sparse_plus, (X,)),
        Case("jax.nn.leaky_relu", nn.leaky_relu, (X,)),
    ]  # fmt: skip


def rows() -> list[Case]:
    """Along an axis."""
    a, b, nn = normal(1, 3, 4), normal(2, 3, 4), jax.nn
    return [
        Case("jax.nn.glu", nn.glu, (normal(3, 3, 6),)),
        Case("jax.nn.softmax", nn.softmax, (a,), plain=plain_softmax),
        Case("jax.nn.softmax, where", masked_softmax, (a,)),
        Case("jax.nn.log_softmax", nn.log_softmax, (a,), plain=plain_log_softmax),
        Case("jax.nn.logsumexp", lambda x: nn.logsumexp(x, -1), (a,), plain=plain_logsumexp),
        Case("jax.nn.logsumexp, b", lambda x, b: nn.logsumexp(x, -1, b), (a, np.abs(b) + 0.1)),
        Case("jax.nn.logmeanexp", lambda x: nn.logmeanexp(x, -1), (a,)),
        Case("jax.nn.standardize", nn.standardize, (a,)),
    ]  # fmt: skip


def pairs() -> list[Case]:
    """Functions of numpy, many of two arguments."""
    a, b = normal(1, 3, 4), normal(2, 3, 4)
    return [
        Case("jax.numpy.logaddexp", jnp.logaddexp, (a, b), plain=plain_logaddexp),
        Case("jax.numpy.logaddexp2", jnp.logaddexp2, (a, b)),
        Case("jax.numpy.logaddexp, equal", jnp.logaddexp, (a, a)),
        Case("jax.numpy.sinc", jnp.sinc, (X,), plain=lambda x: jnp.sin(np.pi * x) / (np.pi * x)),
        Case("jax.numpy.sinc at 0", jnp.sinc, (np.array([0.0, 1e-9, 1.0, -0.4]),)),
        Case("jax.numpy.linalg.norm at 0", jnp.linalg.norm, (np.zeros(3),)),
        Case("jax.numpy.maximum, ties", jnp.maximum, (np.array([1.0, 2.0]), np.array([1.0, 3.0]))),
        Case("jax.numpy.sort", lambda x: jnp.sort(x, -1), (a,)),
        Case("jax.lax.sort, keys and values", lambda k, v: jax.lax.sort((k, v)), (a, b)),
        Case("jax.numpy.median", lambda x: jnp.median(x, -1), (a,)),
        Case("jax.numpy.quantile", lambda x: jnp.quantile(x, 0.3, -1), (a,)),
        Case("jax.numpy.interp", jnp.interp, interp_args()),
        Case("jax.numpy.std", lambda x: jnp.std(x, -1), (a,)),
        Case("jax.numpy.arctan2", jnp.arctan2, (a, b)),
        Case("jax.numpy.hypot", jnp.hypot, (a, b)),
        Case("jax.numpy.power", jnp.power, (np.abs(a) + 0.2, b)),
        Case("jax.numpy.power, base 0", lambda x: x**2.0, (np.array([0.0, 1.0, -2.0]),)),
        Case("jax.numpy.float_power", jnp.float_power, (np.abs(a) + 0.2, b)),
        Case("jax.numpy.prod", lambda x: jnp.prod(x, -1), (a,)),
        Case("jax.numpy.prod, one zero", jnp.prod, (np.array([0.0, 2.0, 3.0]),)),
        Case("jax.numpy.cumprod, a zero", jnp.cumprod, (np.array([1.5, 0.0, 3.0, 2.0]),)),
        Case("jax.numpy.fft.rfft", jnp.fft.rfft, (X,)),
        Case("jax.numpy.fft.irfft of rfft", lambda x: jnp.fft.irfft(jnp.fft.rfft(x) ** 2), (X,)),
    ]  # fmt: skip


def plain_softmax(x: jax.Array) -> jax.Array:
    """Softmax as one writes it."""
    return jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True)


def plain_log_softmax(x: jax.Array) -> jax.Array:
    """Its logarithm."""
    return x - plain_logsumexp(x)[..., None]


def plain_logsumexp(x: jax.Array) -> jax.Array:
    """Without the maximum taken off."""
    return jnp.log(jnp.exp(x).sum(-1))


def plain_logaddexp(x: jax.Array, y: jax.Array) -> jax.Array:
    """Without the maximum taken off."""
    return jnp.log(jnp.exp(x) + jnp.exp(y))


def masked_softmax(x: jax.Array) -> jax.Array:
    """Softmax of some entries of every row."""
    keep = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)
    return jax.nn.softmax(x, where=keep)


def interp_args() -> tuple[np.ndarray, ...]:
    """Points between and outside of the nodes."""
    return np.array([0.2, 1.7, 2.9, -1.0]), np.array([0.0, 1.0, 2.0, 3.0]), normal(4, 4)


def attention() -> list[Case]:
    """jax.nn.dot_product_attention, with its masks and groups."""

    def arrays(heads: int, groups: int) -> tuple[np.ndarray, ...]:
        return normal(5, 2, 5, heads, 4), normal(6, 2, 5, groups, 4), normal(7, 2, 5, groups, 4)

    f = jax.nn.dot_product_attention
    single = "its softmax is float32"
    bias = (uniform(8, -1, 1, 2, 2, 5, 5),)
    return [
        Case("jax.nn.dot_product_attention", f, arrays(2, 2), inexact=single),
        Case("jax.nn.dot_product_attention, causal", lambda q, k, v: f(q, k, v, is_causal=True),
             arrays(2, 2), inexact=single),
        Case("jax.nn.dot_product_attention, grouped", f, arrays(4, 2), inexact=single),
        Case("jax.nn.dot_product_attention, bias", f, arrays(2, 2) + bias, inexact=single),
    ]  # fmt: skip
