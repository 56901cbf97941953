"""The first run, without jit: the plain errors, before anything is compared.

The forward runs twice and the backward once, so that a person's own errors appear as they
are. What is no question of right or wrong gradients is an error here: NaN in the forward, a
forward that answers differently when asked twice, a backward of another tree or other shapes.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from fnn.checking.measure.comparison import host
from fnn.checking.measure.problem import Leaves, Problem


class BackwardError(Exception):
    """A backward that raises; a person's own error in it."""

    def __init__(self, problem: Problem, error: Exception):
        """The person's error."""
        super().__init__(first_line(error))
        self.who, self.error = problem.who, error
        self.what = "the function" if problem.compares else "backward"

    def plain(self) -> Exception:
        """The error to raise: of the same type, naming who."""
        kind = TypeError if isinstance(self.error, TypeError) else ValueError
        return kind(f"{self.who}: {self.what} fails with {self}")


def first_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def reason(error: Exception) -> str:
    """What a function raises, also from inside a callback: the last error that is named."""
    named = re.findall(r"^[\w.]*(?:Error|Exception): .+", str(error), re.MULTILINE)
    return named[-1][:200] if named else first_line(error)[:200]


def eager(problem: Problem, dy: Leaves) -> list[np.ndarray]:
    """The hand-written gradient without jit; a ValueError for what is plainly wrong."""
    y, again = (host(problem.forward(problem.leaves)) for _ in range(2))
    for i, (a, b) in enumerate(zip(y, again, strict=True)):
        if not np.array_equal(a, b, equal_nan=True):
            where = tuple(np.argwhere(a != b)[0].tolist())
            raise ValueError(
                f"{problem.who}: forward is not deterministic: called twice it gave {a[where]} "
                f"and {b[where]} at index {list(where)} of output {i}; draw random numbers "
                "from a jax.random key that is given."
            )
    check_finite(problem, y)
    return host(guarded(problem, lambda: problem.backward(problem.leaves, dy)))


def guarded(problem: Problem, run: Callable[[], Any]) -> Any:
    """run(); a BackwardError for a person's own TypeError or ValueError in it."""
    try:
        return run()
    except (TypeError, ValueError) as error:
        if str(error).startswith(problem.who):
            raise
        raise BackwardError(problem, error) from error


def check_finite(problem: Problem, y: list[np.ndarray]) -> None:
    """Raise a ValueError for an output that is not finite: where, and from which operation."""
    bad = [(i, np.argwhere(~np.isfinite(a))) for i, a in enumerate(y) if not np.isfinite(a).all()]
    if not bad:
        return
    i, where = bad[0][0], tuple(bad[0][1][0].tolist())
    sentence = f"{problem.who}: forward gives {y[i][where]} at index {list(where)} of output {i}"
    try:
        checked = checkify.checkify(problem.forward, errors=checkify.float_checks)
        message = jax.jit(checked)(problem.leaves)[0].get()
    except Exception:  # checkify cannot follow everything; the sentence stands without it
        message = None
    origin = f": {message.splitlines()[0].rstrip('.')}" if message else ""
    sizes = ", ".join(
        f"{name} in [{float(jnp.min(a)):.3g}, {float(jnp.max(a)):.3g}]"
        for name, a in zip(problem.names, (problem.leaves[i] for i in problem.wrt), strict=False)
        if a.size
    )
    raise ValueError(
        f"{sentence}{origin}. The inputs: {sizes}; check at a point inside the domain."
    )


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
