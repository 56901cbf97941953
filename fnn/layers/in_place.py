"""In place: params that a rule replaces while a loop over their copies goes back.

Gradients, or new params, that a reverse loop puts out are a second set beside the params that it
reads. In what the loop carries there is one set, where no slice is read in the step that writes
it, nor later:

    step i    now = p_i        p_i ← rule(now)        the next now = p_{i−1}

so that each slice is read one step ahead, behind the writing of the one before. What the rule
hands through as it is, such as a rate, is not written.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import With
from fnn.loops import put
from fnn.records import Array, PyTree, Static
from fnn.ruling import Replaced


class Places(NamedTuple):
    """What is replaced, masters and own, array by array; without a rule in place none."""

    whole: list[Array]  # [n, ...] each
    now: list[Array]  # of the copy that is next


@dataclass(frozen=True)
class Place(Static):
    """An array that stands in Places, by its number; None: all of them."""


def begun(params: PyTree) -> tuple[PyTree, Places, Any]:
    """Params without what will be replaced, this before the first step, and its form."""
    arrays, form = jax.tree.flatten(masters_and_own(params))
    numbers = {id(a): i for i, a in enumerate(arrays)}
    bare = jax.tree.map(lambda a: Place(numbers[id(a)]) if id(a) in numbers else a, params)
    whole = [jnp.asarray(a, a.dtype) for a in arrays]
    return bare, Places(whole, [a[-1] for a in whole]), form


def masters_and_own(params: PyTree) -> Any:
    """What a rule in place replaces; () without one."""
    while isinstance(params, With):
        if params.masters is not None:
            return params.masters, params.own
        params = params.params
    return ()


def present(params: PyTree, places: Places) -> PyTree:
    """The params of the copy that is next."""
    return jax.tree.map(
        lambda a: places.now[a.value] if isinstance(a, Place) else a, params, is_leaf=is_place
    )


def written(out: PyTree, places: Places, form: Any, i: Any) -> tuple[PyTree, Places]:
    """Results without what replaces something, this in the place of copy i, and copy i − 1."""
    if not places.whole:
        return out, places
    found = [r for r in jax.tree.leaves(out, is_leaf=is_replaced) if is_replaced(r)]
    new = form.flatten_up_to(found[0].each) if found else places.now

    def write(a, old, b):
        return a if b is old else put(a, b.astype(a.dtype)[None], i, 0)

    whole = [write(*each) for each in zip(*places, new, strict=True)]
    before = jnp.maximum(i - 1, 0)
    ahead = [jax.lax.dynamic_index_in_dim(a, before, 0, keepdims=False) for a in whole]
    out = jax.tree.map(lambda r: Place(None) if is_replaced(r) else r, out, is_leaf=is_replaced)
    return out, Places(whole, ahead)


def ended(out: PyTree, places: Places, form: Any) -> PyTree:
    """Results with what replaced something, of all copies."""
    return jax.tree.map(
        lambda r: Replaced(form.unflatten(places.whole)) if is_place(r) else r,
        out,
        is_leaf=is_place,
    )


def is_place(a: Any) -> bool:
    """Whether `a` stands for an array in Places."""
    return isinstance(a, Place)


def is_replaced(a: Any) -> bool:
    """Whether `a` is what a rule in place made."""
    return isinstance(a, Replaced)
