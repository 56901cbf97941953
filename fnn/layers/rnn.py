"""RNN: a recurrent layer that remembers what it said.

For t = 1 ... T,

    h_t = tanh(x_t wx + h_{t−1} wh + b) = y_t

Back through time, t = T ... 1, with a_t what tanh is taken of,

    dh_t = dy_t + da_{t+1} whᵀ      da_t = dh_t (1 − h_t²)
    dwx = Σ x_tᵀ da_t      dwh = Σ h_{t−1}ᵀ da_t      db = Σ da_t      dx_t = da_t wxᵀ

A step that the mask skips has h_t = h_{t−1}; its cotangent goes around it.

Source: Elman (1990), Cognitive Science 14; back through time: Werbos (1990), Proceedings
of the IEEE 78, section IV.
Equations: dir.rnn.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_params
from fnn.layers.recurrence import (
    Recurrent,
    answer,
    back_through_time,
    form,
    kept,
    later,
    passed,
    product,
    sequence,
    swap,
    total,
)
from fnn.types import Array, Static


class RNNParams(NamedTuple):
    """The weights of an RNN, and their gradients."""

    wx: Array  # [n_in, n_hidden]
    wh: Array  # [n_hidden, n_hidden]
    b: Array  # [n_hidden]


class RNNCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, T, n_in]
    mask: Array | None  # [B, T]
    h: Array  # [B, T, n_hidden], h_{t−1}
    y: Array  # [B, T, n_hidden], h_t
    given: Static  # the form of x


@dataclass(frozen=True)
class RNN(Recurrent[RNNParams, RNNCache]):
    """y_t = tanh(x_t wx + y_{t−1} wh + b).  x [B, T, n_in], or a Sequence → y [B, T, n_hidden].

    `wx_init` and `wh_init` (key, n_in, n_out) → w draw the weights; b starts at 0.
    """

    def init(self, key):
        """wx, wh, and b = 0."""
        return RNNParams(*self.drawn(key, 1), jnp.zeros(self.n_hidden))

    def forward(self, params, x, *, key=None):
        """h_1 ... h_T."""
        n = self.n_hidden
        given = form(x)
        x, mask, (state,) = sequence(self, x, self.n_in, n, 1)
        check_params(self, params, wx=(self.n_in, n), wh=(n, n), b=(n,))

        def step(h, inputs):
            x, m = inputs
            return kept(m, jnp.tanh(x @ params.wx + h @ params.wh + params.b), h), h

        last, h = jax.lax.scan(step, state, swap((x, mask)))
        h, y = swap((h, later(h, last)))
        return y, RNNCache(x, mask, h, y, given)

    def backward(self, params, cache, dy):
        """da_T ... da_1, and of every chunk of them one product for each weight matrix."""
        wh, wx = params.wh.T, params.wx.T

        def step(dh, inputs):
            _, dy, y, _, m = inputs
            dh, around = passed(m, dy + dh)
            da = dh * (1 - y**2)
            return da @ wh + around, da

        def weigh(inputs, da):
            x, _, _, h, _ = inputs
            return RNNParams(product(x, da), product(h, da), total(da)), da @ wx

        zero = jnp.zeros((len(dy), self.n_hidden), dy.dtype)
        steps = swap((cache.x, dy, cache.y, cache.h, cache.mask))
        state, grads, dx = back_through_time(step, weigh, zero, steps, params)
        return grads, answer(cache.given, dx.astype(cache.x.dtype), state)
