"""What recurrent layers share: their input, their state, and the order of time.

A recurrent layer takes x [B, T, n_in] or a Sequence, and gives y [B, T, n_hidden], what it
remembers after every step, in the form of x: a Sequence comes out with its final state.

Backpropagation through time (BPTT) runs in chunks. What has to wait for the next step stays
in the loop over steps; the products that give the gradients of the weights and dx are taken
once per chunk, so that they are large, and the da of one chunk only exist at a time. A chunk
is 8 to 16 steps where that divides T, else all of them.

Slopes of gates are taken of their values: that of a saturated one is right to a rounding of 1,
and 0 for less.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import empty
from fnn.errors import check_floating, check_key, check_shape, check_steps
from fnn.factors import Factor
from fnn.initializers import glorot_uniform, orthogonal
from fnn.layer import C, Layer, P
from fnn.loops import scan
from fnn.numerics import common, like, wide
from fnn.records import Array, Key, PyTree, Static
from fnn.sequence import Sequence, mask_of, select, state_of, value


class Form(NamedTuple):
    """How x came: what dx needs to have its form."""

    mask: Array | None  # [B, T]
    given: Static  # whether x was a Sequence, its dtype, the dtypes of its state


class Stateful(Layer[P, C]):
    """What layers that know time have in common: how x and its state come in and go out."""

    sequences: ClassVar = "own"
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of every array of the state, without the batch."""
        raise NotImplementedError

    def state_dtype(self, dtype: Any) -> Any:
        """The dtype of the state where x and params have `dtype`."""
        return dtype

    def check_state(self, x: Any) -> None:
        """Raise unless the state of x is a tuple of [B, *state_shape] each, or none."""
        state, names = state_of(x), self.state_names
        if empty(state):
            return
        inside = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
        if not isinstance(state, tuple) or len(state) != len(names):
            raise TypeError(f"{self}: state must be a tuple {inside}, got {state!r:.80}.")
        for name, s in zip(names, state, strict=True):
            check_floating(self, f"state {name}", s)
            check_shape(self, f"state {name}", s, (len(value(x)), *self.state_shape))

    def unpack(self, params: Any, x: Any) -> tuple[Array, tuple[Array, ...], Form]:
        """The steps of x, the state before the first of them, and the form of x."""
        a, state = select(mask_of(x), value(x)), state_of(x)
        dtypes = () if empty(state) else tuple(s.dtype.name for s in state)
        form = Form(mask_of(x), Static((isinstance(x, Sequence), a.dtype.name, dtypes)))
        a = a.astype(common(a, *jax.tree.leaves(params)))
        return a, self.state_or_0(state, a), form

    def pack(self, x: Any, y: Array, state: tuple[Array, ...]) -> Any:
        """y in the form of x, with the final state in the dtypes of the one it came with."""
        if not isinstance(x, Sequence):
            return y
        return x.with_fields(x=y, state=state if empty(x.state) else like(state, x.state))

    def unpack_cotangent(self, dy: Any) -> tuple[Array, tuple[Array, ...]]:
        """dy of the steps, and the cotangent of the final state, 0 where there is none."""
        return value(dy), self.state_or_0(state_of(dy), value(dy))

    def zero_state(self, params, n, capacity=None):
        """Zeros [n, *state_shape]."""
        return self.zeros(n, common(*jax.tree.leaves(params)))

    def zeros(self, n: int, dtype: Any) -> tuple[Array, ...]:
        """A state of zeros where x and params have `dtype`."""
        zero = jnp.zeros((n, *self.state_shape), self.state_dtype(dtype))
        return (zero,) * len(self.state_names)

    def state_or_0(self, state: Any, a: Array) -> tuple[Array, ...]:
        """A state, or its cotangent, beside the steps `a`; 0 where there is none."""
        if empty(state):
            return self.zeros(len(a), a.dtype)
        return tuple(s.astype(self.state_dtype(a.dtype)) for s in state)

    def pack_cotangent(self, form: Form, dy: Any, dx: Array, state: tuple[Array, ...]) -> Any:
        """dx in the form of x."""
        lifted, dtype, dtypes = form.given.value
        dx = dx.astype(dtype)
        if not lifted:
            return dx
        dstate = tuple(s.astype(t) for s, t in zip(state, dtypes, strict=False)) or None
        return dy.with_fields(x=dx, mask=form.mask, state=dstate)


