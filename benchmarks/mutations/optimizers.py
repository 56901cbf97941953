"""Optimizers as functions of a history: gradients [T, ...], params → updates [T, ...].

The parameters stay where they are, so that every update is a function of the gradients
so far. The library's optimizers are compared with optax's where it has the formula, else
with the one written here; so are the mutants.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from benchmarks.mutations.updates import MISTAKES_OF, OTHER, STEPS, Settings

T = 4  # steps
SIZES = ((3, 1), (7, 8), (31, 31), (127, 128), (511, 512))  # of w; b has the second
LOUDNESS = (0.5, 1.5, 2.0, 0.3)  # of the gradients, step by step: some are clipped
O = Settings()

Run = Callable[[Any, Any], Any]  # (history, params) → updates


class Rule(NamedTuple):
    """One optimizer, three times: the library's, another's, and a formula that can be wrong."""

    name: str
    build: Callable[[], Any]  # → the library's
    other: Callable[[], Any] | None  # → optax's, where it has one
    formula: Callable[[str], Run]  # mistake → the formula with it
    mistakes: dict[str, str]  # mistake → right diagnoses


def inputs(level: int, dtype: str = "float64", seed: int = 0) -> tuple[Any, Any]:
    """A history of gradients, and parameters."""
    rng, (n, m) = np.random.default_rng([seed, level]), SIZES[level]
    history = [rng.standard_normal((T, *shape)) * loud(shape) for shape in ((n, m), (m,))]
    params = [rng.standard_normal(shape) for shape in ((n, m), (m,))]
    args = [fnn.DenseParams(*(jnp.asarray(a, dtype) for a in both)) for both in (history, params)]
    return args[0], args[1]


def loud(shape: tuple[int, ...]) -> np.ndarray:
    """How large the gradient of a step is."""
    return np.array(LOUDNESS).reshape(-1, *[1] * len(shape))


def run_of(optimizer: Any) -> Run:
    """The updates of an optimizer, the library's or optax's, along a history."""

    def run(history, params):
        def step(state, grads):
            updates, state = optimizer.update(grads, state, params)
            return state, updates

        return jax.lax.scan(step, optimizer.init(params), history)[1]

    return run


def leafwise(name: str, o: Settings = O) -> Callable[[str], Run]:
    """The formula of STEPS[name] in every leaf."""

    def wrongly(wrong):
        def run(history, params):
            return fnn.DenseParams(
                *(along(g, w, k == "w", wrong)
                  for k, g, w in zip("wb", history, params, strict=True))
            )  # fmt: skip

        return run

    def along(gradients, w, is_weight, wrong):
        state, updates = (jnp.zeros_like(w), jnp.zeros_like(w)), []
        here = o if is_weight or wrong == "decay on biases" else o._replace(decay=0.0)
        for t in range(1, T + 1):
            update, state = STEPS[name](here, t, gradients[t - 1], state, w, wrong)
            updates.append(update)
        return jnp.stack(updates)

    return wrongly


def clipped(history: Any, wrong: str = "") -> Any:
    """g min(1, c / ‖g‖), step by step."""
    size = sum(g[0].size for g in history)
    squares = [(g**2).reshape(T, -1).sum(1) for g in history]
    total = squares[0] + squares[1]
    bound = O.bound * size**0.5

    def leaf(g, own):
        norm = jnp.sqrt(own if wrong == "the norm of each leaf" else total)
        if wrong == "entry by entry":
            return jnp.clip(g, -O.bound, O.bound)
        scale = bound / (norm**2 if wrong == "the norm squared" else norm)
        scale = scale if wrong == "never left alone" else jnp.minimum(1, scale)
        return g * scale.reshape(-1, *[1] * (g.ndim - 1))

    return fnn.DenseParams(*(leaf(g, s) for g, s in zip(history, squares, strict=True)))


def clip(wrong: str) -> Run:
    """Clipping, then SGD."""
    return lambda history, params: jax.tree.map(lambda g: -O.rate * g, clipped(history, wrong))


def clip_momentum(wrong: str) -> Run:
    """Clipping, then Momentum, or the other way round."""
    momentum = leafwise("Momentum")("")
    if wrong == "the other way round":
        return lambda history, params: clipped(momentum(history, params))
    if wrong == "not clipped":
        return momentum
    return lambda history, params: momentum(clipped(history), params)


def proximal(penalty: str) -> Callable[[str], Run]:
    """The proximal map after a step of SGD."""

    def shrunk(w, s):
        if penalty == "L1":
            return jnp.sign(w) * jnp.maximum(abs(w) - s, 0)
        return w / (1 + s)

    def wrongly(wrong):
        s = {"without η": O.decay, "− λ": -O.rate * O.decay}.get(wrong, O.rate * O.decay)
        s = 0.0 if wrong == "no map" else s

        def run(history, params):
            reached = params.w - O.rate * history.w
            w = shrunk(reached, s) if wrong != "before the step" else (
                shrunk(params.w, s) - O.rate * history.w
            )  # fmt: skip
            w = w if wrong == "where it is, not the way" else w - params.w
            b = params.b - O.rate * history.b
            b = shrunk(b, s) if wrong == "biases too" else b
            return fnn.DenseParams(w, b - params.b)

        return run

    return wrongly


def scheduled(rate: Callable[[Any], Any]) -> Callable[[str], Run]:
    """−η(s) g with the rate of a schedule."""

    def wrongly(wrong):
        steps = np.arange(T, dtype=np.float64)
        shift = {"one step ahead": 1.0, "one step behind": -1.0}.get(wrong, 0.0)
        steps = 0 * steps if wrong == "the first rate for ever" else np.maximum(steps + shift, 0)
        rates = np.array([float(rate(s)) for s in steps])

        def leaf(g):
            return -g * jnp.asarray(rates, g.dtype).reshape(-1, *[1] * (g.ndim - 1))

        return lambda history, params: jax.tree.map(leaf, history)

    return wrongly


def cosine(s: float, rate: float, n: float, final: float) -> float:
    """η₁ + (η − η₁) (1 + cos(π s / n)) / 2."""
    return final + (rate - final) * (1 + np.cos(np.pi * min(s / n, 1))) / 2


def warmup(s: float) -> float:
    """A line for two steps, then a cosine for four."""
    return 0.01 + (0.2 - 0.01) * s / 2 if s < 2 else cosine(s - 2, 0.2, 4, 0.02)


def leaf_rule(name: str, build: Any, other: Any = None) -> Rule:
    """An optimizer whose formula is in STEPS."""
    return Rule(name, build, other, leafwise(name), MISTAKES_OF[name])


def schedule(name: str, build: Any, rate: Any) -> Rule:
    """A schedule, through SGD."""
    late = f"{OTHER}|factor"
    wrongs = ("one step ahead", "one step behind", "the first rate for ever")
    return Rule(
        name, lambda: fnn.optim.Scheduled(fnn.optim.SGD(1.0), build()), None, scheduled(rate),
        dict.fromkeys(wrongs, late) if name != "Constant" else {},
    )  # fmt: skip


def weights(params: Any) -> Any:
    """Which leaves decay."""
    return params._replace(w=True, b=False)


PROXIMAL = {
    "without η": f"{OTHER}|penalty|wrong term",
    "− λ": f"{OTHER}|penalty|wrong term",
    "no map": f"{OTHER}|penalty|missing term",
    "before the step": OTHER,
    "where it is, not the way": f"penalty|{OTHER}|missing term|wrong term",
    "biases too": f"{OTHER}|penalty|wrong term",
}
CLIPPING = {
    "the norm of each leaf": f"{OTHER}|factor",
    "entry by entry": OTHER,
    "the norm squared": f"{OTHER}|one slice",
    "never left alone": f"{OTHER}|one slice",
}
L1_PROXIMAL = Rule("Proximal, L1", lambda: fnn.optim.Proximal(fnn.optim.SGD(O.rate), fnn.L1(O.decay)),
                   None, proximal("L1"), PROXIMAL)  # fmt: skip
L2_PROXIMAL = Rule("Proximal, L2", lambda: fnn.optim.Proximal(fnn.optim.SGD(O.rate), fnn.L2(O.decay)),
                   None, proximal("L2"), PROXIMAL)  # fmt: skip


class Clipped(NamedTuple):
    """clip_by_norm with a bound in units of √size, whatever the size is."""

    behind: Any
    make: Any

    def init(self, params: Any) -> Any:
        """The state of the chain."""
        return self.chain(params).init(params)

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        """The update of the chain."""
        return self.chain(params).update(grads, state, params)

    def chain(self, params: Any) -> Any:
        """Clipping, and what comes behind it."""
        size = sum(p.size for p in jax.tree.leaves(params))
        return self.make(O.bound * size**0.5, self.behind)


def ours(bound: float, behind: Any) -> Any:
    """The library's chain."""
    return fnn.optim.Chain(fnn.optim.ClipByNorm(bound), behind)


