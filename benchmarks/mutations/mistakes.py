"""Mistakes that any gradient can have, one function from the right array to the wrong one.

A mistake knows where it makes sense (`fits`), what it does (`apply`), and which diagnoses
a person would call right (`kinds`, with a pattern that the text must match, `says`).
Where two explanations fit the same numbers, both are right: along an axis of length 2
reversed is rolled, and a mean over the only axis of examples is a division by N.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Place(NamedTuple):
    """Where a mistake is made: one array of a gradient, as far as it is known in advance."""

    name: str  # params.w, x, ...
    shape: tuple[int, ...]
    batch: int  # N; 0 where there are no examples (optimizers, penalties)
    positions: int  # of one example: the product of the axes between batch and last
    n_out: int  # the last axis of y; 0 where there is none

    @property
    def is_input(self) -> bool:
        """Whether this is dx, whose first axis is the batch, and not a sum over examples."""
        return self.batch > 0 and not self.name.startswith("params")


class Sight(NamedTuple):
    """What a mistake sees when it is made, besides the right gradient g."""

    place: Place
    value: Any  # what g is the gradient of: a parameter, or x
    dy: Any  # None where there is none
    again: Callable[..., Any]  # again(dy=..., dtype=...): g with another dy, or in dtype


Apply = Callable[[Any, Sight], Any]


@dataclass(frozen=True)
class Mistake:
    """One kind of mistake."""

    name: str  # the row of the table
    apply: Apply
    kinds: Callable[[Place], tuple[str, ...]]
    fits: Callable[[Place], bool]
    says: str = ""  # a pattern that the text of the diagnosis must match
    dtype: str = "float64"  # where it shows


MISTAKES: dict[str, Mistake] = {}


def mistake(name: str, kinds: Any, apply: Apply, fits: Any = None, says="", dtype="float64"):
    """Enter a mistake in the table; kinds are words in a string, "a|b", or a function."""

    def told(place: Place) -> Any:
        return kinds(place) if callable(kinds) else tuple(kinds.split("|"))

    MISTAKES[name] = Mistake(name, apply, told, fits or (lambda place: True), says, dtype)


def size(place: Place) -> int:
    """The number of entries."""
    return int(np.prod(place.shape))


def of_one(place: Place) -> int:
    """The number of entries, of dx those of one example."""
    return size(place) // place.batch if place.is_input else size(place)


def scaled(c: float) -> Apply:
    """g times a constant."""
    return lambda g, see: g * c


def middle(n: int) -> int:
    """An index that is neither the first nor, if there are more than two, the last."""
    return n // 2 if n > 2 else n - 1


def entry(g: Any) -> tuple[int, ...]:
    """The index of an entry in the middle."""
    return tuple(middle(n) for n in g.shape)


def square(place: Place) -> tuple[int, int] | None:
    """The last two axes that are equal and not 1, if there are any; the batch is none of them."""
    axes = range(int(place.is_input), len(place.shape))
    pairs = [(i, j) for j in axes for i in axes if i < j and place.shape[i] == place.shape[j] > 1]
    return pairs[-1] if pairs else None


def long_axis(place: Place, least: int = 2) -> int | None:
    """The last axis of at least `least` indices, None if there is none."""
    axes = [i for i, n in enumerate(place.shape) if n >= least]
    return axes[-1] if axes else None


def flips(place: Place) -> tuple[str, ...]:
    """Along an axis of length 2 reversed and rolled are one."""
    axis = long_axis(place)
    return ("reversed", "rolled") if axis is not None and place.shape[axis] == 2 else ()


def slices(place: Place) -> tuple[str, ...]:
    """A slice of one entry is an entry."""
    return ("one slice", "one entry") if sum(n > 1 for n in place.shape) < 2 else ("one slice",)


def first_only(g: Any, see: Sight) -> Any:
    """What the first example contributes."""
    return see.again(dy=see.dy.at[1:].set(0))


def twisted(g: Any, see: Sight) -> Any:
    """g plus an antisymmetric linear map of the value: the sum has no potential."""
    w = see.value.reshape(-1).astype(g.dtype)
    strength = see.dy.sum() / see.dy.size**0.5 if see.dy is not None else 1.0
    twist = (jnp.roll(w, 1) - jnp.roll(w, -1)).reshape(g.shape)
    return g + (0.3 * strength * twist).astype(g.dtype)


def uneven(g: Any) -> Any:
    """g with every entry changed by another share."""
    waves = 1 + 0.3 * jnp.cos(jnp.arange(g.size, dtype=g.dtype)).reshape(g.shape)
    return g * waves


def only_in(dtype: str) -> Apply:
    """Wrong where g has this dtype."""
    return lambda g, see: uneven(g) if g.dtype == dtype else g


def column(g: Any, see: Sight) -> Any:
    """The middle index of the last axis twice as large."""
    return g.at[..., middle(g.shape[-1])].multiply(2)


def has_examples(place: Place) -> bool:
    """Whether there are several."""
    return place.batch > 1


mistake("zero", "zero", lambda g, see: jnp.zeros_like(g))
mistake("sign", "sign", scaled(-1))
mistake("× 2", "factor", scaled(2), says="2")
mistake("× ½", "factor", scaled(0.5), says=r"½|1/2|0\.5")
mistake("× 1.01", "factor", scaled(1.01), says=r"1\.01|101/100")
mistake("× N", "factor", lambda g, see: g * see.dy.shape[0], has_examples, r"\bN\b|batch|example")
mistake(
    "÷ N", "factor|averaged", lambda g, see: g / see.dy.shape[0], has_examples,
    r"\bN\b|batch|example|axis 0",
)  # fmt: skip
mistake(
    "× n_out", "factor", lambda g, see: g * see.place.n_out, lambda p: p.n_out > 1,
    r"n_out|\bn\b|last axis|√",
)  # fmt: skip
mistake(
    "÷ n_out", "factor|averaged", lambda g, see: g / see.place.n_out, lambda p: p.n_out > 1,
    r"n_out|\bn\b|last axis|√",
)  # fmt: skip
mistake(
    "× √n", "factor", lambda g, see: g * np.sqrt(g.shape[-1]).astype(g.dtype),
    lambda p: p.shape[-1:] > (1,), "√|sqrt|n_",
)  # fmt: skip
mistake(
    "mean over an extra axis", "averaged|factor", lambda g, see: g / see.place.positions,
    lambda p: p.positions > 1 and p.name != "x",
)  # fmt: skip
mistake("only the first example", "not summed|one slice", first_only, has_examples)
mistake(
    "wrong for several examples", "batch",
    lambda g, see: uneven(g) if see.dy.shape[0] > 1 else g, has_examples,
)  # fmt: skip
mistake(
    "right where N = n", "sizes|batch|factor",
    lambda g, see: g * (see.dy.shape[0] / see.place.n_out),
    lambda p: p.batch == p.n_out > 1,
)  # fmt: skip
mistake(
    "transposed", "transposed", lambda g, see: jnp.swapaxes(g, *(square(see.place) or (0, 0))),
    lambda p: square(p) is not None,
)  # fmt: skip
mistake(
    "reversed", lambda p: flips(p) or ("reversed",),
    lambda g, see: jnp.flip(g, long_axis(see.place)), lambda p: long_axis(p) is not None,
)  # fmt: skip
mistake(
    "rolled", lambda p: flips(p) or ("rolled",),
    lambda g, see: jnp.roll(g, 1, long_axis(see.place)), lambda p: long_axis(p) is not None,
)  # fmt: skip
mistake(
    "one entry zeroed", "one entry", lambda g, see: g.at[entry(g)].set(0), lambda p: size(p) > 1
)
mistake(
    "one entry negated", "one entry", lambda g, see: g.at[entry(g)].multiply(-1),
    lambda p: size(p) > 1,
)  # fmt: skip
mistake(
    "one row zeroed", slices, lambda g, see: g.at[middle(g.shape[0])].set(0),
    lambda p: len(p.shape) > 1 and p.shape[0] > 1 and size(p) > p.shape[0],
)  # fmt: skip
mistake(
    "one column doubled", slices, column,
    lambda p: len(p.shape) > 1 and p.shape[-1] > 1 and size(p) > p.shape[-1],
)  # fmt: skip
mistake("penalty added", "penalty", lambda g, see: g + 0.1 * see.value.astype(g.dtype))
mistake("not a gradient", "not a gradient", twisted, lambda p: of_one(p) > 2)
mistake("NaN in one entry", "nan", lambda g, see: g.at[entry(g)].set(jnp.nan))
mistake(  # of a penalty, which is a function and its gradient, float32 is good enough
    "float32 inside", "low precision", lambda g, see: see.again(dtype="float32"),
    lambda p: p.batch > 0,
)  # fmt: skip
mistake("bfloat16 inside", "low precision|bfloat16", lambda g, see: see.again(dtype="bfloat16"))
mistake("wrong in float32", "float32|low precision", only_in("float32"), dtype="float32")
mistake("wrong in bfloat16", "bfloat16|low precision", only_in("bfloat16"), dtype="bfloat16")


def spoiled(
    name: str,
    leaf: int,
    place: Place,
    backward: Callable[..., Any],
    args: tuple[Any, ...],
    value: Any,
) -> Any:
    """The tree of backward(*args), whose last argument is dy, with a mistake in one leaf."""

    def again(dy=None, dtype=None):
        given = args if dy is None else (*args[:-1], dy)
        result = leaves_of(given if dtype is None else cast(given, dtype))[0][leaf]
        return result.astype(g.dtype)

    def leaves_of(given):
        return jax.tree.flatten(backward(*given))

    leaves, tree = leaves_of(args)
    g = leaves[leaf]
    dy = args[-1] if place.batch else None
    wrong = MISTAKES[name].apply(g, Sight(place, value, dy, again))
    leaves[leaf] = wrong.astype(g.dtype)
    return tree.unflatten(leaves)


def cast(tree: Any, dtype: Any) -> Any:
    """Its floating-point arrays in `dtype`."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )
