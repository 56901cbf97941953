"""A batch a few rows at a time: sums over microbatches, and the rows of all, in order.

    Σ_b f_b = Σ_i Σ_{b in microbatch i} f_b

What f_b is must not depend on the other rows of its batch. A microbatch that is not full is filled
up with rows of weight 0, the first ones, so that all have one shape and the memory of one is taken.
Microbatch i draws with jax.random.fold_in(key, i): other numbers than the batch at once, as many
and as independent.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn.batches import Rows, as_rows, count, minibatches, taken
from fnn.composite import empty
from fnn.driver import forth
from fnn.logits import Logits, is_factored
from fnn.records import Array, Key, PyTree
from fnn.ruling import Rule
from fnn.sequence import Sequence, renewed, state_of

Parts = tuple[PyTree, PyTree, PyTree]  # what is summed, what is row by row, and what is the same


def accumulated(
    run: Callable[[Rows, Key | None], Parts], rows: Rows, key: Key | None, size: int
) -> Parts:
    """run(microbatch, its key) of all rows: its sums, its rows [B, ...] and what they share."""
    n, (chosen, real) = len(rows.target), minibatches(len(rows.target), size, None, drop_last=False)

    def part(i, chosen, real):
        return run(taken(rows, chosen, real), None if key is None else jax.random.fold_in(key, i))

    def add(carry, inputs):
        more, each, same = part(*inputs)
        return (jax.tree.map(jnp.add, carry[0], more), same), each

    inputs = jnp.arange(len(chosen)), chosen, real
    more, _, same = jax.eval_shape(part, *jax.tree.map(lambda a: a[0], inputs))
    begin = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (more, same))
    (total, same), each = jax.lax.scan(add, begin, inputs)
    return total, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], each), same


def checked_rows(
    owner: str, net, loss, params, x, target, rules: tuple[Rule, ...], *, key, weights
) -> Rows:  # fmt: skip
    """The rows of a batch to cut, after every check of what is known of all of them."""
    check_cut(owner, x)

    def losses():
        return forth(owner, net, loss, params, x, target, rules, key=key, weights=weights).losses

    jax.eval_shape(losses)
    return as_rows(owner, "batch", (x, target, weights))


def counted(owner: str, microbatch: Any) -> int | None:
    """A number of examples of at least 1, or None."""
    return None if microbatch is None else count(f"{owner}: microbatch", microbatch)


def apart(y: PyTree) -> tuple[PyTree, list[Array]]:
    """What y has row by row, and the weights of Logits, which all rows share; no final state."""
    y = jax.tree.map(lambda v: renewed(v, state=None), y, is_leaf=is_sequence)
    leaves = jax.tree.leaves(y, is_leaf=is_factored)
    rows = jax.tree.map(
        lambda a: Logits(a.h, None) if is_factored(a) else a, y, is_leaf=is_factored
    )
    return rows, [a.w for a in leaves if is_factored(a)]


def together(rows: PyTree, shared: list[Array]) -> PyTree:
    """y of what `apart` made of it."""
    w = iter(shared)
    return jax.tree.map(
        lambda a: Logits(a.h, next(w)) if is_factored(a) else a, rows, is_leaf=is_factored
    )


def is_sequence(a: Any) -> bool:
    """Whether `a` is a Sequence."""
    return isinstance(a, Sequence)


def check_cut(owner: str, x: Any) -> None:
    """Raise unless microbatches can be cut from x: a state, stacked under Repeat, has no rows."""
    leaves = jax.tree.leaves(x, is_leaf=is_sequence)
    if not all(empty(state_of(a)) for a in leaves):
        raise ValueError(
            f"{owner}: x has a state, of which no microbatch can be cut; leave microbatch out."
        )