def optax_chain(bound: float, behind: Any) -> Any:
    """The chain of optax."""
    return optax.chain(optax.clip_by_global_norm(bound), behind)


RULES = (
    leaf_rule("SGD", lambda: fnn.optim.SGD(O.rate), lambda: optax.sgd(O.rate)),
    leaf_rule("Momentum", lambda: fnn.optim.Momentum(O.rate, O.momentum),
              lambda: optax.sgd(O.rate, O.momentum)),
    leaf_rule("Momentum, average", lambda: fnn.optim.Momentum(O.rate, O.momentum, average=True)),
    leaf_rule("Momentum, Nesterov", lambda: fnn.optim.Momentum(O.rate, O.momentum, nesterov=True),
              lambda: optax.sgd(O.rate, O.momentum, nesterov=True)),
    leaf_rule("RMSProp", lambda: fnn.optim.RMSProp(O.rate, O.rho, O.eps),
              lambda: optax.rmsprop(O.rate, O.rho, O.eps, eps_in_sqrt=False)),
    leaf_rule("AdaGrad", lambda: fnn.optim.AdaGrad(O.rate, O.eps)),
    leaf_rule("AdaDelta", lambda: fnn.optim.AdaDelta(1.0, O.rho, O.eps),
              lambda: optax.adadelta(1.0, O.rho, O.eps)),
    leaf_rule("Adam", lambda: fnn.optim.Adam(O.rate, O.b1, O.b2, O.eps),
              lambda: optax.adam(O.rate, O.b1, O.b2, O.eps)),
    leaf_rule("AdamW", lambda: fnn.optim.AdamW(O.rate, O.b1, O.b2, O.eps, O.decay),
              lambda: optax.adamw(O.rate, O.b1, O.b2, O.eps, weight_decay=O.decay, mask=weights)),
    Rule("Foreign", lambda: fnn.optim.Foreign(*optax.sgd(O.rate)), lambda: optax.sgd(O.rate),
         leafwise("SGD"), {}),
    Rule("clip_by_norm", lambda: Clipped(fnn.optim.SGD(O.rate), ours),
         lambda: Clipped(optax.sgd(O.rate), optax_chain), clip, CLIPPING),
    Rule("chain", lambda: Clipped(fnn.optim.Momentum(O.rate, O.momentum), ours),
         lambda: Clipped(optax.sgd(O.rate, O.momentum), optax_chain), clip_momentum,
         {"the other way round": OTHER, "not clipped": OTHER}),
    L1_PROXIMAL,
    L2_PROXIMAL,
    schedule("Constant", lambda: fnn.optim.Constant(0.2), lambda s: 0.2),
    schedule("StepDecay", lambda: fnn.optim.StepDecay(0.2, 0.5, 2), lambda s: 0.2 * 0.5 ** (s // 2)),
    schedule("ExponentialDecay", lambda: fnn.optim.ExponentialDecay(0.2, 0.5, 2),
             lambda s: 0.2 * 0.5 ** (s / 2)),
    schedule("CosineDecay", lambda: fnn.optim.CosineDecay(0.2, 6, 0.02),
             lambda s: cosine(s, 0.2, 6, 0.02)),
    schedule("WarmupCosine", lambda: fnn.optim.WarmupCosine(0.2, 2, 6, 0.01, 0.02), warmup),
)  # fmt: skip


def library(rule: Rule) -> Run:
    """The library's optimizer along a history."""
    return run_of(rule.build())


def reference(rule: Rule) -> Run:
    """What it is compared with."""
    return run_of(rule.other()) if rule.other else rule.formula("")
