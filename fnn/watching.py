"""Watch: what a step shows of its inside while it trains, at an interval.

Step number t = 1, 2, ... is watched where (t − 1) mod every = 0. Then the rules of the Watch see
the step's own pass, behind the rule that computes the gradients, and its functions what the
optimizer got and made; the other steps are those of a Plan without a Watch. The interval is data.

What is seen is one entry under "watch" of a row, {"step": t, name: result, ...}, each result nested
like the net. The structure is the same whatever the step: where it is not watched, "step" is 0 and
so are integers, floating numbers are NaN. A scan writes all of it as one array per dtype.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import by_path, check_interval, check_leaves, type_of
from fnn.layer import Layer
from fnn.numerics import concrete, is_floating
from fnn.records import Array, Data, PyTree, Static
from fnn.ruling import Given, Rule, check_rule, companion

Step = Callable[[Any, Any], tuple[Any, tuple[Any, ...]]]


@dataclass(frozen=True, init=False, repr=False)
class Watch(Data):
    """What to look at in every `every`-th step.

        fnn.Watch(fnn.rules.gradient_norms, fnn.rules.dead_units, every=10)
        fnn.Watch(largest=lambda layer, params, grads, updates: jax.tree.map(jnp.max, grads))

    Each is a rule, one with its companion, or a function (layer, params, grads, updates) → result,
    called at every leaf of the net with its entries: params before the update, the gradient that
    the optimizer got, what it adds. The names are theirs, or the keywords. `fit` with a Watch is a
    loop of which jax.grad has no derivative.

    Raises:
        TypeError: for what is neither rule nor function, for a rule that learns, a function without
            a name.
        ValueError: for nothing to look at, two of one name, a known interval not above 0.
    """

    what: tuple[Any, ...]  # a Rule, a Given, or the Static of a function
    every: int | Array
    names: tuple[str, ...] = field(metadata={"static": True})

    def __init__(self, /, *what: Any, every: int | Array = 10, **named: Any):
        """Look at these, every so many steps."""
        pairs = [(name_of(each), each) for each in what] + list(named.items())
        if not pairs:
            raise ValueError("Watch: give at least one rule or function to look at.")
        names = tuple(name for name, _ in pairs)
        for i, name in enumerate(names):
            if name in ("step", *names[:i]):
                fault = "is the number of a step" if name == "step" else "stands there twice"
                raise ValueError(f"Watch: {name!r} {fault}; choose another name, Watch(NAME=...).")
        check_interval("Watch", "every", every)
        object.__setattr__(self, "what", tuple(entry_of(each) for _, each in pairs))
        object.__setattr__(self, "every", every)
        object.__setattr__(self, "names", names)

    def __repr__(self) -> str:
        """As it was written."""
        return f"Watch({', '.join(self.names)}, every={self.every})"

    @property
    def rules(self) -> tuple[Rule | Given, ...]:
        """Those that see the pass."""
        return tuple(w for w in self.what if not isinstance(w, Static))

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of those that see gradients and updates."""
        pairs = zip(self.names, self.what, strict=True)
        return tuple(name for name, w in pairs if isinstance(w, Static))

    def due(self, step: Array) -> Array:
        """Whether the step behind `step` steps is watched; never, where the interval is not ≥ 1."""
        every = jnp.asarray(self.every).astype(step.dtype)
        return (every > 0) & (step % jnp.maximum(every, 1) == 0)

    def seen(
        self, net: Layer[Any, Any], found: tuple[PyTree, ...], moved: tuple[PyTree, ...]
    ) -> dict[str, PyTree]:
        """By name what the rules found, and functions make of moved, (params, grads, updates)."""
        results = iter(found)
        return {
            name: companion(net, w.value, *moved) if isinstance(w, Static) else next(results)
            for name, w in zip(self.names, self.what, strict=True)
        }


def name_of(entry: Any) -> str:
    """The name of a rule or a function."""
    entry = entry.rule if isinstance(entry, Given) else entry
    if isinstance(entry, Rule):
        return repr(entry)
    name = getattr(entry, "__name__", None)
    if callable(entry) and not isinstance(entry, type) and name in (None, "<lambda>"):
        raise TypeError(f"Watch: {entry!r:.60} has no name; give it one, Watch(NAME=...).")
    return str(name)


def entry_of(entry: Any) -> Any:
    """A rule as it is, a function as a static value."""
    if isinstance(entry, Rule | Given):
        (one,), _ = check_rule("Watch", entry)
        if one.learns:
            raise TypeError(
                f"Watch: {one} learns in every step; put it behind the rule of the plan, "
                "Plan(rule=(fnn.rules.backprop, ...))."
            )
        return entry
    if isinstance(entry, type) or not callable(entry):
        hint = f"; build it: {entry.__name__}(...)" if isinstance(entry, type) else ""
        raise TypeError(
            "Watch: give rules, or functions (layer, params, grads, updates), one by one, got "
            f"{entry!r:.60}{hint}."
        )
    check_takes_four(entry)
    return Static(entry)


