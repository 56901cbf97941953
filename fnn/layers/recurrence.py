"""What recurrent layers share: their input, and the order of time.

A recurrent layer takes x [B, T, n_in] or a Sequence, and gives y [B, T, n_hidden], what it
remembers after every step. dx has the form of x.

Backward runs through time in chunks. What has to wait for the next step stays in the loop
over steps; the products that give the gradients of the weights and dx are taken once per
chunk, so that they are large, and the da of one chunk only exist at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_floating, check_key, check_last_axis, check_shape
from fnn.initializers import glorot_uniform, orthogonal
from fnn.layer import C, Layer, P
from fnn.numerics import wide
from fnn.types import Array, Key, PyTree, Static


class Sequence(NamedTuple):
    """A batch of sequences with what belongs to them."""

    x: Array  # [B, T, n]
    mask: Array | None = None  # [B, T] booleans; a step where it is False is skipped
    state: PyTree = None  # [B, n_hidden] each, before the first step; None: zeros


@dataclass(frozen=True)
class Recurrent(Layer[P, C]):
    """What RNN, LSTM and GRU have in common: sizes, and how their weights are drawn."""

    n_in: int
    n_hidden: int
    wx_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)
    wh_init: Callable[[Key, int, int], Array] = field(default=orthogonal, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_hidden < 1:
            raise ValueError(f"{self}: n_in and n_hidden must be at least 1.")

    def drawn(self, key: Key, n_gates: int) -> tuple[Array, Array]:
        """wx [n_in, n_gates n_hidden] and wh [n_hidden, n_gates n_hidden], gate by gate."""
        check_key(self, key)
        n, keys = self.n_hidden, jax.random.split(key, 2 * n_gates)
        wx = [self.wx_init(k, self.n_in, n) for k in keys[:n_gates]]
        wh = [self.wh_init(k, n, n) for k in keys[n_gates:]]
        return jnp.concatenate(wx, 1), jnp.concatenate(wh, 1)


def back_through_time(
    step: Callable[[Any, Any], Any],
    weigh: Callable[[Any, Any], tuple[Any, Array]],
    carry: Any,
    steps: Any,
    like: PyTree,
) -> tuple[Any, PyTree, Array]:
    """The last carry, the gradients of the weights, and dx [B, T, n_in].

    Args:
        step: (carry, one of steps) → (carry, da), as a scan from the last step to the first.
        weigh: (a chunk of steps, its da) → (what they add to the gradients, dx).
        carry: behind the last step.
        steps: all that the steps need, [T, B, ...] each.
        like: the parameters; their gradients are summed in at least float32.
    """
    size = chunk_size(len(jax.tree.leaves(steps)[0]))

    def chunk(state, inputs):
        carry, grads = state
        carry, da = jax.lax.scan(step, carry, inputs, reverse=True)
        more, dx = weigh(inputs, da)
        return (carry, jax.tree.map(jnp.add, grads, more)), dx

    chunks = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), steps)
    grads = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), like)
    (carry, grads), dx = jax.lax.scan(chunk, (carry, grads), chunks, reverse=True)
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, like)
    return carry, grads, swap(dx.reshape(-1, *dx.shape[2:]))


def chunk_size(length: int) -> int:
    """The steps of a chunk: 8 to 16 where that divides the length, else all."""
    sizes = [n for n in range(8, 17) if length % n == 0 and n <= length]
    return max(sizes, default=max(length, 1))


def product(a: Array, b: Array) -> Array:
    """Σ aᵀ b over batch and time, in at least float32."""
    return jnp.tensordot(a, b, ((0, 1), (0, 1)), preferred_element_type=wide(b.dtype))


def total(a: Array) -> Array:
    """Σ a over batch and time, in at least float32."""
    return a.sum((0, 1), dtype=wide(a.dtype))


def sequence(owner: Any, x: Any, n_in: int, n_hidden: int, n_states: int) -> Sequence:
    """x as a Sequence whose state is a tuple of arrays; all shapes are checked."""
    given = x if isinstance(x, Sequence) else Sequence(x)
    check_last_axis(owner, "x", given.x, n_in)
    if given.x.ndim != 3:
        raise ValueError(f"{owner}: x must have shape [B, T, {n_in}], got {list(given.x.shape)}.")
    x = jnp.asarray(given.x)
    if given.mask is not None:
        check_shape(owner, "mask", given.mask, x.shape[:2])
        if given.mask.dtype != bool:
            raise TypeError(f"{owner}: mask must be boolean, got {given.mask.dtype}.")
    state = given.state
    if state is None:
        state = (jnp.zeros((len(x), n_hidden), x.dtype),) * n_states
    state = tuple(state) if isinstance(state, tuple | list) else (state,)
    if len(state) != n_states:
        raise ValueError(f"{owner}: state must have {n_states} arrays, got {len(state)}.")
    for s in state:
        check_floating(owner, "state", s)
        check_shape(owner, "state", s, (len(x), n_hidden))
    return Sequence(x, given.mask, state)


def form(x: Any) -> Static:
    """How x was given: as a Sequence or not, with a state or not."""
    return Static((isinstance(x, Sequence), isinstance(x, Sequence) and x.state is not None))


def answer(given: Static, dx: Array, state: PyTree) -> Any:
    """dx in the form of x; a mask has no gradient."""
    is_sequence, has_state = given.value
    return Sequence(dx, None, state if has_state else None) if is_sequence else dx


def swap(tree: Any) -> Any:
    """[B, T, ...] to [T, B, ...], the order in which scan runs, and back."""
    return jax.tree.map(lambda a: a.swapaxes(0, 1), tree)


def later(h: Array, last: Array) -> Array:
    """h_t of h_{t−1} [T, B, n] and h_T: a scan need not stack both."""
    return jnp.concatenate([h[1:], last[None]]) if len(h) else h


def kept(mask: Array | None, new: Array, old: Array) -> Array:
    """`new` where the step counts, `old` where it is skipped."""
    return new if mask is None else jnp.where(mask[:, None], new, old)


def passed(mask: Array | None, d: Array) -> tuple[Array, Array]:
    """A cotangent, split into what reaches the step and what goes around it."""
    if mask is None:
        return d, jnp.zeros((), d.dtype)
    return jnp.where(mask[:, None], d, 0), jnp.where(mask[:, None], 0, d)
