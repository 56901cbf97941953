"""Layer norm: mean 0 and variance 1 for every row.

    μ = mean x        v = mean (x − μ)²        x̂ = (x − μ) / √(v + ε)        y = x̂ scale + b

The means run over the n features of each row; scale and b, which all rows share, give every
feature a size and a place of its own. Write dx, dscale and db.

    1. scale and b are as in a dense layer: what is shared is summed.
    2. Let dx̂ = dy scale. x̂ depends on x_k in three ways: directly, through μ, through v.
    3. With s = √(v + ε): ∂μ/∂x_k = 1/n and ∂s/∂x_k = x̂_k / n. Nothing else is needed.
"""

import jax.numpy as jnp

from experiments.exercises.exercise import Exercise, Mistake, draw

EPS = 1e-5


def forward(x, scale, b):
    """x [B, n], scale [n], b [n] → y [B, n]."""
    return normalized(x)[0] * scale + b


def normalized(x):
    """x̂ [B, n] and s = √(v + ε) [B, 1]."""
    r = x - x.mean(-1, keepdims=True)
    s = jnp.sqrt((r**2).mean(-1, keepdims=True) + EPS)
    return r / s, s


def backward(x, scale, b, dy):
    """Return dx [B, n], dscale [n], db [n]."""
    x_hat, s = normalized(x)
    dx_hat = dy * scale
    along = (dx_hat * x_hat).mean(-1, keepdims=True)
    dx = (dx_hat - dx_hat.mean(-1, keepdims=True) - x_hat * along) / s
    return dx, (dy * x_hat).sum(0), dy.sum(0)


def library(x, scale, b, dy):
    """The same in longhand: each row's Jacobian, ∂x̂/∂x = (I − 11ᵀ/n − x̂ x̂ᵀ/n) / s."""
    x_hat, s = normalized(x)
    n = x.shape[-1]
    jacobian = (jnp.eye(n) - 1 / n - x_hat[:, :, None] * x_hat[:, None, :] / n) / s[:, :, None]
    return jnp.einsum("ij,ijk->ik", dy * scale, jacobian), (dy * x_hat).sum(0), dy.sum(0)


EXERCISE = Exercise(
    __name__,
    level=3,
    teaches="three paths from x to y",
    asked="dx dscale db",
    cases=(draw(x=(5, 4), scale=(4,), b=(4,)),),
    derivation="""\
∂x̂_j/∂x_k = (1{j=k} − 1/n) / s − (x_j − μ) / s² · ∂s/∂x_k
∂s/∂x_k   = (1/2s) (2/n) Σ_i (x_i − μ) (1{i=k} − 1/n) = (x_k − μ) / (n s) = x̂_k / n
∂x̂_j/∂x_k = (1{j=k} − 1/n − x̂_j x̂_k / n) / s
dx = (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)) / s        dscale = Σ dy x̂        db = Σ dy
Source: Ba, Kiros & Hinton (2016), arXiv:1607.06450, section 3.""",
    library=library,
    mistakes=(
        Mistake(
            "dx",
            "μ and v are functions of x too. This is dx with both held fixed.",
            lambda x, scale, b, dy: dy * scale / normalized(x)[1],
        ),
        Mistake(
            "dx",
            "The path through v is missing: the term with x̂ mean(dx̂ x̂).",
            lambda x, scale, b, dy: (
                (dy * scale - (dy * scale).mean(-1, keepdims=True)) / normalized(x)[1]
            ),
        ),
        Mistake(
            "dx",
            "scale is missing in dx: it is x̂ that is normalized, so begin with dx̂ = dy scale.",
            lambda x, scale, b, dy: backward(x, 1 + 0 * scale, b, dy)[0],
        ),
        Mistake(
            "dscale",
            "scale multiplies x̂, not x.",
            lambda x, scale, b, dy: (dy * x).sum(0),
        ),
        Mistake(
            "db",
            "All rows share b: add up dy over the rows.",
            lambda x, scale, b, dy: dy,
        ),
    ),
)
