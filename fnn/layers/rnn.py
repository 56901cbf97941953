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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_key, check_params
from fnn.initializers import glorot_uniform, orthogonal
from fnn.layer import Layer
from fnn.layers.recurrence import answer, form, kept, passed, sequence, swap
from fnn.numerics import wide
from fnn.types import Array, Key, Static


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
    y: Array  # [B, T, n_hidden], tanh(...)
    given: Static  # the form of x


@dataclass(frozen=True)
class RNN(Layer[RNNParams, RNNCache]):
    """y_t = tanh(x_t wx + y_{t−1} wh + b).  x [B, T, n_in], or a Sequence → y [B, T, n_hidden].

    `wx_init` and `wh_init` (key, n_in, n_out) → w draw the weights; b starts at 0.
    """

    n_in: int
    n_hidden: int
    wx_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)
    wh_init: Callable[[Key, int, int], Array] = field(default=orthogonal, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_hidden < 1:
            raise ValueError(f"{self}: n_in and n_hidden must be at least 1.")

    def init(self, key):
        """wx, wh, and b = 0."""
        check_key(self, key)
        k_x, k_h = jax.random.split(key)
        wx = self.wx_init(k_x, self.n_in, self.n_hidden)
        wh = self.wh_init(k_h, self.n_hidden, self.n_hidden)
        return RNNParams(wx, wh, jnp.zeros(self.n_hidden))

    def forward(self, params, x, *, key=None):
        """h_1 ... h_T."""
        n = self.n_hidden
        given = form(x)
        x, mask, (state,) = sequence(self, x, self.n_in, n, 1)
        check_params(self, params, wx=(self.n_in, n), wh=(n, n), b=(n,))

        def step(h, inputs):
            x, m = inputs
            y = jnp.tanh(x @ params.wx + h @ params.wh + params.b)
            h_next = kept(m, y, h)
            return h_next, (h_next, h, y)

        _, steps = jax.lax.scan(step, state, swap((x, mask)))
        y, h_before, tanh = swap(steps)
        return y, RNNCache(x, mask, h_before, tanh, given)

    def backward(self, params, cache, dy):
        """da_T ... da_1, then one product for each weight matrix."""
        wh = params.wh.T

        def step(dh, inputs):
            dy, y, m = inputs
            dh, around = passed(m, dy + dh)
            da = dh * (1 - y**2)
            return da @ wh + around, da

        inputs = swap((dy, cache.y, cache.mask))
        state, da = jax.lax.scan(
            step, jnp.zeros((len(dy), self.n_hidden), dy.dtype), inputs, reverse=True
        )
        da, sums = swap(da), wide(dy.dtype)
        every = ((0, 1), (0, 1))
        wx = jnp.tensordot(cache.x, da, every, preferred_element_type=sums)
        wh = jnp.tensordot(cache.h, da, every, preferred_element_type=sums)
        grads = RNNParams(wx, wh, da.sum((0, 1), dtype=sums))
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
        dx = (da @ params.wx.T).astype(cache.x.dtype)
        return grads, answer(cache.given, dx, state)
