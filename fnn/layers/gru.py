"""GRU: a recurrent layer that mixes what it knew with what is new.

For t = 1 ... T, with a = x_t wx + bx and u = h_{t−1} wh + bh, both cut in three,

    r = σ(a_r + u_r)      z = σ(a_z + u_z)      n = tanh(a_n + r u_n)
    h_t = (1 − z) n + z h_{t−1} = y_t

Back through time, t = T ... 1, with ⊙ understood,

    dh_t = dy_t + du_{t+1} whᵀ + dh_{t+1} z_{t+1}
    da_n = dh (1 − z) (1 − n²)      da_z = dh (h_{t−1} − n) z (1 − z)      da_r = da_n u_n r (1 − r)
    du = (da_r, da_z, da_n r)

    dwx = Σ x_tᵀ da_t      dwh = Σ h_{t−1}ᵀ du_t      dbx = Σ da_t      dbh = Σ du_t
    dx_t = da_t wxᵀ

The reset gate r acts on the product, not on h, so that one product serves three gates. A
step that the mask skips has h_t = h_{t−1}; its cotangent goes around it.

Source: Cho et al. (2014), arXiv:1406.1078, eqs. 5 to 8, which let z keep the old; r behind
the product: Chung, Gulcehre, Cho & Bengio (2014), arXiv:1412.3555, as in version 1.
"""

from dataclasses import dataclass
from typing import NamedTuple

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


class GRUParams(NamedTuple):
    """The weights of a GRU, and their gradients; gates in the order r, z, n."""

    wx: Array  # [n_in, 3 n_hidden]
    wh: Array  # [n_hidden, 3 n_hidden]
    bx: Array  # [3 n_hidden]
    bh: Array  # [3 n_hidden]

    weights = ("wx", "wh")


class GRUSteps(NamedTuple):
    """Every step of the recurrence, [B, T, n_hidden] each."""

    h: Array  # h_{t−1}
    r: Array
    z: Array
    n: Array
    u: Array  # u_n


class GRUCache(NamedTuple):
    """The input, every step, and how x came."""

    x: Array  # [B, T, n_in]
    steps: GRUSteps
    form: Form


@dataclass(frozen=True)
class GRU(Recurrent[GRUParams, GRUCache]):
    """y_t = h_t.  x [B, T, n_in], or a Sequence with state (h₀,) → y [B, T, n_hidden].

    `wx_init` and `wh_init` (key, n_in, n_out) → w draw each gate's weights; biases start at 0.
    A step that the mask skips repeats the state, y_t = y_{t−1}, where torch writes 0.

    Raises:
        ValueError: for n_in or n_hidden below 1; from forward, for a state of another shape.
        TypeError: from forward, for a state that is not a tuple (h₀,).
    """

    def shapes(self):
        """Those of wx, wh and the two biases."""
        n, m = self.n_hidden, 3 * self.n_hidden
        return {"wx": (self.n_in, m), "wh": (n, m), "bx": (m,), "bh": (m,)}

    def init(self, key):
        """Three wx, three wh side by side, biases 0."""
        b = jnp.zeros(3 * self.n_hidden)
        return GRUParams(*self.drawn(key, 3), bx=b, bh=b)

    def forward(self, params, x, *, key=None):
        """h_1 ... h_T."""
        a, (state,), form = self.unpack(params, x)

        def step(h, inputs):
            x, m = inputs
            a_r, a_z, a_n = jnp.split(product(x, params.wx) + params.bx, 3, axis=-1)
            u_r, u_z, u_n = jnp.split(product(h, params.wh) + params.bh, 3, axis=-1)
            r, z = jax.nn.sigmoid(a_r + u_r), jax.nn.sigmoid(a_z + u_z)
            n = jnp.tanh(a_n + r * u_n)
            h_next = advance(m, (1 - z) * n + z * h, h)
            return h_next, GRUSteps(h, r, z, n, u_n)

        h, steps = scan(step, state, swap((a, form.mask)))
        y = swap(outputs(steps.h, h))
        return self.pack(x, y, (h,)), GRUCache(a, swap(steps), form)

    def back(self, params, cache, dy, *, apart):
        """da_T ... da_1 and du_T ... du_1, and of every chunk one product for each matrix."""
        wh, wx = params.wh.T, params.wx.T

        def step(dh, inputs):
            _, dy, s, m = inputs
            dh, around = bypass(m, dy + dh)
            da_n = dh * (1 - s.z) * (1 - s.n**2)
            da_z = dh * (s.h - s.n) * s.z * (1 - s.z)
            da_r = da_n * s.u * s.r * (1 - s.r)
            du = jnp.concatenate([da_r, da_z, da_n * s.r], -1)
            da = jnp.concatenate([da_r, da_z, da_n], -1)
            return product(du, wh) + dh * s.z + around, (da, du)

        def weigh(inputs, d):
            (x, _, s, _), (da, du) = inputs, d
            found = {"wx": Outer(x, da), "wh": Outer(s.h, du), "bx": Sum(da), "bh": Sum(du)}
            return found, product(da, wx)

        d, (state,) = self.unpack_cotangent(dy)
        steps = swap((cache.x, d, cache.steps, cache.form.mask))
        state, grads, dx = back_through_time(step, weigh, state, steps, params, apart=apart)
        return grads, self.pack_cotangent(cache.form, dy, dx, (state,))
