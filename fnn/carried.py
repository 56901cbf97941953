"""What the rules of a Plan carry from step to step, and what looks on beside them in a pass.

A rule that learns has a companion in the State, of several rules a tuple, None of one that does not
learn; the rules of a Watch come behind those of the plan and learn nothing.
"""

from collections.abc import Iterable
from typing import Any

from fnn.driver import Pass, many
from fnn.records import PyTree
from fnn.rules.running import averaged
from fnn.ruling import Given


def learned(rule: Any) -> PyTree:
    """The companions of the rules that learn, of several a tuple; None where none learns."""
    if many(rule):
        return carried(map(learned, rule))
    return rule.companion if isinstance(rule, Given) and rule.rule.learns else None


def carried(companions: Iterable[PyTree]) -> PyTree:
    """The companions of several rules; None where none has any."""
    found = tuple(companions)
    return None if all(c is None for c in found) else found


def grown(rule: Any, companion: PyTree) -> Any:
    """The rule with the companion that it has learned so far."""
    if many(rule):
        each = (None,) * len(rule) if companion is None else companion
        return tuple(grown(r, c) for r, c in zip(rule, each, strict=True))
    learns = isinstance(rule, Given) and rule.rule.learns
    return rule._replace(companion=companion) if learns else rule


def next_companion(rule: Any, companion: PyTree) -> PyTree:
    """What the next State keeps of the companions that a pass returned."""
    if many(rule):
        return carried(next_companion(r, c) for r, c in zip(rule, companion, strict=True))
    return companion if isinstance(rule, Given) and rule.rule.learns else None


def averages_in(rule: Any, companion: PyTree) -> PyTree:
    """The running averages among the companions of a State; None where no rule gathers any."""
    if many(rule):
        each = (None,) * len(rule) if companion is None else companion
        found = (averages_in(r, c) for r, c in zip(rule, each, strict=True))
        return next((a for a in found if a is not None), None)
    return companion if isinstance(rule, Given) and rule.rule == averaged else None


def beside(rule: Any, looking: tuple[Any, ...]) -> Any:
    """The rule with those of a Watch behind it."""
    if not looking:
        return rule
    return (*(rule if many(rule) else (rule,)), *looking)


def apart(done: Pass, rule: Any, looking: tuple[Any, ...]) -> tuple[Pass, tuple[PyTree, ...]]:
    """The Pass as the rule alone had it, and what those of a Watch found."""
    if not looking:
        return done, ()
    n = len(rule) if many(rule) else 1
    own = done._replace(result=done.result[:n], companion=done.companion[:n])
    if not many(rule):
        own = own._replace(result=own.result[0], companion=own.companion[0])
    return own, done.result[n:]
