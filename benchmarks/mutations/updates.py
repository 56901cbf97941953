"""The optimizers' formulas with their mistakes, one leaf at a time.

`step(name, o, t, g, s, w, wrong)` → (update, state): the step t = 1, 2, ... of the optimizer
`name` for a gradient g, with the states s = (s₁, s₂), the parameter w and the settings o;
`wrong` names a mistake of MISTAKES_OF[name], "" none. What is right here is what the
library is compared with where optax has no such formula.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp


class Settings(NamedTuple):
    """Numbers for which no mistake is hidden: ε is not negligible."""

    rate: float = 0.05  # η
    momentum: float = 0.8  # μ
    b1: float = 0.8  # β₁
    b2: float = 0.95  # β₂
    rho: float = 0.9  # ρ
    eps: float = 0.01  # ε
    decay: float = 0.1  # λ
    bound: float = 1.0  # c, in units of √(number of parameters)


State = tuple[Any, Any]
OTHER = "another function"


def sgd(o, t, g, s, w, wrong):
    """−η g."""
    rate = {"η forgotten": 1.0, "η²": o.rate**2, "+ η g": -o.rate}.get(wrong, o.rate)
    return -rate * g, s


def heavy_ball(o, t, g, s, w, wrong):
    """v ← μ v + g, −η v."""
    old = s[0]
    mu = {"velocity not kept": 0.0, "μ²": o.momentum**2}.get(wrong, o.momentum)
    v = mu * old + ((1 - mu) * g if wrong == "(1 − μ) put in" else g)
    return -o.rate * (old if wrong == "the old velocity" else v), (v, s[1])


def average(o, t, g, s, w, wrong):
    """v ← μ v + (1 − μ) g, −η v."""
    v = o.momentum * s[0] + (g if wrong == "(1 − μ) forgotten" else (1 - o.momentum) * g)
    if wrong == "μ and 1 − μ exchanged":
        v = (1 - o.momentum) * s[0] + o.momentum * g
    return -o.rate * v, (v, s[1])


def nesterov(o, t, g, s, w, wrong):
    """v ← μ v + g, −η (μ v + g)."""
    v = o.momentum * s[0] + g
    ahead = {
        "no look ahead": v,
        "look ahead twice": o.momentum * (o.momentum * v + g) + g,
        "μ forgotten ahead": v + g,
    }
    return -o.rate * ahead.get(wrong, o.momentum * v + g), (v, s[1])


def rmsprop(o, t, g, s, w, wrong):
    """v ← ρ v + (1 − ρ) g², −η g / (√v + ε)."""
    v = o.rho * s[0] + (1.0 if wrong == "(1 − ρ) forgotten" else 1 - o.rho) * squared(g, wrong)
    return -o.rate * g / root(v, o.eps, wrong), (v, s[1])


def adagrad(o, t, g, s, w, wrong):
    """v ← v + g², −η g / (√v + ε)."""
    v = s[0] + squared(g, wrong)
    seen = v / t if wrong == "mean for sum" else v
    return -o.rate * g / root(seen, o.eps, wrong), (v, s[1])


def adadelta(o, t, g, s, w, wrong):
    """Δ = −√(u + ε) / √(v + ε) g."""
    v, u = s
    v = o.rho * v + (1 - o.rho) * squared(g, wrong)
    above, below = jnp.sqrt(u + o.eps), jnp.sqrt(v + o.eps)
    if wrong == "ε outside the roots":
        above, below = jnp.sqrt(u) + o.eps, jnp.sqrt(v) + o.eps
    if wrong == "upside down":
        above, below = below, above
    delta = -above / below * g
    moved = {"u of g": g, "Δ not squared": jnp.sqrt(abs(delta))}.get(wrong, delta)
    return delta, (v, o.rho * u + (1 - o.rho) * moved**2)


def adam(o, t, g, s, w, wrong):
    """−η m̂ / (√v̂ + ε)."""
    b1, b2 = (o.b2, o.b1) if wrong == "β₁ and β₂ exchanged" else (o.b1, o.b2)
    m = b1 * s[0] + (1.0 if wrong == "(1 − β₁) forgotten" else 1 - b1) * g
    v = b2 * s[1] + (1 - b2) * squared(g, wrong)
    steps = {"t from 0": t - 1 + 1e-3, "t ahead": t + 1, "t stays 1": 1 + 0 * t}.get(wrong, t)
    m_hat = m if wrong in ("m not corrected", "no correction") else m / (1 - b1**steps)
    v_hat = v if wrong in ("v not corrected", "no correction") else v / (1 - b2**steps)
    return -o.rate * m_hat / root(v_hat, o.eps, wrong), (m, v)


def adamw(o, t, g, s, w, wrong):
    """Adam − η λ w."""
    if wrong == "decay in the gradient":
        return adam(o, t, g + o.decay * w, s, w, "")
    update, s = adam(o, t, g, s, w, wrong)
    decay = {
        "decay forgotten": 0.0,
        "decay without η": o.decay * w,
        "decay × gradient": o.rate * o.decay * g,
        "the sign of the decay": -o.rate * o.decay * w,
    }.get(wrong, o.rate * o.decay * w)
    return update - decay, s


def squared(g: Any, wrong: str) -> Any:
    """g²."""
    return abs(g) if wrong == "g not squared" else g**2


def root(v: Any, eps: float, wrong: str) -> Any:
    """√v + ε."""
    wrongly = {"no root": v + eps, "ε inside the root": jnp.sqrt(v + eps), "no ε": jnp.sqrt(v)}
    return wrongly.get(wrong, jnp.sqrt(v) + eps)


STEPS: dict[str, Callable[..., tuple[Any, State]]] = {
    "SGD": sgd,
    "Momentum": heavy_ball,
    "Momentum, average": average,
    "Momentum, Nesterov": nesterov,
    "RMSProp": rmsprop,
    "AdaGrad": adagrad,
    "AdaDelta": adadelta,
    "Adam": adam,
    "AdamW": adamw,
}

ROOTS = {"g not squared": OTHER, "no root": OTHER, "ε inside the root": OTHER}
MISTAKES_OF: dict[str, dict[str, str]] = {  # mistake → right diagnoses
    "SGD": {"+ η g": "sign", "η forgotten": "factor", "η²": "factor"},
    "Momentum": {
        "(1 − μ) put in": "factor",
        "velocity not kept": f"{OTHER}|missing term",
        "μ²": f"{OTHER}|wrong term",
        "the old velocity": f"{OTHER}|rolled|missing term",
    },
    "Momentum, average": {
        "(1 − μ) forgotten": "factor",
        "μ and 1 − μ exchanged": f"{OTHER}|wrong term",
    },
    "Momentum, Nesterov": {
        "no look ahead": f"{OTHER}|missing term",
        "look ahead twice": f"{OTHER}|wrong term",
        "μ forgotten ahead": f"{OTHER}|wrong term",
    },
    "RMSProp": {**ROOTS, "(1 − ρ) forgotten": OTHER},
    "AdaGrad": {**ROOTS, "mean for sum": OTHER, "no ε": OTHER},
    "AdaDelta": {
        "g not squared": OTHER,
        "ε outside the roots": OTHER,
        "upside down": OTHER,
        "u of g": OTHER,
        "Δ not squared": OTHER,
    },
    "Adam": {
        **ROOTS,
        "m not corrected": OTHER,
        "v not corrected": OTHER,
        "no correction": OTHER,
        "t from 0": OTHER,
        "t ahead": OTHER,
        "t stays 1": OTHER,
        "(1 − β₁) forgotten": "factor",
        "β₁ and β₂ exchanged": OTHER,
        "no ε": OTHER,
    },
    "AdamW": {
        "decay on biases": f"penalty|{OTHER}",
        "decay in the gradient": OTHER,
        "decay forgotten": f"penalty|missing term|{OTHER}",
        "decay without η": f"penalty|wrong term|{OTHER}",
        "decay × gradient": f"{OTHER}|wrong term|missing term",
        "the sign of the decay": f"penalty|wrong term|{OTHER}",
    },
}
