"""RNN: a recurrent layer that remembers its last output.

For t = 1 ... T,

    h_t = tanh(x_t wx + h_{t−1} wh + b) = y_t

Back through time, t = T ... 1, with a_t what tanh is taken of,

    dh_t = dy_t + da_{t+1} whᵀ      da_t = dh_t (1 − h_t²)
    dwx = Σ x_tᵀ da_t      dwh = Σ h_{t−1}ᵀ da_t      db = Σ da_t      dx_t = da_t wxᵀ

A step that the mask skips has h_t = h_{t−1}; its cotangent goes around it.

Source: Elman (1990), Cognitive Science 14, figure 2; back through time: Werbos (1990), Proceedings
of the IEEE 78, section IV.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.factors import Outer, Sum
from fnn.layers.recurrence import (
    Form,
    Recurrent,
    advance,
    back_through_time,
    bypass,
    outputs,
    swap,
)
from fnn.loops import scan
from fnn.numerics import product
from fnn.records import Array


class RNNParams(NamedTuple):
    """The weights of an RNN, and their gradients."""

    wx: Array  # [n_in, n_hidden]
    wh: Array  # [n_hidden, n_hidden]
    b: Array  # [n_hidden]

    weights = ("wx", "wh")


class RNNCache(NamedTuple):
    """The input, every step, and how x came."""

    x: Array  # [B, T, n_in]
    h: Array  # [B, T, n_hidden], h_{t−1}
    y: Array  # [B, T, n_hidden], h_t
    form: Form


@dataclass(frozen=True)
class RNN(Recurrent[RNNParams, RNNCache]):
    """y_t = tanh(x_t wx + y_{t−1} wh + b).  x [B, T, n_in], or a Sequence → y [B, T, n_hidden].

    The state of a Sequence is (h₀,). `wx_init` and `wh_init` (key, n_in, n_out) → w draw the
    weights; b starts at 0. A step that the mask skips repeats the state, y_t = y_{t−1}, where
    torch writes 0.

    Raises:
        ValueError: for n_in or n_hidden below 1; from forward, for a state of another shape.
        TypeError: from forward, for a state that is not a tuple (h₀,).
    """

    def shapes(self):
        """Those of wx, wh and b."""
        n = self.n_hidden
        return {"wx": (self.n_in, n), "wh": (n, n), "b": (n,)}

    def init(self, key):
        """wx, wh, and b = 0."""
        return RNNParams(*self.drawn(key, 1), jnp.zeros(self.n_hidden))

    def forward(self, params, x, *, key=None):
        """h_1 ... h_T."""
        a, (state,), form = self.unpack(params, x)

        def step(h, inputs):
            x, m = inputs
            a = product(x, params.wx) + product(h, params.wh) + params.b
            return advance(m, jnp.tanh(a), h), h

        last, h = scan(step, state, swap((a, form.mask)))
        h, y = swap((h, outputs(h, last)))
        return self.pack(x, y, (last,)), RNNCache(a, h, y, form)

    def back(self, params, cache, dy, *, apart):
        """da_T ... da_1, and of every chunk of them one product for each weight matrix."""
        wh, wx = params.wh.T, params.wx.T

        def step(dh, inputs):
            _, dy, y, _, m = inputs
            dh, around = bypass(m, dy + dh)
            da = dh * (1 - y**2)
            return product(da, wh) + around, da

        def weigh(inputs, da):
            x, _, _, h, _ = inputs
            return {"wx": Outer(x, da), "wh": Outer(h, da), "b": Sum(da)}, product(da, wx)

        d, (state,) = self.unpack_cotangent(dy)
        steps = swap((cache.x, d, cache.y, cache.h, cache.form.mask))
        state, grads, dx = back_through_time(step, weigh, state, steps, params, apart=apart)
        return grads, self.pack_cotangent(cache.form, dy, dx, (state,))
