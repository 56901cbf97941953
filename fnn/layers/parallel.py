"""Parallel: layers beside each other.

One x goes into all of them, or with `split` each has an entry of x of its own:

    y_i = f_i(x)          dx = Σ_i dy_i ∂f_i
    y_i = f_i(x_i)        dx_i = dy_i ∂f_i                  split=True

What they make is joined:

    y = [y_1, ..., y_n]         dy = [dy_1, ..., dy_n]      join="concat", on the last axis
    y = y_1 + ... + y_n         dy_i = dy                   join="sum"
    y = (y_1, ..., y_n)         dy = (dy_1, ..., dy_n)      join=None

Tuples are tuples where the layers have no names, else dicts by name. A Sequence is split into
Sequences and joined to one: its x has the entries; mask, state and memory are those of all.
Entries of x that are Sequences themselves keep what belongs to each.

Source: Szegedy et al. (2015), arXiv:1409.4842, section 4 and figure 2, for "concat"; Xie,
Girshick, Dollár, Tu & He (2017), arXiv:1611.05431, eq. 2, for "sum".
"""

import functools
import itertools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp

from fnn.composite import Back, Forth, Listed
from fnn.errors import check_floating, check_shape, shown
from fnn.layer import Layer
from fnn.records import Static, flag
from fnn.sequence import Sequence, add, lift, value

Join: TypeAlias = Literal["concat", "sum"] | None


class ParallelCache(NamedTuple):
    """The caches of the layers, and how values were dealt out and joined."""

    layers: dict[Any, Any]
    widths: Static  # of every y_i joined by "concat", else ()
    apart: Static  # whether every x_i came by itself


@dataclass(frozen=True, init=False, repr=False)
class Parallel(Listed[ParallelCache]):
    """y = [f_1(x), ..., f_n(x)].  Parallel(Dense(3, 4), Tanh()) or Parallel(left=…, right=…).

    x → y [B, ..., Σ n_i] with join="concat", [B, ..., n] with "sum", a tuple or a dict of all
    y_i with None. With split=True, x is such a tuple or dict itself: this is how a net has
    several inputs.

        Serial(Parallel(text=reader, image=cnn, split=True), Dense(64, 10))

    takes x = {"text": …, "image": …}.

    Raises:
        TypeError: for what is not a layer; from forward, for an x that is not split so, and for
            Sequences that cannot be joined.
        ValueError: for no layer, another join; from forward, for shapes that do not fit.
    """

    join: Join = "concat"
    split: bool = False

    def __init__(
        self, /, *layers: Layer[Any, Any], join: Join = "concat", split: bool = False,
        **named: Layer[Any, Any],
    ):  # fmt: skip
        """Hold the layers: all with a name, or none."""
        super().__init__(*layers, **named)
        if join is not None and not (isinstance(join, str) and join in ("concat", "sum")):
            raise ValueError(f'Parallel: join must be "concat", "sum" or None, got {join!r:.60}.')
        if not self.layers:
            raise ValueError("Parallel: there must be at least one layer.")
        object.__setattr__(self, "join", join)
        object.__setattr__(self, "split", flag("Parallel: split", split))

    def forward(self, params, x, *, key=None):
        """y = y_1, ..., y_n, joined."""
        apart = self.split and not isinstance(x, Sequence)
        xs = self.entries("x", x) if self.split else dict.fromkeys(self.children, x)
        f, ys, caches = Forth(self, params, x, key, apart=apart), {}, {}
        for name in self.children:
            ys[name], caches[name] = f(name, xs[name])
        self.check_joint(ys, apart)
        widths = tuple(value(y).shape[-1] for y in ys.values()) if self.join == "concat" else ()
        return f.end(self.put(ys, apart)), ParallelCache(caches, Static(widths), Static(apart))

    def backward_with(self, rule, params, cache, dy):
        """dx = Σ_i dy_i ∂f_i, or all of them."""
        apart = cache.apart.value
        f, dys = Back(self, rule, params, dy, apart=apart), self.cut(dy, cache.widths.value)
        dxs = {name: f(name, cache.layers[name], dys[name]) for name in self.children}
        return f.end(self.nest(dxs, apart) if self.split else functools.reduce(add, dxs.values()))

    def put(self, ys: dict[Any, Any], apart: bool) -> Any:
        """y of all y_i."""
        if self.join is None:
            return self.nest(ys, apart)
        if self.join == "sum":
            return lift(lambda *a: functools.reduce(jnp.add, a), *ys.values())
        return lift(lambda *a: jnp.concatenate(a, -1), *ys.values())

    def cut(self, dy: Any, widths: tuple[int, ...]) -> dict[Any, Any]:
        """All dy_i of dy."""
        if self.join is None:
            return self.entries("dy", dy)
        if self.join == "sum":
            return dict.fromkeys(self.children, dy)
        spans = itertools.pairwise(itertools.accumulate(widths, initial=0))
        pieces = [lift(lambda d, i=i, j=j: d[..., i:j], dy) for i, j in spans]
        return dict(zip(self.children, pieces, strict=True))

    def entries(self, what: str, x: Any) -> dict[Any, Any]:
        """Name → entry of the tuple or dict x; of a Sequence, a Sequence."""
        a: Any = value(x)
        names: list[Any] = list(self.children)
        if self.names and not (type(a) is dict and set(a) == set(names)):
            form = f"a dict of {', '.join(self.names)}"
        elif not self.names and not (type(a) is tuple and len(a) == len(names)):
            form = f"a tuple of {len(names)}"
        else:
            return {n: x.with_fields(x=a[n]) if isinstance(x, Sequence) else a[n] for n in names}
        raise TypeError(f"Parallel: {what} must be {form}, one for each layer, got {shown(a)}.")

    def nest(self, entries: dict[Any, Any], apart: bool) -> Any:
        """The tuple or dict of the entries; of Sequences that are parts of one, one Sequence."""
        whole = None if apart else next(iter(entries.values()))
        found = {n: e if apart else value(e) for n, e in entries.items()}
        found = found if self.names else tuple(found.values())
        return whole.with_fields(x=found) if isinstance(whole, Sequence) else found

    def check_joint(self, ys: dict[Any, Any], apart: bool) -> None:
        """Raise unless all y_i are arrays, or parts of one Sequence, of shapes that fit."""
        first, *rest = ys
        lifted = {name: isinstance(y, Sequence) for name, y in ys.items()}
        for name in rest if not apart else ():
            if lifted[name] != lifted[first]:
                raise TypeError(
                    "Parallel: all layers must make Sequences, or none; of layers "
                    f"{first} and {name} one does."
                )
        for name, y in ys.items() if self.join else ():
            if apart and lifted[name]:
                raise TypeError(
                    f"Parallel: layer {name} makes a Sequence of its own, which cannot be joined; "
                    "end it in Last() or MeanOverTime(), or let one Sequence hold all inputs."
                )
            what = f"y of layer {name}"
            check_floating("Parallel", what, value(y))
            *rows, width = value(ys[first]).shape
            shape = (*rows, width if self.join == "sum" else value(y).shape[-1])
            hint = f"; that of layer {first} has {[*rows, width]}"
            check_shape("Parallel", what, value(y), shape, hint=hint)
