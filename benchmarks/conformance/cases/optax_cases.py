"""Rules of optax: losses, projections, perturbations, scaled gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import losses, perturbations, projections

from benchmarks.conformance.case import Case, normal

LOGITS, X = normal(1, 3, 4), normal(2, 5)
LABELS = np.array([2, 0, 1])
SIGNS = np.array([1, 0, 1, 1, 0])
SOFT = jax.nn.softmax(normal(3, 3, 4))


def cases() -> list[Case]:
    """Losses, then the others."""
    soft = np.asarray(SOFT, float)
    return [
        *of_losses(soft),
        Case("optax.projections.projection_simplex", projections.projection_simplex, (X,)),
        Case("optax.projections.projection_l1_ball", projections.projection_l1_ball, (X,)),
        Case("optax.projections.projection_l2_ball", projections.projection_l2_ball, (2 * X,)),
        Case("optax.projections.projection_box", lambda x: projections.projection_box(x, -0.5, 0.5),
             (X,)),
        Case("optax.projections.projection_hypercube", projections.projection_hypercube, (X,)),
        Case("optax.projections.projection_halfspace",
             lambda x, a: projections.projection_halfspace(x, a, 0.1), (X, np.abs(normal(4, 5)))),
        Case("optax.scale_gradient, 0.5", lambda x: optax.scale_gradient(x, 0.5), (X,),
             intended="the gradient is scaled"),
        Case("optax.scale_gradient, 1", lambda x: optax.scale_gradient(x, 1.0), (X,)),
        Case("optax.perturbations.make_perturbed_fun", perturbed, (X,),
             intended="an estimator", only_here=True),
        Case("optax.global_norm", optax.global_norm, (X,)),
        Case("optax.safe_norm", lambda x: optax.safe_norm(x, 1e-3), (X,)),
        Case("optax.safe_root_mean_squares", lambda x: optax.safe_root_mean_squares(x, 1e-3), (X,)),
    ]  # fmt: skip


def of_losses(soft: np.ndarray) -> list[Case]:
    """The losses whose derivative is written by hand, or goes through such a function."""
    zeros = np.where(np.arange(12).reshape(3, 4) % 4 == 1, 0.0, soft)
    return [
        Case("optax.losses.sparsemax_loss", lambda x: losses.sparsemax_loss(x, SIGNS), (X,)),
        Case("optax.losses.make_fenchel_young_loss",
             lambda x: losses.make_fenchel_young_loss(logsumexp)(x, soft[0]), (LOGITS[0],)),
        Case("optax.losses.weighted_logsoftmax", losses.safe_softmax_cross_entropy, (LOGITS, soft),
             plain=lambda x, w: -(w * jax.nn.log_softmax(x)).sum(-1)),
        Case("optax.losses.weighted_logsoftmax, weights of 0", losses.safe_softmax_cross_entropy,
             (LOGITS, zeros), plain=lambda x, w: -(w * jax.nn.log_softmax(x)).sum(-1)),
        Case("optax.losses.softmax_cross_entropy", losses.softmax_cross_entropy, (LOGITS, soft)),
        Case("optax.losses.softmax_cross_entropy_with_integer_labels",
             lambda x: losses.softmax_cross_entropy_with_integer_labels(x, LABELS), (LOGITS,)),
        Case("optax.losses.sigmoid_binary_cross_entropy",
             lambda x: losses.sigmoid_binary_cross_entropy(x, SIGNS), (X,)),
        Case("optax.losses.sigmoid_focal_loss",
             lambda x: losses.sigmoid_focal_loss(x, SIGNS), (X,)),
        Case("optax.losses.poly_loss_cross_entropy",
             lambda x: losses.poly_loss_cross_entropy(x, soft), (LOGITS,)),
        Case("optax.losses.kl_divergence", losses.kl_divergence, (LOGITS, soft)),
        Case("optax.losses.convex_kl_divergence", losses.convex_kl_divergence, (LOGITS, soft)),
        Case("optax.losses.huber_loss", losses.huber_loss, (X, normal(5, 5))),
        Case("optax.losses.log_cosh", losses.log_cosh, (X, normal(5, 5))),
        Case("optax.losses.cosine_similarity", losses.cosine_similarity, (LOGITS, soft)),
        Case("optax.losses.hinge_loss", lambda x: losses.hinge_loss(x, 2 * SIGNS - 1), (X,)),
        Case("optax.losses.ctc_loss", ctc, (normal(6, 2, 5, 4),)),
        Case("optax.losses.triplet_margin_loss", losses.triplet_margin_loss,
             (LOGITS, normal(7, 3, 4), normal(8, 3, 4))),
        Case("optax.losses.ranking_softmax_loss",
             lambda x: losses.ranking_softmax_loss(x, soft), (LOGITS,)),
        Case("optax.losses.ntxent", lambda x: losses.ntxent(x, LABELS[[0, 1, 0]]), (LOGITS,)),
    ]  # fmt: skip


def logsumexp(scores: Any, *args: Any, **kwargs: Any) -> Any:
    """The convex function behind cross-entropy."""
    return jax.nn.logsumexp(scores, *args, **kwargs)


def argmax(x: Any) -> Any:
    """The position of the largest entry, one-hot."""
    return jax.nn.one_hot(jnp.argmax(x), 5)


def ctc(logits: jax.Array) -> jax.Array:
    """Connectionist temporal classification of two short sequences."""
    padding = jnp.zeros((2, 5)).at[1, 4].set(1.0)
    labels, empty = jnp.array([[1, 2], [3, 0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    return losses.ctc_loss(logits, padding, labels, empty)


def perturbed(x: jax.Array) -> Any:
    """An argmax smoothed by noise of one key."""
    f = perturbations.make_perturbed_fun(argmax, num_samples=50, sigma=0.5)
    return f(jax.random.key(0), x)