@dataclass(frozen=True)
class Recurrent(Stateful[P, C]):
    """What RNN, LSTM and GRU have in common: sizes, how weights are drawn, the state."""

    n_in: int
    n_hidden: int
    wx_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)
    wh_init: Callable[[Key, int, int], Array] = field(default=orthogonal, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_hidden < 1:
            raise ValueError(f"{self}: n_in and n_hidden must be at least 1.")

    @property
    def state_shape(self):
        """(n_hidden,)."""
        return (self.n_hidden,)

    def check_input(self, x):
        """x must be a batch of sequences, its state a tuple of [B, n_hidden] each."""
        check_steps(self, "x", value(x), self.n_in)
        self.check_state(x)

    def backward(self, params, cache, dy):
        """da_T ... da_1, and of every chunk of them one product for each weight matrix."""
        return self.back(params, cache, dy, apart=False)

    def factors(self, params, cache, dy):
        """dwx: x, da;  dwh: h, da;  db: da, of all steps."""
        return self.back(params, cache, dy, apart=True)

    @abstractmethod
    def back(self, params: P, cache: C, dy: Any, *, apart: bool) -> tuple[Any, Any]:
        """The gradients, or `apart` their factors, and dx, by back_through_time."""

    def drawn(self, key: Key, n_gates: int) -> tuple[Array, Array]:
        """wx [n_in, n_gates n_hidden] and wh [n_hidden, n_gates n_hidden], gate by gate."""
        check_key(self, key)
        n, keys = self.n_hidden, jax.random.split(key, 2 * n_gates)
        wx = [self.wx_init(k, self.n_in, n) for k in keys[:n_gates]]
        wh = [self.wh_init(k, n, n) for k in keys[n_gates:]]
        return jnp.concatenate(wx, 1), jnp.concatenate(wh, 1)


def back_through_time(
    step: Callable[[Any, Any], Any],
    weigh: Callable[[Any, Any], tuple[Mapping[str, Factor], Array]],
    carry: Any,
    steps: Any,
    params: PyTree,
    *,
    apart: bool,
) -> tuple[Any, PyTree, Array]:
    """The last carry, the gradients of the weights or their factors, and dx [B, T, n_in].

    Args:
        step: (carry, one of steps) → (carry, da), as a scan from the last step to the first.
        weigh: (a chunk of steps, its da) → (what they add to the gradients, in factors, dx).
        carry: behind the last step.
        steps: all that the steps need, [T, B, ...] each.
        params: the parameters; their gradients are summed in at least float32.
        apart: whether the factors of all steps are wanted, not their sums.
    """
    length = len(jax.tree.leaves(steps)[0])
    size = chunk_size(length)
    whole = length // size * size  # steps in chunks of one size; those behind them come first
    forms = []

    def chunk(state, inputs):
        carry, grads = state
        carry, da = scan(step, carry, inputs, reverse=True)
        found, dx = weigh(inputs, da)
        if apart:
            kept, form = each_once(found)
            forms.append(form)
            return (carry, grads), (kept, dx)
        more = grads._replace(**{name: f.gradient() for name, f in found.items()})
        return (carry, jax.tree.map(jnp.add, grads, more)), ((), dx)

    grads = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)
    state, rest = (carry, grads), []
    if whole < length:
        state, made = chunk(state, jax.tree.map(lambda a: a[whole:], steps))
        rest = [made]
    chunks = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), steps)
    (carry, grads), made = scan(chunk, state, chunks, reverse=True)
    made = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), made)
    kept, dx = swap(jax.tree.map(lambda *parts: jnp.concatenate(parts), made, *rest))
    return carry, forms[-1](kept) if apart else like(grads, params), dx


def each_once(tree: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The arrays of a tree, each once, and what makes the tree of them again."""
    leaves, form = jax.tree.flatten(tree)
    kept = list({id(a): a for a in leaves}.values())
    places = {id(a): i for i, a in enumerate(kept)}
    order = [places[id(a)] for a in leaves]
    return kept, lambda arrays: form.unflatten(arrays[i] for i in order)


def chunk_size(length: int) -> int:
    """The steps of a chunk: 8 to 16, which divide the length if such a number does."""
    sizes = [n for n in range(8, 17) if length % n == 0 and n <= length]
    return max(sizes, default=max(min(length, 16), 1))


def swap(tree: Any) -> Any:
    """[B, T, ...] to [T, B, ...], the order in which scan runs, and back."""
    return jax.tree.map(lambda a: a.swapaxes(0, 1), tree)


def outputs(h: Array, last: Array) -> Array:
    """h_t of h_{t−1} [T, B, n] and h_T: a scan need not stack both."""
    return jnp.concatenate([h[1:], last[None]]) if len(h) else h


def advance(mask: Array | None, new: Array, old: Array) -> Array:
    """`new` where the step counts, `old` where it is skipped."""
    return new if mask is None else jnp.where(mask[:, None], new, old)


def bypass(mask: Array | None, d: Array) -> tuple[Array, Array]:
    """A cotangent, split into what reaches the step and what goes around it."""
    if mask is None:
        return d, jnp.zeros((), d.dtype)
    return jnp.where(mask[:, None], d, 0), jnp.where(mask[:, None], 0, d)
