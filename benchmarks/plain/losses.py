"""Losses as one writes them for autodiff: optax, or the textbook formula."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

import fnn
from benchmarks.blocks import optax_loss


@functools.singledispatch
def plain_losses(loss: Any, y: jax.Array, target: jax.Array) -> jax.Array:
    """One number per row of y, by optax where it has the loss, else by the loss's own forward."""
    twin = optax_loss(loss)
    if twin is None:
        return loss.forward(y, target)[0]
    return getattr(loss, "scale", 1) * twin(y, target).sum(-1)


@plain_losses.register
def _(loss: fnn.AbsoluteError, y, target):
    """Sum of magnitudes."""
    return jnp.abs(y - target).sum(-1)


@plain_losses.register
def _(loss: fnn.BinaryCrossEntropy, y, target):
    """As in a textbook."""
    return -(target * jnp.log(y) + (1 - target) * jnp.log1p(-y)).sum(-1)


@plain_losses.register
def _(loss: fnn.CrossEntropy, y, target):
    """As in a textbook, for labels or rows of probabilities."""
    if target.ndim == y.ndim:
        return -(target * jnp.log(y)).sum(-1)
    return -jnp.log(jnp.take_along_axis(y, target[..., None], -1)[..., 0])


@plain_losses.register
def _(loss: fnn.KLDivergence, y, target):
    """optax, of what log_softmax makes."""
    return optax.kl_divergence(jax.nn.log_softmax(y), target)


@plain_losses.register
def _(loss: fnn.CTC, y, target):
    """optax, which takes the padding apart."""
    padded = (target == loss.padding).astype(y.dtype)
    here = jnp.zeros(y.shape[:2], y.dtype)
    with jax.numpy_dtype_promotion("standard"):
        return optax.ctc_loss(y, here, jnp.maximum(target, 0), padded, blank_id=loss.blank)


@plain_losses.register
def _(loss: fnn.InfoNCE, y, target):
    """Cross-entropy of the scores, where all examples differ."""
    q, k = y[:, 0], y[:, 1]
    if loss.cosine:
        q, k = (a / jnp.linalg.norm(a, axis=-1, keepdims=True) for a in (q, k))
    s = q @ k.T / loss.temperature
    own = jnp.arange(len(s))
    losses = optax.softmax_cross_entropy_with_integer_labels(s, own)
    if not loss.symmetric:
        return losses
    return (losses + optax.softmax_cross_entropy_with_integer_labels(s.T, own)) / 2


@plain_losses.register
def _(loss: fnn.SoftmaxFocal, y, target):
    """As in a textbook, for labels or rows of probabilities."""
    log_p = jax.nn.log_softmax(y)
    each = -((1 - jnp.exp(log_p)) ** loss.gamma) * log_p
    if target.ndim == y.ndim:
        return (target * each).sum(-1)
    return jnp.take_along_axis(each, target[..., None], -1)[..., 0]


@plain_losses.register
def _(loss: fnn.GaussianNLL, y, target):
    """As in a textbook."""
    m, s = jnp.split(y, 2, -1)
    return 0.5 * (s + (m - target) ** 2 * jnp.exp(-s)).sum(-1)


@plain_losses.register
def _(loss: fnn.ELBO, y, target):
    """As in a textbook."""
    guess, code = y
    m, s = jnp.split(code, 2, -1)
    kl = 0.5 * (m**2 + jnp.exp(s) - 1 - s).sum(-1)
    return plain_losses(loss.reconstruction, guess, target) + loss.beta * kl


@plain_losses.register
def _(loss: fnn.PoissonNLL, y, target):
    """As in a textbook."""
    return (jnp.exp(y) - target * y).sum(-1)


@plain_losses.register
def _(loss: fnn.SoftmaxCrossEntropy, y, target):
    """optax, in at least float32; smoothed labels as rows. Factored logits come whole here."""
    y = y if y.dtype.itemsize >= 4 else y.astype(jnp.float32)
    if target.ndim < y.ndim and loss.label_smoothing == 0:
        return optax.softmax_cross_entropy_with_integer_labels(y, target)
    rows = jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype) if target.ndim < y.ndim else target
    return optax.softmax_cross_entropy(y, optax.smooth_labels(rows, loss.label_smoothing))
