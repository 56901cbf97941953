"""Which mistakes are made in which optimizer, and the functions that contain them."""

import functools
import zlib
from typing import NamedTuple

import jax
import numpy as np

import fnn
from benchmarks.mutations.mistakes import MISTAKES, Place, spoiled
from benchmarks.mutations.mutants import AtLeaf, differ, fitting
from benchmarks.mutations.optimizers import (
    RULES,
    SIZES,
    Rule,
    Run,
    T,
    inputs,
    library,
    reference,
)

ROW = "in an update rule"
NO_UPDATE = ("not a gradient", "wrong in float32", "wrong in bfloat16")


class InRule(NamedTuple):
    """A mistake in the formula of an optimizer."""

    what: str
    kinds: tuple[str, ...]
    row: str = ROW
    says: str = ""


class RuleCase(NamedTuple):
    """One mutant of an optimizer."""

    rule: Rule
    level: int
    wrong: AtLeaf | InRule


@functools.cache
def cases_of(name: str) -> list[RuleCase]:
    """The mutants of one optimizer: every mistake at one size."""
    (rule,) = (r for r in RULES if r.name == name)
    found = []
    for what, wrong in rule.mistakes().items():
        level = zlib.crc32(f"{name} {what}".encode()) % 4
        found.append(RuleCase(rule, level, InRule(what, tuple(wrong.kinds.split("|")))))
    for mistake in MISTAKES.values():
        turn = zlib.crc32(f"{name} {mistake.name}".encode())
        options = [
            RuleCase(rule, level, AtLeaf(mistake.name, leaf, place))
            for level in range(len(SIZES))
            for leaf, place in enumerate(places(level))
            if mistake.name not in NO_UPDATE and mistake.fits(place)
        ]
        found += [options[turn % len(options)]] if options else []
    return found


def places(level: int) -> list[Place]:
    """The arrays of the updates."""
    n, m = SIZES[level]
    return [Place(".w", (T, n, m), 0, 0, 0), Place(".b", (T, m), 0, 0, 0)]


def mutated(case: RuleCase) -> Run:
    """The optimizer with the mistake."""
    if isinstance(case.wrong, InRule):
        return case.rule.mistakes()[case.wrong.what].run()
    wrong, right = case.wrong, library(case.rule)

    def run(history, params):
        value = jax.tree.leaves(params)[wrong.leaf]
        return spoiled(wrong.name, wrong.leaf, wrong.place, right, (history, params), value)

    return run


def guilty_of(case: RuleCase) -> dict[str, list[str]]:
    """The updates that the mutant gets wrong, and what fits them."""
    right, wrong = jax.jit(reference(case.rule)), jax.jit(mutated(case))
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in (0, 7):
        args = inputs(case.level, seed=seed)
        for name, a, b in zip(fnn.DenseParams._fields, right(*args), wrong(*args), strict=True):
            pairs.setdefault(f".{name}", []).append((np.asarray(a), np.asarray(b)))
    return {
        n: fitting(several) for n, several in pairs.items()
        if any(differ(*p, 1e-12) for p in several)
    }  # fmt: skip
