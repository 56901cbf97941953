"""LSTM: a recurrent layer with gated memory.

For t = 1 ... T, with a = x_t wx + h_{t−1} wh + b cut in four and ⊙ understood,

    i = σ(a_i)      f = σ(a_f)      g = tanh(a_g)      o = σ(a_o)
    c_t = f c_{t−1} + i g
    h_t = o tanh c_t = y_t

Back through time, t = T ... 1,

    dh_t = dy_t + da_{t+1} whᵀ
    dc_t = dh_t o (1 − tanh² c_t) + dc_{t+1} f_{t+1}
    da_i = dc g i (1 − i)            da_f = dc c_{t−1} f (1 − f)
    da_g = dc i (1 − g²)             da_o = dh tanh(c_t) o (1 − o)

    dwx = Σ x_tᵀ da_t      dwh = Σ h_{t−1}ᵀ da_t      db = Σ da_t      dx_t = da_t wxᵀ

A step that the mask skips has h_t = h_{t−1}, c_t = c_{t−1}; its cotangents go around it.
The products that give dwx, dwh, db and dx stand behind the loop over the steps of a chunk.

Source: Hochreiter & Schmidhuber (1997), Neural Computation 9, section 4; f from Gers, Schmidhuber &
Cummins (2000), Neural Computation 12, eqs. 3.1 to 3.6.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
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


class LSTMParams(NamedTuple):
    """The weights of an LSTM, and their gradients; gates in the order i, f, g, o."""

    wx: Array  # [n_in, 4 n_hidden]
    wh: Array  # [n_hidden, 4 n_hidden]
    b: Array  # [4 n_hidden]

    weights = ("wx", "wh")


class LSTMSteps(NamedTuple):
    """Every step of the recurrence, [B, T, n_hidden] each."""

    h: Array  # h_{t−1}
    c: Array  # c_{t−1}
    i: Array
    f: Array
    g: Array
    o: Array


class LSTMCache(NamedTuple):
    """The input, every step, and how x came."""

    x: Array  # [B, T, n_in]
    steps: LSTMSteps
    form: Form


@dataclass(frozen=True)
class LSTM(Recurrent[LSTMParams, LSTMCache]):
    """y_t = h_t.  x [B, T, n_in], or a Sequence with state (h₀, c₀) → y [B, T, n_hidden].

    `wx_init` and `wh_init` (key, n_in, n_out) → w draw each gate's weights; `forget_bias` is
    where the bias of f starts, the others start at 0. A step that the mask skips repeats the
    state, y_t = y_{t−1}, where torch writes 0.

    Raises:
        ValueError: for n_in or n_hidden below 1; from forward, for a state of another shape.
        TypeError: from forward, for a state that is not a tuple (h₀, c₀).
    """

    state_names: ClassVar = ("h", "c")

    forget_bias: float = 1.0

    def shapes(self):
        """Those of wx, wh and b."""
        n = self.n_hidden
        return {"wx": (self.n_in, 4 * n), "wh": (n, 4 * n), "b": (4 * n,)}

    def init(self, key):
        """Four wx, four wh side by side, b = 0 but for f."""
        n, weights = self.n_hidden, self.drawn(key, 4)
        return LSTMParams(*weights, jnp.zeros(4 * n).at[n : 2 * n].set(self.forget_bias))

    def forward(self, params, x, *, key=None):
        """h_1 ... h_T."""
        a, state, form = self.unpack(params, x)

        def step(carry, inputs):
            (h, c), (x, m) = carry, inputs
            a = product(x, params.wx) + product(h, params.wh) + params.b
            i, f, g, o = jnp.split(a, 4, axis=-1)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            c_next = advance(m, f * c + i * g, c)
            h_next = advance(m, o * jnp.tanh(c_next), h)
            return (h_next, c_next), LSTMSteps(h, c, i, f, g, o)

        (h, c), steps = scan(step, state, swap((a, form.mask)))
        y = swap(outputs(steps.h, h))
        return self.pack(x, y, (h, c)), LSTMCache(a, swap(steps), form)

    def back(self, params, cache, dy, *, apart):
        """da_T ... da_1, and of every chunk of them one product for each weight matrix."""
        wh, wx = params.wh.T, params.wx.T

        def step(carry, inputs):
            (dh, dc), (_, dy, s, m) = carry, inputs
            (dh, dh_around), (dc, dc_around) = bypass(m, dy + dh), bypass(m, dc)
            tanh_c = jnp.tanh(s.f * s.c + s.i * s.g)
            dc = dh * s.o * (1 - tanh_c**2) + dc
            da_i = dc * s.g * s.i * (1 - s.i)
            da_f = dc * s.c * s.f * (1 - s.f)
            da_g = dc * s.i * (1 - s.g**2)
            da_o = dh * tanh_c * s.o * (1 - s.o)
            da = jnp.concatenate([da_i, da_f, da_g, da_o], axis=-1)
            return (product(da, wh) + dh_around, dc * s.f + dc_around), da

        def weigh(inputs, da):
            x, _, s, _ = inputs
            return {"wx": Outer(x, da), "wh": Outer(s.h, da), "b": Sum(da)}, product(da, wx)

        d, state = self.unpack_cotangent(dy)
        steps = swap((cache.x, d, cache.steps, cache.form.mask))
        state, grads, dx = back_through_time(step, weigh, state, steps, params, apart=apart)
        return grads, self.pack_cotangent(cache.form, dy, dx, state)
