"""The checker for functions: of a gradient, of a vector-Jacobian product, of any two."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fnn.checking.explain.verdict import judge
from fnn.checking.measure.building import as_leaf, flatten, from_vjp, like
from fnn.checking.measure.double import double
from fnn.checking.measure.problem import Leaves, Problem, Tree, traced
from fnn.checking.report import Report, in_words
from fnn.numerics import is_floating
from fnn.records import integer


def check_gradient(
    f: Callable[..., Array],
    grad: Callable[..., Tree],
    *args: Tree,
    argnums: int | tuple[int, ...] = 0,
    seed: int = 0,
    quick: bool = False,
) -> Report:
    """Check a hand-written gradient of a scalar function, in float64.

    Args:
        f: f(*args) → a scalar, in JAX or numpy.
        grad: grad(*args) → the gradient as jax.grad(f, argnums) gives it: like args[argnums],
            or a tuple of such for a tuple of argnums.
        args: where to check, pytrees of arrays; other points are made from it.
        argnums: the arguments that are differentiated.
        seed: of the generated cases.
        quick: try fewer cases, in about a third of the time; the report names the others.

    Raises:
        ValueError: for a gradient of another tree or other shapes, an f that is not scalar,
            not finite or not deterministic.
        TypeError: for inputs or outputs without a derivative, complex ones too, and for an f
            that JAX cannot trace and that is not numpy's.
    """
    check_asked("check_gradient", seed, f=f, grad=grad)
    chosen = places(argnums, len(args))
    with double():
        who, names = f"check_gradient of {name_of(f)}", names_of(f, args)
        values, names = (tuple(several[i] for i in chosen) for several in (args, names))
        scalar, backward = as_vjp(who, f, grad, args, chosen)
        problem = from_vjp(who, scalar, backward, values, names, one_dy=True)
        return in_words(judge(problem, seed, quick=quick))


def check_vjp(
    f: Callable[..., Tree],
    backward: Callable[..., Tree],
    *args: Tree,
    seed: int = 0,
    quick: bool = False,
) -> Report:
    """Check a hand-written backward of a function of any shape, in float64.

    A derivative that f brings itself (custom_vjp, custom_jvp) is not believed: see Report.

    Args:
        f: f(*args) → y, in JAX or numpy; args and y are pytrees of arrays. What else is in
            args (strings, flags, whole numbers, functions) stays as it is.
        backward: backward(*args, dy) → one cotangent for each argument, as a tuple (alone,
            if there is one argument). That of an integer array, and of what is no array, may
            be None.
        args: where to check; other points are made from it.
        seed: of the generated cases.
        quick: try fewer cases, in about a third of the time; the report names the others.

    Raises:
        ValueError: for cotangents of another tree or other shapes, an f that is not finite
            or not deterministic.
        TypeError: for inputs or outputs without a derivative, complex ones too, and for an f
            that JAX cannot trace and that is not numpy's.
    """
    check_asked("check_vjp", seed, f=f, backward=backward)
    with double():
        who, names = f"check_vjp of {name_of(f)}", names_of(f, args)
        problem = from_vjp(who, f, backward, args, names, mixes_examples=True)
        problem = replace(problem, batched=batch_of(problem))
        return in_words(judge(problem, seed, quick=quick))


def check_same(
    f: Callable[..., Tree],
    reference: Callable[..., Tree],
    *args: Tree,
    seed: int = 0,
    quick: bool = False,
) -> Report:
    """Check a function against another one that is known to be right.

    For formulas that are no derivatives: an optimizer's update, a forward pass. The cases,
    the tolerances and the diagnosis are those of `check_vjp`.

    Args:
        f: f(*args) → a pytree of arrays.
        reference: the same by other means.
        args: where to compare; other points are made from it.
        seed: of the generated cases.
        quick: try fewer cases, in about a third of the time; the report names the others.

    Raises:
        ValueError: where the results differ in tree or shape.
        TypeError: for a function that JAX cannot trace.
    """
    check_asked("check_same", seed, f=f, reference=reference)
    who = f"check_same of {name_of(f)}"
    with double():
        names, leaves, tree = flatten(args, names_of(f, args))
        leaves = [as_leaf(who, name, leaf) for name, leaf in zip(names, leaves, strict=True)]
        return in_words(judge(comparison(who, f, reference, leaves, tree), seed, quick=quick))


def check_asked(owner: str, seed: Any, **functions: Any) -> None:
    """Raise unless the seed is an integer of at least 0 and the functions are such."""
    for name, f in functions.items():
        if not callable(f):
            raise TypeError(f"{owner}: {name} must be a function, got {f!r:.60}.")
    if integer(f"{owner}: seed", seed) < 0:
        raise ValueError(f"{owner}: seed must be at least 0, got {seed}.")


def places(argnums: Any, n: int) -> tuple[int, ...]:
    """The places that argnums names among n arguments; −1 is the last, as in jax.grad."""
    several = argnums if isinstance(argnums, tuple | list) else (argnums,)
    chosen = [integer("check_gradient: argnums", i) for i in several]
    if not chosen or any(not -n <= i < n for i in chosen):
        raise ValueError(f"check_gradient: argnums must be from 0 to {n - 1}, got {argnums}.")
    return tuple(i % n for i in chosen)


def as_vjp(
    who: str, f: Any, grad: Any, args: tuple[Tree, ...], chosen: tuple[int, ...]
) -> tuple[Callable[..., Array], Callable[..., Tree]]:
    """f and its gradient as functions of the chosen arguments alone, and of dy."""

    def every(values):
        changed = dict(zip(chosen, values, strict=True))
        return [changed.get(i, a) for i, a in enumerate(args)]

    def scalar(*values):
        y = f(*every(values))
        if jnp.shape(y) != ():
            raise ValueError(
                f"{who}: f must return one number, got shape {list(jnp.shape(y))}; "
                "check_vjp takes functions of any shape."
            )
        return y

    def backward(*values_and_dy):
        *values, dy = values_and_dy
        g = grad(*every(values))
        return jax.tree.map(lambda a: a * jnp.asarray(dy).astype(jnp.asarray(a).dtype), g)

    return scalar, backward


def batch_of(problem: Problem) -> tuple[int, ...]:
    """The leaves whose first axis is the batch, so far as shapes tell; () if there is none."""
    forward, leaves = problem.forward, problem.leaves
    y = jax.eval_shape(forward, leaves)
    n = y[0].shape[0] if y and y[0].ndim else 0
    rows = tuple(i for i, a in enumerate(leaves) if a.ndim > 1 and a.shape[0] == n)
    if n < 2 or not rows or any(a.shape[:1] != (n,) for a in y):
        return ()
    try:
        one = jax.eval_shape(forward, [a[:1] if i in rows else a for i, a in enumerate(leaves)])
    except Exception:  # then these leaves do not share a batch
        return ()
    same = all(a.shape == (1, *b.shape[1:]) for a, b in zip(one, y, strict=True))
    return rows if same else ()


def comparison(who: str, f: Any, reference: Any, leaves: Leaves, tree: Any) -> Problem:
    """The problem of two functions of the same leaves."""
    args = tree.unflatten(leaves)
    want = traced(who, reference, args)
    traced(who, f, args)
    names, _, _ = flatten((want,), ("result",))
    for name, a in zip(names, jax.tree.leaves(reference(*args)), strict=True):
        if not np.isfinite(np.asarray(a)).all():
            raise ValueError(f"{who}: the reference is not finite, in {name}; take other inputs.")

    def ours(leaves, dy):
        got = f(*tree.unflatten(leaves))
        return like(who, "", (got,), (want,), ("result",), names)

    def theirs(leaves, dy):
        return [jnp.asarray(a) for a in jax.tree.leaves(reference(*tree.unflatten(leaves)))]

    wrt = tuple(i for i, a in enumerate(leaves) if is_floating(a))
    return Problem(who, leaves, wrt, tuple(names), lambda leaves: [], ours, theirs, compares=True)


def name_of(f: Any) -> str:
    """The name of a function."""
    return getattr(f, "__name__", None) or type(f).__name__


def names_of(f: Any, args: tuple[Any, ...]) -> tuple[str, ...]:
    """The names of f's arguments, args[i] where it has none."""
    numbered = tuple(f"args[{i}]" for i in range(len(args)))
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return numbered
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return tuple(positional[: len(args)]) if len(positional) >= len(args) else numbered
