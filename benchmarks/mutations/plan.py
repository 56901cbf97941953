"""Which mistakes are made where: every kind in every block that it fits, at some sizes.

A kind is tried at `TIMES` of the sizes (and, in a net, of the arrays) that it fits, chosen
by a fixed rotation, so that all sizes have their share.
"""

import functools
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.mutations.formulas import slips
from benchmarks.mutations.mistakes import MISTAKES, Place
from benchmarks.mutations.mutants import HIDDEN, AtLeaf, Hidden, Inside, Wrong
from benchmarks.mutations.routes import routes
from benchmarks.mutations.subjects import SUBJECTS, Point, Subject, point
from fnn.errors import dotted

TIMES = {"activation": 1, "loss": 1, "penalty": 1, "layer": 1, "net": 1}
FORMULA_TIMES = 1  # mistakes in formulas and routes
IN_NETS = ("zero", "sign", "× 2", "÷ N", "one entry zeroed", "bfloat16 inside")


class Case(NamedTuple):
    """One mutant: a mistake in a block of some size."""

    subject: str
    level: int
    wrong: Wrong


def cases(subject: Subject, level: int) -> list[Case]:
    """Every mistake that fits the block at this size."""
    at = abstract(subject, level)
    found: list[Wrong] = [*at_leaves(at)]
    if not isinstance(at.block, fnn.Penalty):
        found += slips(at.block)
        found += routes(at.block, at.params, at.x)
        found += inner(at)
    if level == subject.levels[0] and subject.family in ("activation", "layer"):
        found += hidden(at)
    return [Case(subject.name, level, wrong) for wrong in found]


def hidden(at: Point) -> list[Hidden]:
    """A mistake in dx that the forward's own derivative makes, too."""
    leaf, place = len(jax.tree.leaves(at.params)), places(at)[-1]
    if at.key is not None or not jnp.issubdtype(jnp.result_type(at.x), jnp.floating):
        return []
    return [Hidden(row, AtLeaf("× 1.01", leaf, place)) for row in HIDDEN]


def abstract(subject: Subject, level: int) -> Point:
    """The block with the shapes of its arrays."""
    block = subject.build(level)
    x, target = subject.draw(level, np.random.default_rng(0))
    params = None
    if isinstance(block, fnn.Layer):
        params = jax.eval_shape(block.init, jax.random.key(0))
    if isinstance(block, fnn.Penalty):
        params = fnn.DenseParams(x, jnp.ones(3))
    return Point(block, params, x, target, jax.random.key(0) if subject.key else None)


def at_leaves(at: Point) -> list[AtLeaf]:
    """The general mistakes, in every array of the gradient."""
    found = []
    for leaf, place in enumerate(places(at)):
        found += [AtLeaf(m.name, leaf, place) for m in MISTAKES.values() if m.fits(place)]
    return found


def places(at: Point) -> list[Place]:
    """The arrays of the gradient."""
    shape = np.shape(at.x)
    if isinstance(at.block, fnn.Penalty):
        tree, labels, batch, positions, n_out = (at.params,), ("params",), 0, 0, 0
    elif isinstance(at.block, fnn.Loss):
        tree, labels, batch, n_out = (at.x,), ("y",), shape[0], shape[-1]
        positions = int(np.prod(shape[1:-1]))
    else:
        tree, labels, batch = (at.params, at.x), ("params", "x"), shape[0]
        if not jnp.issubdtype(jnp.result_type(at.x), jnp.floating):  # tokens have no gradient
            tree = (at.params,)
        y = jax.eval_shape(at.block.forward, at.params, at.x, key=at.key)[0]
        positions, n_out = int(np.prod(shape[1:-1])), y.shape[-1]
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [
        Place(dotted(labels[p[0].idx], p[1:]), np.shape(a), batch, positions, n_out)
        for p, a in paths
    ]


def inner(at: Point) -> list[Inside]:
    """Mistakes in one layer of a Serial: some general ones in its dx, and its formula's."""
    if not isinstance(at.block, fnn.Serial):
        return []
    found, x = [], at.x
    for i, layer in enumerate(at.block.layers):
        here = Point(layer, at.params[i], x, None, None)
        place = places(here)[-1]
        leaf = len(jax.tree.leaves(at.params[i]))
        found += [
            Inside(i, AtLeaf(name, leaf, place)) for name in IN_NETS if MISTAKES[name].fits(place)
        ]
        if not leaf:
            found += [Inside(i, s) for s in slips(layer) if s.row.startswith("a term")]
        y = jax.eval_shape(layer.forward, at.params[i], x)[0]
        x = np.zeros(y.shape)
    return found


def plan(only: tuple[str, ...] = (), *, quick: bool = False) -> list[Case]:
    """The chosen mutants of all subjects, or of those whose name begins with one of `only`."""
    wanted = [name for name in SUBJECTS if not only or name.startswith(only)]
    chosen = [case for name in wanted for case in chosen_of(name)]
    return smallest(chosen) if quick else chosen


@functools.cache
def chosen_of(name: str) -> list[Case]:
    """The chosen mutants of one subject; its jobs know them by their place in this list."""
    subject = SUBJECTS[name]
    groups: dict[Any, list[Case]] = {}
    for level in subject.levels:
        for case in cases(subject, level):
            groups.setdefault(group(subject, case.wrong), []).append(case)
    chosen = []
    for key, several in groups.items():
        general = isinstance(several[0].wrong, AtLeaf)
        times = TIMES[subject.family] if general else FORMULA_TIMES
        start = zlib.crc32(f"{subject.name} {key}".encode())
        stride = max(1, len(several) // times)
        picks = {(start + i * stride) % len(several) for i in range(times)}
        chosen += [several[i] for i in sorted(picks)]
    return sorted(chosen, key=lambda case: case.level)


def group(subject: Subject, wrong: Wrong) -> Any:
    """Mistakes of one group are the same mistake at another size or, in a net, place."""
    if isinstance(wrong, AtLeaf):
        return wrong.row if subject.family == "net" else (wrong.row, wrong.what)
    if isinstance(wrong, Inside):
        return "inside", wrong.row, str(wrong.wrong.what) if wrong.row not in MISTAKES else ""
    return type(wrong).__name__, wrong.row, getattr(wrong, "how", wrong.what)


def smallest(chosen: list[Case]) -> list[Case]:
    """The first few of every kind, at the smallest size that it has."""
    kept, counts = [], {}
    mixed = sorted(chosen, key=lambda c: (c.level, zlib.crc32(f"{c.subject} {c.wrong}".encode())))
    for case in mixed:
        n = counts[case.wrong.row] = counts.get(case.wrong.row, 0) + 1
        if n <= 3:
            kept.append(case)
    return kept


def place_of(case: Case, seed: int = 0) -> Point:
    """The block of a case with numbers, in the dtype where the mistake shows."""
    dtype = getattr(case.wrong, "dtype", "float64")
    return point(SUBJECTS[case.subject], case.level, dtype, seed)
