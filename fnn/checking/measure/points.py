"""The points at which a gradient is checked: where hand-written gradients hide their errors.

    as given    what the caller gave
    nearby 1/2  other values in the same range: every bias is non-zero, no symmetry is left
    far         inputs and dy × 100                near zero   inputs and dy × 10⁻⁴
    mirrored    inputs × −1                        zeros       inputs 0
    ties        inputs rounded to halves
    off the set like nearby, for an argument that lies on a set (`sets`), which nearby keeps
    float32     all values rounded to float32      bfloat16    rounded to bfloat16

All are float64, and made by numpy, which compiles nothing. dy has entries of size ½ to 1½ and
a random sign, so that every output counts at its own scale: an entry of the Jacobian that is
wrong shows for almost every dy.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.problem import Leaves, Problem
from fnn.checking.measure.sets import Membership, memberships
from fnn.numerics import is_floating

SMOOTH = ("as given", "nearby 1", "nearby 2")  # where a mistake is measured and explained
SPECIAL = {
    "far": lambda a: 100 * a,
    "near zero": lambda a: 1e-4 * a,
    "mirrored": lambda a: -a,
    "zeros": np.zeros_like,
    "ties": lambda a: np.round(2 * a) / 2,
}
LOW = ("float32", "bfloat16")
OFF = "off the set"
DY_SCALE = {"far": 100.0, "near zero": 1e-4}
QUICK = ("as given", "nearby 1", "zeros", "ties", "float32")


class Point(NamedTuple):
    """All leaves of a problem, and dy."""

    case: str
    leaves: Leaves
    dy: Leaves
    off: bool = False  # whether an argument has left the set on which it was given


def points(problem: Problem, y: Leaves, rng: np.random.Generator) -> list[Point]:
    """Every point, from the shapes of y."""
    inputs = set(problem.inputs or problem.wrt)
    given: list[Any] = [
        np.asarray(a) if i in problem.wrt else a for i, a in enumerate(problem.leaves)
    ]
    sets, cases = sets_of(problem), {}
    another = {member.leaf: member.kind.another for member in sets}

    def near(i, a, keep):
        if i not in problem.wrt:
            return a
        return another[i](a, rng) if keep and i in another else nearby(a, rng, i in inputs)

    for case in SMOOTH[1:]:
        cases[case] = [near(i, a, keep=True) for i, a in enumerate(given)]
    for case, change in SPECIAL.items():
        chosen = inputs & set(problem.wrt)
        cases[case] = [change(a) if i in chosen else a for i, a in enumerate(given)]
    for dtype in LOW:
        cases[dtype] = [rounded(a, dtype) for a in problem.leaves]
    if sets:
        cases[OFF] = [near(i, a, keep=False) for i, a in enumerate(given)]
    off = {
        case
        for case, leaves in cases.items()
        if case not in LOW and not all(m.kind.holds(leaves[m.leaf]) for m in sets)
    }
    every = {SMOOTH[0]: problem.leaves} | {c: [*map(jnp.asarray, a)] for c, a in cases.items()}
    return [
        Point(case, leaves, dy_for(problem, y, case, rng), case in off)
        for case, leaves in every.items()
    ]


def sets_of(problem: Problem) -> tuple[Membership, ...]:
    """The arguments of a function that lie on a set as given; a layer takes any x."""
    if problem.keeps_contract or problem.compares:
        return ()
    return memberships({i: np.asarray(problem.leaves[i]) for i in problem.wrt})


def dy_for(problem: Problem, y: Leaves, case: str, rng: np.random.Generator) -> Leaves:
    """A random dy, or 1 for a scalar function, in the dtypes of y."""
    if problem.one_dy:
        return [jnp.asarray(np.ones(a.shape, a.dtype)) for a in y]
    dy = [DY_SCALE.get(case, 1.0) * signed(a.shape, rng) for a in y]
    dy = [rounded(d, case) if case in LOW else d for d in dy]
    return [jnp.asarray(np.asarray(d, a.dtype)) for d, a in zip(dy, y, strict=True)]


def signed(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers of size ½ to 1½ and a random sign."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def nearby(a: np.ndarray, rng: np.random.Generator, inside: bool) -> np.ndarray:
    """Other values like those of a; with `inside`, in the range of a's own values.

    An interval is kept by mixing a with numbers drawn from it; a constant a is scaled.
    """
    u = signed(a.shape, rng)
    if a.size == 0:
        return a
    size = np.sqrt(np.mean(a**2))
    if inside and a.size > 1 and a.min() < a.max():
        return 0.7 * a + 0.3 * rng.uniform(a.min(), a.max(), a.shape)
    if inside and size > 0:
        return a * (1 - 0.2 * abs(u))
    return a + 0.3 * (size or 1.0) * u


def rounded(a: Any, dtype: str) -> Any:
    """a with its values rounded to dtype, in its own dtype again."""
    return np.asarray(a).astype(jnp.dtype(dtype)).astype(a.dtype) if is_floating(a) else a
