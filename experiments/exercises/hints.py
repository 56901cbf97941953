"""What the checker found, in the words of somebody who is learning it.

A usual mistake of the exercise has its own hint, known by its numbers. Everything else is
told by the kind of the finding.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.exercises.exercise import Exercise

HINTS = {
    "zero": "It is zero everywhere. Does anything of {dy} arrive in {leaf}?",
    "sign": "Only the sign is wrong. Look for a minus that was lost, or is one too many.",
    "factor": "The form is right, the size is not. Which 2, 1/N or √n is missing, or twice there?",
    "transposed": "Write it with indices: {leaf} has those of {of}, in the same order.",
    "reversed": "The entries are right, in the wrong order.",
    "rolled": "The entries are right, but shifted. Look at your indices and slices.",
    "one entry": "All is right but one entry. Look at the ends: first and last index, ties.",
    "one slice": "All is right but one row or column. Look at the first and the last index.",
    "not summed": "All examples share {of}: its derivative is the sum over them.",
    "averaged": "Add up, do not average: where L is a mean, {dy} has its 1/N already.",
    "missing derivative": "A function lies in between: multiply by its derivative.",
    "extra derivative": "A derivative of an activation is multiplied in once too often.",
    "other activation": "The activation of another layer is in it. What was this layer's input?",
    "other weight": "The weights of another layer are in it. Through which w does it go back?",
    "missing term": "A term is missing: on how many ways does {of} reach the result?",
    "missing factor": "The other factor of a product is missing: (u v)′ has u′ v and u v′.",
    "dy": "{dy} enters as a factor: twice the {dy} gives twice the {leaf}, whatever {dy} is.",
    "wrong term": "All ways are there, one of them is wrong. Write each by itself.",
    "swapped": "It is the derivative of another argument. Is the order that of the docstring?",
    "penalty": "A multiple of the value itself is added; nothing in forward asks for it.",
    "nan": "NaN or ∞ comes out where forward is finite. What overflows, or is divided by 0?",
    "low precision": "It is right to a few digits only. Is a number rounded, or cast?",
    "batch": "Right for one example, wrong for several: what happens over the batch?",
    "sizes": "Right only where sizes are equal: two axes are mixed up.",
    "axis": "Wrong with one more axis: sum over all axes but the last.",
    "rows": "A row gets another result among others than alone. Which axis is summed?",
    "not a gradient": "No function has this gradient. Write it with indices, entry by entry.",
    "another function": "No simple slip explains it. Take one entry of one example, by hand.",
}


def recognised(exercise: Exercise, leaf: str, value: Any, args: Sequence[Any]) -> str | None:
    """The hint of the usual mistake that gives `value` for `leaf`; None where none does."""
    for mistake in exercise.mistakes:
        if mistake.leaf == leaf and equal(value, mistake.wrong(*args)):
            return mistake.hint
    return None


def equal(a: Any, b: Any) -> bool:
    """Whether two values are one up to rounding, NaN included."""
    if np.shape(a) != np.shape(b):
        return False
    a, b = np.asarray(a, float), np.asarray(b, float)
    scale = np.abs(b, where=np.isfinite(b), out=np.zeros_like(b)).max(initial=0)
    return np.allclose(a, b, rtol=1e-9, atol=1e-9 * scale, equal_nan=True)


def general(exercise: Exercise, leaf: str, kind: str) -> str | None:
    """The hint of a kind of finding; None for a kind that needs none."""
    if exercise.function != "backward" and kind == "missing term":
        return "A term is missing. Compare with the equations, one by one."
    *_, dy = inspect.signature(exercise.solution).parameters
    hint = HINTS.get(kind)
    return None if hint is None else hint.format(leaf=leaf, of=leaf.removeprefix("d"), dy=dy)


def shape(a: Any) -> str:
    """The shape of an array, or of each of several, in words."""
    shapes = [f"[{', '.join(map(str, np.shape(leaf)))}]" for leaf in jax.tree.leaves(a)]
    return " and ".join(shapes) or "nothing"
