"""Rules of rlax: clipped gradients, losses, transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import rlax  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal, uniform

X, Y = normal(1, 5), normal(2, 5)
LOGITS = normal(3, 4, 3)
ACTIONS = np.array([0, 2, 1, 2])


def cases() -> list[Case]:
    """Functions of numbers, then losses."""
    cut = "targets are behind stop_gradient"
    return [
        Case("rlax.clip_gradient", lambda x: rlax.clip_gradient(x, -0.5, 0.5), (X,),
             intended="the cotangent is clipped"),
        Case("rlax.clip_gradient, wide", lambda x: rlax.clip_gradient(x, -1e6, 1e6), (X,)),
        Case("rlax.huber_loss", rlax.huber_loss, (X,)),
        Case("rlax.signed_hyperbolic", rlax.signed_hyperbolic, (X,)),
        Case("rlax.signed_parabolic", rlax.signed_parabolic, (X,)),
        Case("rlax.signed_logp1", rlax.signed_logp1, (X,)),
        Case("rlax.signed_expm1", rlax.signed_expm1, (X,)),
        Case("rlax.power", lambda x: rlax.power(x, 1.5), (np.abs(X) + 0.1,)),
        Case("rlax.sigmoid", rlax.sigmoid, (X,)),
        Case("rlax.logit", rlax.logit, (uniform(4, 0.1, 0.9, 4),)),
        Case("rlax.transform_to_2hot", lambda x: rlax.transform_to_2hot(x, -3.0, 3.0, 7), (X,)),
        Case("rlax.transform_from_2hot", lambda p: rlax.transform_from_2hot(p, -3.0, 3.0, 3),
             (uniform(5, 0.1, 0.9, 4, 3),)),
        Case("rlax.l2_loss", rlax.l2_loss, (X, Y)),
        Case("rlax.log_loss", rlax.log_loss, (uniform(6, 0.1, 0.9, 4), uniform(7, 0.1, 0.9, 4))),
        Case("rlax.entropy_loss", lambda x: rlax.entropy_loss(x, jnp.ones(4)), (LOGITS,)),
        Case("rlax.policy_gradient_loss", policy_gradient, (LOGITS, normal(8, 4)), intended=cut),
        Case("rlax.lambda_returns", lambda r, v: rlax.lambda_returns(r, jnp.full(5, 0.9), v, 0.8),
             (X, Y)),
        Case("rlax.vtrace", vtrace, (X, Y), intended=cut),
        Case("rlax.td_learning", rlax.td_learning,
             tuple(np.array(a) for a in (0.3, 0.7, 0.9, 1.4)), intended=cut),
        Case("rlax.categorical_l2_project", project, (jax.nn.softmax(normal(9, 5)),)),
        Case("rlax.quantile_regression_loss", quantile, (X, Y), intended=cut),
        Case("rlax.straight_through_multinomial", straight, (X,), only_here=True,
             intended="straight-through"),
    ]  # fmt: skip


def policy_gradient(logits: jax.Array, advantage: jax.Array) -> jax.Array:
    """The loss of four actions."""
    return rlax.policy_gradient_loss(logits, jnp.asarray(ACTIONS), advantage, jnp.ones(4))


def vtrace(v: jax.Array, r: jax.Array) -> jax.Array:
    """Errors of V-trace."""
    return rlax.vtrace(v, v + 0.1, r, jnp.full(5, 0.9), jnp.full(5, 0.8))


def project(p: jax.Array) -> jax.Array:
    """A distribution moved to other atoms."""
    return rlax.categorical_l2_project(jnp.linspace(-1.0, 1.3, 5), p, jnp.linspace(-2.0, 2.0, 6))


def quantile(x: jax.Array, target: jax.Array) -> jax.Array:
    """The loss of quantiles, Huber's form."""
    return rlax.quantile_regression_loss(x, jnp.linspace(0.1, 0.9, 5), target, 1.0)


def straight(logits: jax.Array) -> jax.Array:
    """A sampled action that goes back as its probabilities."""
    d = rlax.softmax()
    p = d.probs(logits)
    return p + jax.lax.stop_gradient(jax.nn.one_hot(d.sample(jax.random.key(0), logits), 5) - p)
