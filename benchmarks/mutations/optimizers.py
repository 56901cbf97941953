"""Optimizers as functions of a history: gradients [T, ...], params → updates [T, ...].

The parameters stay where they are, so that every update is a function of the gradients
so far. The library's optimizers and their mutants are compared with optax's where it has the
formula; what stands around an optimizer, with a formula written here; and what neither has
is right by definition, and only its mutants are judged.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from benchmarks.blocks import optax_optimizer, optimizers
from benchmarks.mutations.source import DROPPED, SIGN, edited, operations

T = 4  # steps
SIZES = ((3, 1), (7, 8), (31, 31), (127, 128), (511, 512))  # of w; b has the second
LOUDNESS = (0.5, 1.5, 2.0, 0.3)  # of the gradients, step by step: some are clipped
RATE, DECAY, BOUND = 0.05, 0.1, 1.0  # η, λ, and c in units of √(number of parameters)
SETTINGS = {  # numbers for which no mistake is hidden: ε is not negligible
    "momentum": 0.8, "b1": 0.8, "b2": 0.95, "rho": 0.9, "eps": 0.01, "weight_decay": DECAY,
}  # fmt: skip
OTHER = "another function"

Run = Callable[[Any, Any], Any]  # (history, params) → updates


class Wrong(NamedTuple):
    """An update rule with a mistake in it."""

    kinds: str  # the right diagnoses
    run: Callable[[], Run]


class Rule(NamedTuple):
    """One optimizer: the library's, another's or its formula, and what can be wrong with it."""

    name: str
    build: Callable[[], Any]  # → the library's
    other: Callable[[], Run] | None  # → that of optax, or the formula, where there is one
    mistakes: Callable[[], dict[str, Wrong]]


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


def around(name: str, build: Any, formula: Callable[[str], Run], mistakes: dict[str, str]) -> Rule:
    """What stands around an optimizer, with its formula: mistake → Run, "" without any."""
    wrongs = {
        what: Wrong(kinds, lambda what=what: formula(what)) for what, kinds in mistakes.items()
    }
    return Rule(name, build, lambda: formula(""), lambda: wrongs)


RIGHT = {  # by the kind of edit, what a person would say
    DROPPED: f"{OTHER}|missing term|penalty|factor",
    SIGN: f"{OTHER}|wrong term|penalty|factor",
}


def descent(name: str, optimizer: Any) -> Rule:
    """An optimizer whose mistakes are those of its own source and of its numbers."""
    twin = optax_optimizer(optimizer)
    other = None if twin is None else lambda: run_of(twin)
    return Rule(name, lambda: optimizer, other, lambda: spoiled(optimizer))


def spoiled(optimizer: Any) -> dict[str, Wrong]:
    """By what is wrong: every edit of its update that runs, and other numbers."""
    wrongs = {}
    for edit in operations(type(optimizer), "update"):
        if runs(edited(optimizer, edit)):
            kinds = RIGHT.get(edit.kind, RIGHT[SIGN])
            wrongs[edit.what] = Wrong(kinds, lambda e=edit: run_of(edited(optimizer, e)))
    for what, other in other_numbers(optimizer):
        wrongs[what] = Wrong(RIGHT[SIGN], lambda other=other: run_of(other))
    return wrongs


def other_numbers(optimizer: Any) -> Iterator[tuple[str, Any]]:
    """Every number of the optimizer squared, and exchanged with the next; one step ahead."""
    numbers = [f.name for f in fields(optimizer) if type(getattr(optimizer, f.name)) is float]
    for name in numbers:
        yield f"{name} squared", optimizer.with_fields(**{name: getattr(optimizer, name) ** 2})
    for a, b in itertools.pairwise(numbers):
        exchanged = {a: getattr(optimizer, b), b: getattr(optimizer, a)}
        yield f"{a} and {b} exchanged", optimizer.with_fields(**exchanged)
    state = optimizer.init(fnn.DenseParams(jnp.ones((2, 3)), jnp.ones(3)))
    if any(a.dtype == jnp.int32 for a in jax.tree.leaves(state)):
        yield "one step ahead", Ahead(optimizer)


class Ahead(NamedTuple):
    """An optimizer that counts its steps from 1."""

    optimizer: Any

    def init(self, params: Any) -> Any:
        """The state after a step that was none."""
        state = self.optimizer.init(params)
        return jax.tree.map(lambda a: a + 1 if a.dtype == jnp.int32 else a, state)

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        """That of the optimizer."""
        return self.optimizer.update(grads, state, params)


def runs(optimizer: Any) -> bool:
    """Whether the edited optimizer still makes updates like the gradients."""
    history, params = inputs(0, "float32")
    try:
        found = jax.eval_shape(run_of(optimizer), history, params)
    except (AttributeError, TypeError, ValueError):
        return False
    return jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(
        lambda a: (a.shape, a.dtype), history
    )


def clipped(history: Any, wrong: str = "") -> Any:
    """g min(1, c / ‖g‖), step by step."""
    size = sum(g[0].size for g in history)
    squares = [(g**2).reshape(T, -1).sum(1) for g in history]
    total = squares[0] + squares[1]
    bound = BOUND * size**0.5

    def leaf(g, own):
        norm = jnp.sqrt(own if wrong == "the norm of each leaf" else total)
        if wrong == "entry by entry":
            return jnp.clip(g, -BOUND, BOUND)
        scale = bound / (norm**2 if wrong == "the norm squared" else norm)
        scale = scale if wrong == "never left alone" else jnp.minimum(1, scale)
        return g * scale.reshape(-1, *[1] * (g.ndim - 1))

    return fnn.DenseParams(*(leaf(g, s) for g, s in zip(history, squares, strict=True)))


def clip(wrong: str) -> Run:
    """Clipping, then SGD."""
    return lambda history, params: jax.tree.map(lambda g: -RATE * g, clipped(history, wrong))


def chained(wrong: str) -> Run:
    """Clipping, then SGD, or the other way round."""
    if wrong == "the other way round":
        return lambda history, params: clipped(jax.tree.map(lambda g: -RATE * g, history))
    return lambda history, params: jax.tree.map(
        lambda g: -RATE * g, history if wrong == "not clipped" else clipped(history)
    )


def proximal(penalty: str) -> Callable[[str], Run]:
    """The proximal map after a step of SGD."""

    def shrunk(w, s):
        if penalty == "L1":
            return jnp.sign(w) * jnp.maximum(abs(w) - s, 0)
        return w / (1 + s)

    def wrongly(wrong):
        s = {"without η": DECAY, "− λ": -RATE * DECAY}.get(wrong, RATE * DECAY)
        s = 0.0 if wrong == "no map" else s

        def run(history, params):
            reached = params.w - RATE * history.w
            w = shrunk(reached, s) if wrong != "before the step" else (
                shrunk(params.w, s) - RATE * history.w
            )  # fmt: skip
            w = w if wrong == "where it is, not the way" else w - params.w
            b = params.b - RATE * history.b
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


def schedule(name: str, build: Any, rate: Any) -> Rule:
    """A schedule, through SGD."""
    late = f"{OTHER}|factor|one slice"
    wrongs = ("one step ahead", "one step behind", "the first rate for ever")
    return around(
        name, lambda: fnn.optim.Scheduled(fnn.optim.SGD(1.0), build()), scheduled(rate),
        dict.fromkeys(wrongs, late) if name != "Constant" else {},
    )  # fmt: skip


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


class Clipped(NamedTuple):
    """ClipByNorm with a bound in units of √size, whatever the size is."""

    behind: Any

    def init(self, params: Any) -> Any:
        """The state of the chain."""
        return self.chain(params).init(params)

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        """The update of the chain."""
        return self.chain(params).update(grads, state, params)

    def chain(self, params: Any) -> Any:
        """Clipping, and what comes behind it."""
        size = sum(p.size for p in jax.tree.leaves(params))
        return chain(BOUND * size**0.5, self.behind)


def chain(bound: float, behind: Any) -> Any:
    """Clipping, and what comes behind it."""
    return fnn.optim.Chain(fnn.optim.ClipByNorm(bound), behind)


def near(penalty: Any) -> Any:
    """SGD, then the proximal map of a penalty."""
    return fnn.optim.Proximal(fnn.optim.SGD(RATE), penalty)


RULES = (
    *[descent(name, optimizer) for name, optimizer in optimizers(RATE, **SETTINGS).items()],
    Rule("Foreign", lambda: fnn.optim.Foreign(*optax.sgd(RATE)),
         lambda: run_of(optax.sgd(RATE)), dict),
    around("ClipByNorm", lambda: Clipped(fnn.optim.SGD(RATE)), clip, CLIPPING),
    around("Chain", lambda: Clipped(fnn.optim.SGD(RATE)), chained,
           {"the other way round": OTHER, "not clipped": OTHER}),
    around("Proximal, L1", lambda: near(fnn.L1(DECAY)), proximal("L1"), PROXIMAL),
    around("Proximal, L2", lambda: near(fnn.L2(DECAY)), proximal("L2"), PROXIMAL),
    schedule("Constant", lambda: fnn.optim.Constant(0.2), lambda s: 0.2),
    schedule("StepDecay", lambda: fnn.optim.StepDecay(0.2, 0.5, 2),
             lambda s: 0.2 * 0.5 ** (s // 2)),
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
    return library(rule) if rule.other is None else rule.other()
