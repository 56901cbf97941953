"""Kronecker factors of the Fisher matrix as a rule, and its diagonal where there are none.

What the blocks are is said in fnn/kronecker.py; they are those of the empirical Fisher matrix,

    F = Σ_b s_b vec(g_b) vec(g_b)ᵀ        g_b of example b's own loss, s_b its share in the loss

from the δ of the pass itself: δ_b = s_b times that of the example's own loss, so that sums over
δ_b² are divided by s_b. A rule that learns gives the gradient as its result and the blocks as its
next companion, of one way through the layer.

Source: Martens & Grosse (2015), arXiv:1503.05671, section 3; George, Laurent, Bouthillier, Ballas
& Vincent (2018), arXiv:1806.03884, section 3, for the moments in given bases.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from fnn.factors import is_factor, summed
from fnn.kronecker import Bases, Blocks, How, Weights, blocks_of
from fnn.layers.frozen import Held
from fnn.layers.shared import Shared
from fnn.layers.unembed import Unembed
from fnn.numerics import ratio
from fnn.records import Array, PyTree, integer
from fnn.rules.per_example import none_of, one_by_one
from fnn.ruling import Given, Rule, rule


@dataclass(frozen=True, repr=False)
class Fisher(Rule):
    """A rule that finds Blocks; how is in its fields."""

    sharing: str = "expand"
    widest: int = 2048

    def __repr__(self) -> str:
        """As the function that makes it."""
        return "kfac"

    def learning(self, bases: PyTree = ()) -> Given:
        """The rule that finds the gradient as its result, and the blocks as its next companion.

        `bases`, nested like params, are those in which the blocks have moments; () of none.
        """
        return replace(self, companion=True, learns=True).given(bases)

    def within(self, bases: PyTree) -> Given:
        """The rule whose blocks have moments in these bases, nested like params."""
        return replace(self, companion=True).given(bases)

    def besides(self, seen, dy):
        """How, and what the examples weigh."""
        return (How(self.sharing, self.widest, weights_of(seen, none_of(dy)), self.learns),)


def weights_of(seen: Any, none: Array) -> Weights:
    """What the examples weigh: their shares in the loss, alike where nobody says."""
    if seen is not None and isinstance(seen.begun, Weights):
        return seen.begun
    if seen is None:  # δ are of every example's own loss
        return Weights(none + 1 / len(none), none + 1 / len(none))
    s = seen.share.astype(none.dtype)
    return Weights(s, ratio(jnp.ones_like(s), s))


def kfac(sharing: str = "expand", widest: int = 2048) -> Fisher:
    """The rule that finds the Kronecker factors of every layer: Blocks, nested like params.

    Args:
        sharing: what the steps of a sequence, the windows of an image and the uses of an array
            are: "expand", each by itself, or "reduce", one sum of all.
        widest: of a wider side only the diagonal is kept.

    Raises:
        ValueError: for another sharing, and for a widest below 1.
        TypeError: for a widest that is no integer.
    """
    return known("kfac", sharing, widest)


def known(owner: str, sharing: Any, widest: Any) -> Fisher:
    """The rule of this sharing and width, or an error in the name of `owner`."""
    if not isinstance(sharing, str) or sharing not in ("expand", "reduce"):
        raise ValueError(f'{owner}: sharing must be "expand" or "reduce", got {sharing!r:.60}.')
    n = integer(f"{owner}: widest", widest)
    if n < 1:
        raise ValueError(f"{owner}: widest must be at least 1, got {n}.")
    return replace(fisher, sharing=sharing, widest=n)


def as_fisher(found: Rule) -> Fisher:
    """The rule with these formulas."""
    return Fisher(found.formula, per_example=True, shares=True)


@as_fisher
@rule
def fisher(layer, params, cache, dy, *more):
    """The Blocks of any layer, () of one without params; behind the gradient, where it learns.

    `more` is how, behind the Bases of the layer where the rule has a companion.
    """
    return made(layer, params, cache, dy, *more)


@fisher.register(Held)
def _(layer, params, cache, dy, *more):
    """Nothing of a frozen layer is learned."""
    grads, dx = layer.backward(params, cache, dy)
    return ((grads, ()) if more[-1].learns else ()), dx


@fisher.register(Unembed)
def _(layer, params, cache, dy, *more):
    """The side of the classes is diagonal."""
    return made(layer, params, cache, dy, *more, classes=True)


@fisher.register(Shared)
def _(layer, params, cache, dy, *more):
    """Of all uses together; the classes are the rows of the table, whose side is diagonal."""
    return made(layer, params, cache, dy, *more)


def made(layer, params, cache, dy, *more, classes=False):
    """The blocks, of `factors` or of one backward per example, and dx."""
    *own, how = more
    learns, bases = how.learns, next((o for o in own if isinstance(o, Bases)), None)
    if (said := layer.factors(params, cache, dy)) is not None:
        found, dx = said
        blocks = blocks_of(params, found, how, bases, classes=classes)
        return ((summed(found, params), blocks) if learns else blocks), dx
    grads, dx = layer.backward(params, cache, dy)
    if not jax.tree.leaves(params):
        return ((grads, ()) if learns else ()), dx
    alone = one_by_one(layer, params, cache, dy)
    squares = jax.tree.map(lambda f: f.squares(how.weights.c), alone, is_leaf=is_factor)
    blocks = Blocks((), squares, whole=True)
    return ((grads, blocks) if learns else blocks), dx