def check_takes_four(f: Callable[..., Any]) -> None:
    """Raise a TypeError for a function that cannot be called as (layer, params, grads, updates)."""
    try:
        taken = inspect.signature(f)
    except ValueError:  # one that does not say what it takes
        return
    try:
        taken.bind(*range(4))
    except TypeError:
        name = getattr(f, "__name__", repr(f))
        raise TypeError(
            "Watch: a function must take (layer, params, grads, updates), got "
            f"{name}{taken!s:.80}; one that makes a rule is called, Watch({name}(...))."
        ) from None


@dataclass(frozen=True)
class Packed(Data):
    """A tree of arrays as one array per dtype, behind the axes that scans add."""

    arrays: tuple[Array, ...]
    form: Any = field(metadata={"static": True})  # of the tree, and (dtype, shape) of its leaves


def packed(tree: PyTree) -> Packed:
    """All arrays of one dtype end to end."""
    leaves, form = jax.tree.flatten(jax.tree.map(jnp.asarray, tree))
    kinds = tuple((a.dtype.name, a.shape) for a in leaves)
    arrays = (
        jnp.concatenate([a.reshape(-1) for a in leaves if a.dtype.name == dtype])
        for dtype in sorted({dtype for dtype, _ in kinds})
    )
    return Packed(tuple(arrays), (form, kinds))


def unpacked(p: Packed) -> PyTree:
    """The tree, with the axes of scans in front."""
    (form, kinds), leaves = p.form, []
    ends = dict.fromkeys(sorted({dtype for dtype, _ in kinds}), 0)
    arrays = dict(zip(ends, p.arrays, strict=True))
    for dtype, shape in kinds:
        start, ends[dtype] = ends[dtype], ends[dtype] + math.prod(shape)
        a = arrays[dtype][..., start : ends[dtype]]
        leaves.append(a.reshape(*a.shape[:-1], *shape))
    return jax.tree.unflatten(form, leaves)


def shown(f: Callable[..., tuple[Any, dict[str, Any]]]) -> Callable[..., Any]:
    """`f` → (state, row), what was watched unpacked: behind all scans."""

    @functools.wraps(f)
    def run(*args, **options):
        state, row = f(*args, **options)
        return state, {n: unpacked(v) if isinstance(v, Packed) else v for n, v in row.items()}

    return run


def nothing(like: Packed) -> Packed:
    """What a step shows that is not watched: NaN, and 0 of integers."""

    def leaf(a):
        return jnp.full(a.shape, jnp.nan if is_floating(a) else 0, a.dtype)

    return jax.tree.map(leaf, like)


def by_turns(
    watch: Watch, watched: Step, between: Step, state: Any, batches: PyTree
) -> tuple[Any, tuple[Any, Any]]:
    """A scan of steps over batches: the last state, what all steps gave, and what was seen.

    A step is (state, batch) → (state, (given, seen)), seen being {} of one that is not watched.
    Two loops take turns, so that a state stays where it is, which behind a branch is copied.
    """
    first = jax.tree.map(lambda a: a[0], batches)
    n, (_, like) = len(jax.tree.leaves(batches)[0]), jax.eval_shape(watched, state, first)

    def put(rows, i, row):
        return jax.tree.map(lambda a, b: a.at[i].set(b), rows, row) if row else rows

    def loop(step, wanted):
        def body(carry):
            i, state, kept = carry
            state, new = step(state, jax.tree.map(lambda a: a[i], batches))
            return i + 1, state, tuple(put(a, i, b) for a, b in zip(kept, new, strict=True))

        return lambda carry: jax.lax.while_loop(
            lambda carry: (carry[0] < n) & (watch.due(carry[1].step) == wanted), body, carry
        )

    given, seen = jax.tree.map(lambda a: jnp.zeros((n, *a.shape), a.dtype), like)
    turns, others = loop(watched, True), loop(between, False)
    begin = jnp.zeros((), jnp.int32), state, (given, nothing(seen))
    _, state, kept = jax.lax.while_loop(
        lambda carry: carry[0] < n, lambda carry: turns(others(carry)), begin
    )
    return state, kept


def watched(seen: dict[str, PyTree]) -> dict[str, PyTree]:
    """history["watch"], or that of a row, of the watched steps alone, on one first axis.

    The axes of epochs and steps become one, and what was not watched is left out.

    Raises:
        TypeError: for what is not the "watch" of a row or of a history, or is not known yet.
        ValueError: for arrays without the axes of "step", by path.
    """
    if not isinstance(seen, dict) or "step" not in seen:
        raise TypeError(
            f'watched: seen must be the entry "watch" of a history, got {type_of(seen)}.'
        )
    check_leaves("watched", "seen", seen)
    step = concrete(seen["step"])
    if step is None or step.dtype.kind != "i":
        raise TypeError(f"watched: seen.step must be known integers, got {seen['step']!r:.60}.")
    for path, a in by_path("seen", seen).items():
        if a.shape[: step.ndim] != step.shape:
            raise ValueError(
                f"watched: {path} must begin with the axes of seen.step, {list(step.shape)}, "
                f"got {list(a.shape)}."
            )
    kept = np.flatnonzero(step.reshape(-1))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[step.ndim :])[kept], seen)
