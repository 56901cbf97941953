"""The first look: the plain errors, before anything is compared.

The forward runs twice and the backward once, without jit, so that a person's own errors
appear as they are. What is no question of right or wrong gradients is an error here: NaN
in the forward, a forward that answers differently when asked twice, a backward of another
tree or other shapes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from fnn.checking.compare import host
from fnn.checking.problem import Leaves, Problem


class Look(NamedTuple):
    """What the problem computes where it was given, without jit."""

    y: list[np.ndarray]
    gradient: list[np.ndarray]


def look(problem: Problem, dy: Leaves) -> Look:
    """Run everything once, without jit; raise a ValueError for what is plainly wrong."""
    y = host(problem.forward(problem.leaves))
    again = host(problem.forward(problem.leaves))
    for i, (a, b) in enumerate(zip(y, again, strict=True)):
        if not np.array_equal(a, b, equal_nan=True):
            where = tuple(np.argwhere(a != b)[0].tolist())
            raise ValueError(
                f"{problem.who}: forward is not deterministic: called twice it gave {a[where]} "
                f"and {b[where]} at index {list(where)} of output {i}; draw random numbers "
                "from a jax.random key that is given."
            )
        if not np.isfinite(a).all():
            raise ValueError(f"{problem.who}: {_not_finite(problem, i, a)}")
    try:
        gradient = problem.backward(problem.leaves, dy)
    except (TypeError, ValueError) as error:
        if str(error).startswith(problem.who):
            raise
        raise BackwardError(problem, error) from error
    return Look(y, host(gradient))


class BackwardError(Exception):
    """A backward that raises; a person's own error in it."""

    def __init__(self, problem: Problem, error: Exception):
        """The person's error."""
        first = (str(error).strip().splitlines() or [""])[0]
        super().__init__(f"{type(error).__name__}: {first}")
        self.who, self.error = problem.who, error
        self.what = "the function" if problem.compares else "backward"

    def plain(self) -> Exception:
        """The error to raise: of the same type, naming who."""
        kind = TypeError if isinstance(self.error, TypeError) else ValueError
        return kind(f"{self.who}: {self.what} fails with {self}")


def agrees(problem: Problem) -> bool:
    """Whether backward and reference agree at one random dy, if both run at all."""
    try:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(problem.forward, problem.leaves)
        dy = [jnp.asarray(rng.standard_normal(a.shape), a.dtype) for a in shapes]
        hand, truth = (host(f(problem.leaves, dy)) for f in (problem.backward, problem.reference))
    except Exception:  # sizes that the function refuses are no evidence
        return False
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(hand, truth, strict=True))


def _not_finite(problem: Problem, i: int, y: np.ndarray) -> str:
    """The sentence about an output that is not finite: where, and from which operation."""
    where = tuple(np.argwhere(~np.isfinite(y))[0].tolist())
    sentence = f"forward gives {y[where]} at index {list(where)} of output {i}"
    try:
        checked = checkify.checkify(problem.forward, errors=checkify.float_checks)
        error, _ = jax.jit(checked)(problem.leaves)
        message = error.get()
    except Exception:  # checkify cannot follow everything; the sentence stands without it
        message = None
    origin = f": {message.splitlines()[0].rstrip('.')}" if message else ""
    sizes = ", ".join(
        f"{name} in [{float(jnp.min(a)):.3g}, {float(jnp.max(a)):.3g}]"
        for name, a in zip(problem.names, (problem.leaves[i] for i in problem.wrt), strict=False)
        if a.size
    )
    return f"{sentence}{origin}. The inputs: {sizes}; check at a point inside the domain."
