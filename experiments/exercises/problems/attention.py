"""One head of attention.

    q = x wq        k = x wk        v = x wv
    a = q kᵀ / √n        s = softmax(a), row by row        y = s v

Row t of s says how much position t takes from every position. Write dx, dwq, dwk and dwv.

    1. Walk back: y = s v is a product of two matrices, and so is q kᵀ.
    2. The softmax is that of its own exercise, row by row.
    3. x goes three ways into y.

.mT transposes the last two axes and leaves the batch alone.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, wq, wk, wv):
    """x [B, T, d], wq and wk [d, n], wv [d, m] → y [B, T, m]."""
    return weights(x @ wq, x @ wk) @ (x @ wv)


def weights(q, k):
    """s [B, T, T], whose rows sum to 1."""
    a = q @ k.mT / q.shape[-1] ** 0.5
    e = jnp.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def backward(x, wq, wk, wv, dy):
    """Return dx [B, T, d], dwq and dwk [d, n], dwv [d, m]."""
    q, k, v = x @ wq, x @ wk, x @ wv
    s = weights(q, k)
    dv, ds = s.mT @ dy, dy @ v.mT
    da = s * (ds - (ds * s).sum(-1, keepdims=True)) / q.shape[-1] ** 0.5
    dq, dk = da @ k, da.mT @ q
    dx = dq @ wq.T + dk @ wk.T + dv @ wv.T
    return dx, *(jnp.einsum("bti,btj->ij", x, d) for d in (dq, dk, dv))


def library(x, wq, wk, wv, dy):
    """The same with fnn's Softmax, and one fnn.Dense for all three products."""
    w = jnp.concatenate([wq, wk, wv], -1)
    dense, params = fnn.Dense(len(w), len(w[0])), fnn.DenseParams(w, 0 * w[0])
    z, dense_cache = dense.forward(params, x)
    n = wq.shape[-1]
    q, k, v = z[..., :n], z[..., n : 2 * n], z[..., 2 * n :]
    scale = 1 / n**0.5
    s, cache = fnn.Softmax().forward((), jnp.einsum("bin,bjn->bij", q, k) * scale)
    _, da = fnn.Softmax().backward((), cache, jnp.einsum("bim,bjm->bij", dy, v))
    dq = jnp.einsum("bij,bjn->bin", da, k) * scale
    dk = jnp.einsum("bij,bin->bjn", da, q) * scale
    dv = jnp.einsum("bij,bim->bjm", s, dy)
    grads, dx = dense.backward(params, dense_cache, jnp.concatenate([dq, dk, dv], -1))
    return dx, grads.w[:, :n], grads.w[:, n : 2 * n], grads.w[:, 2 * n :]


def values(x, wq, wk, wv, dy):
    """dv."""
    return weights(x @ wq, x @ wk).mT @ dy


ROOT = "The scores are divided by √n; on the way back this factor acts once more."
PATHS = "x goes into q, k and v. dx is the sum of three terms; are all of them there?"

EXERCISE = Exercise(
    __name__,
    level=6,
    teaches="everything at once",
    asked="dx dwq dwk dwv",
    cases=(draw(x=(2, 5, 3), wq=(3, 7), wk=(3, 7), wv=(3, 4)),),
    derivation="""\
y = s v:          dv = sᵀ dy        ds = dy vᵀ
softmax:          da = s (ds − Σ ds s), Σ within each row
a = q kᵀ / √n:    dq = da k / √n    dk = daᵀ q / √n
products:         dwq = Σ xᵀ dq     dwk = Σ xᵀ dk     dwv = Σ xᵀ dv
three ways of x:  dx = dq wqᵀ + dk wkᵀ + dv wvᵀ
Source: Vaswani et al. (2017), arXiv:1706.03762, eq. 1.""",
    library=library,
    mistakes=(
        Mistake("dwq", ROOT, lambda *a: backward(*a)[1] * a[1].shape[-1] ** 0.5),
        Mistake("dwk", ROOT, lambda *a: backward(*a)[2] * a[1].shape[-1] ** 0.5),
        Mistake("dx", PATHS, lambda *a: values(*a) @ a[3].T),
        Mistake(
            "dwv",
            "Row j of v goes to every row of y, with weight s_ij: dv = sᵀ dy, not s dy.",
            lambda x, wq, wk, wv, dy: jnp.einsum("bti,btj->ij", x, weights(x @ wq, x @ wk) @ dy),
        ),
    ),
)
