"""One step of an LSTM.

    i, f, g, o = σ, σ, tanh, σ of the four quarters of x wx + h wh + b
    c′ = f c + i g        h′ = o tanh c′

h and c come from the step before, h′ and c′ go on to the next one; so two derivatives come
back, dh′ and dc′. Write dx, dh, dc, dwx, dwh and db.

    1. c′ reaches L on two ways: as it is, and inside h′. Their sum is the whole dc′.
    2. Then the four gates: di, df, dg, do, and each through its σ or tanh.
    3. Put the four together again, by jnp.concatenate(..., axis=-1). The rest is a dense
       layer with two inputs.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, h, c, wx, wh, b):
    """x [B, n], h and c [B, m], wx [n, 4m], wh [m, 4m], b [4m] → (h′, c′), [B, m] each."""
    i, f, g, o = gates(x, h, wx, wh, b)
    c_next = f * c + i * g
    return o * jnp.tanh(c_next), c_next


def gates(x, h, wx, wh, b):
    """i, f, g, o, [B, m] each."""
    i, f, g, o = jnp.split(x @ wx + h @ wh + b, 4, axis=-1)
    return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def sigmoid(z):
    """σ(z)."""
    return 1 / (1 + jnp.exp(-z))


def backward(x, h, c, wx, wh, b, dy):
    """Return dx [B, n], dh and dc [B, m], dwx [n, 4m], dwh [m, 4m], db [4m]."""
    dh_next, dc_next = dy
    i, f, g, o = gates(x, h, wx, wh, b)
    tanh_c = jnp.tanh(f * c + i * g)
    dc_next = dc_next + dh_next * o * (1 - tanh_c**2)
    di = dc_next * g * i * (1 - i)
    df = dc_next * c * f * (1 - f)
    dg = dc_next * i * (1 - g**2)
    do = dh_next * tanh_c * o * (1 - o)
    dz = jnp.concatenate([di, df, dg, do], axis=-1)
    return dz @ wx.T, dz @ wh.T, dc_next * f, x.T @ dz, h.T @ dz, dz.sum(0)


def library(x, h, c, wx, wh, b, dy):
    """The same with both inputs side by side, and each gate's derivative from its y."""
    both, w = jnp.concatenate([x, h], -1), jnp.concatenate([wx, wh], 0)
    i, f, g, o = gates(x, h, wx, wh, b)
    tanh_c = jnp.tanh(f * c + i * g)
    dc_next = dy[1] + tanh(tanh_c, dy[0] * o)
    gated = (sigma(i, dc_next * g), sigma(f, dc_next * c), tanh(g, dc_next * i))
    dz = jnp.concatenate([*gated, sigma(o, dy[0] * tanh_c)], -1)
    dense, params = fnn.Dense(len(w), len(b)), fnn.DenseParams(w, b)
    grads, dboth = dense.backward(params, dense.forward(params, both)[1], dz)
    n = x.shape[-1]
    return dboth[:, :n], dboth[:, n:], dc_next * f, grads.w[:n], grads.w[n:], grads.b


def sigma(y, dy):
    """The sigmoid's dx by fnn's layer."""
    _, cache = fnn.Sigmoid().forward((), jnp.log(y / (1 - y)))
    return fnn.Sigmoid().backward((), cache, dy)[1]


def tanh(y, dy):
    """The dx of tanh by fnn's layer."""
    _, cache = fnn.Tanh().forward((), jnp.arctanh(y))
    return fnn.Tanh().backward((), cache, dy)[1]


NO_C = "c′ reaches L as it is, too: add the dc′ that arrives from the next step."
NO_H = "h′ = o tanh c′ contains c′: add dh′ o (1 − tanh² c′) to the dc′ that arrives."


def without_c(x, h, c, wx, wh, b, dy):
    """The backward pass that forgets dc′."""
    return backward(x, h, c, wx, wh, b, (dy[0], 0 * dy[1]))


def without_h(x, h, c, wx, wh, b, dy):
    """dc with dh′ forgotten on its way to c′."""
    return dy[1] * gates(x, h, wx, wh, b)[1]


EXERCISE = Exercise(
    __name__,
    level=6,
    teaches="memory, and two derivatives coming back",
    asked="dx dh dc dwx dwh db",
    cases=(draw(x=(5, 3), h=(5, 2), c=(5, 2), wx=(3, 8), wh=(2, 8), b=(8,)),),
    derivation="""\
dc′ ← dc′ + dh′ o (1 − tanh² c′)               both ways of c′
di = dc′ g        df = dc′ c        dg = dc′ i        do = dh′ tanh c′
through σ and tanh:  di i (1 − i),  df f (1 − f),  dg (1 − g²),  do o (1 − o);
side by side they are dz, z = x wx + h wh + b
dx = dz wxᵀ     dh = dz whᵀ     dc = dc′ f     dwx = xᵀ dz     dwh = hᵀ dz     db = Σ dz
Source: Hochreiter & Schmidhuber (1997), Neural Computation 9; f: Gers, Schmidhuber &
Cummins (2000), Neural Computation 12.""",
    library=library,
    mistakes=(
        Mistake("dc", NO_C, lambda *a: without_c(*a)[2]),
        Mistake("dx", NO_C, lambda *a: without_c(*a)[0]),
        Mistake("dc", NO_H, without_h),
        Mistake(
            "dc",
            "c goes into c′ multiplied by f: this is dc′, not dc yet.",
            lambda *a: backward(*a)[2] / gates(a[0], a[1], *a[3:6])[1],
        ),
    ),
)
