"""One step of Adam, an update and no derivative.

Adam keeps two running means, of the gradient g and of its square, both 0 before step t = 1:

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²

Beginning at 0 makes them too small: after t steps with one and the same g, m is not g, but
g times a number c₁(t). Adam divides it out, as it does for v,

    m̂ = m / c₁(t)        v̂ = v / c₂(t)        update = −η m̂ / (√v̂ + ε)

with η, β₁, β₂, ε the constants below. Write the step: from g, m, v before the step and its
number t = 1, 2, ... return the update and the new m and v.

    1. Unroll m for a constant g, m = (1 − β₁) (1 + β₁ + ... + β₁ᵗ⁻¹) g, and sum the series.
    2. Check by hand: at t = 1 m̂ = g and v̂ = g², so the first update is −η, up to its sign.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw

LEARNING_RATE = 1e-3  # η
B1 = 0.9  # β₁
B2 = 0.999  # β₂
EPS = 1e-8  # ε


def step(g, m, v, t):
    """Return update [n], m [n], v [n]."""
    m = B1 * m + (1 - B1) * g
    v = B2 * v + (1 - B2) * g**2
    m_hat, v_hat = m / (1 - B1**t), v / (1 - B2**t)
    return -LEARNING_RATE * m_hat / (jnp.sqrt(v_hat) + EPS), m, v


def library(g, m, v, t):
    """The same by fnn's optimizer, which keeps s = √v."""
    adam, step = fnn.optim.Adam(), jnp.asarray(t - 1, jnp.int32)
    update, state = adam.update(g, adam.init(g)._replace(step=step, m=m, s=jnp.sqrt(v)))
    return update, state.m, state.s**2


def change(g, m, v, c1, c2, t):
    """The update with other corrections c₁ and c₂."""
    _, m, v = step(g, m, v, t)
    return -LEARNING_RATE * (m / c1) / (jnp.sqrt(v / c2) + EPS)


FIRST = draw(g=(5,), m=(5,), v=(5,))
LATER = FIRST | {"v": FIRST["v"] ** 2, "t": 3}
FIRST = FIRST | {"m": 0 * FIRST["m"], "v": 0 * FIRST["v"], "t": 1}

EXERCISE = Exercise(
    __name__,
    level=5,
    teaches="the bias correction",
    asked="update m v",
    varied="g m",
    function="step",
    cases=(FIRST, LATER),
    derivation="""\
m = (1 − β₁) (1 + β₁ + ... + β₁ᵗ⁻¹) g = (1 − β₁ᵗ) g        the geometric series
so c₁ = 1 − β₁ᵗ, and likewise c₂ = 1 − β₂ᵗ
Source: Kingma & Ba (2015), arXiv:1412.6980, algorithm 1 and section 3.""",
    library=library,
    file="fnn/optim/adam.py",
    mistakes=(
        Mistake(
            "update",
            "The correction is missing: divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ.",
            lambda g, m, v, t: change(g, m, v, 1, 1, t),
        ),
        Mistake(
            "update",
            "The correction must know the step: β₁ᵗ, not β₁.",
            lambda g, m, v, t: change(g, m, v, 1 - B1, 1 - B2, t),
        ),
        Mistake(
            "update",
            "Steps count from 1: at the first one t is 1, and the correction 1 − β₁.",
            lambda g, m, v, t: change(g, m, v, 1 - B1 ** (t + 1), 1 - B2 ** (t + 1), t),
        ),
        Mistake(
            "update",
            "An update is added to the parameters. To go downhill it needs a minus.",
            lambda g, m, v, t: -step(g, m, v, t)[0],
        ),
        Mistake(
            "update",
            "ε is added to the root, not under it.",
            lambda g, m, v, t: (
                change(g, m, v, 1 - B1**t, 1 - B2**t, t)
                * (jnp.sqrt(step(g, m, v, t)[2] / (1 - B2**t)) + EPS)
                / jnp.sqrt(step(g, m, v, t)[2] / (1 - B2**t) + EPS)
            ),
        ),
        Mistake(
            "m",
            "m̂ is for this update only. What is kept is m, before its correction.",
            lambda g, m, v, t: step(g, m, v, t)[1] / (1 - B1**t),
        ),
        Mistake(
            "v",
            "v is the running mean of g², not of g.",
            lambda g, m, v, t: B2 * v + (1 - B2) * g,
        ),
    ),
)
