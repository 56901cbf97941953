"""Facts about attention, a layer that fnn does not have: its formulas against jax.vjp."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from facts.small_nets import arrays, close, vjp

import fnn
from fnn.layers.softmax import SoftmaxCache


def attention(q, k, v):
    """softmax(Q K^T / √d) V."""
    u = q @ k.T / q.shape[1] ** 0.5
    e = jnp.exp(u - u.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True) @ v


def weights(q, k):
    """S, whose rows say how much each query takes from each key."""
    e = np.exp(q @ k.T / q.shape[1] ** 0.5)
    return e / e.sum(1, keepdims=True)


def attention_backward(q, k, v, do):
    """dQ, dK, dV."""
    s, root = weights(q, k), q.shape[1] ** 0.5
    ds = do @ v.T
    du = s * (ds - (ds * s).sum(1, keepdims=True))
    return du @ k / root, du.T @ q / root, s.T @ do


def test_attention_has_its_gradients():
    q, k, v, do = arrays((5, 3), (6, 3), (6, 4), (5, 4))
    np.testing.assert_allclose(weights(q, k).sum(1), np.ones(5), rtol=1e-12)
    close(weights(q, k) @ v, jax.jit(attention)(q, k, v))
    close(attention_backward(q, k, v, do), vjp(attention, (q, k, v), do))
    cache = SoftmaxCache(weights(q, k))  # fnn's softmax is the one inside
    _, du = jax.jit(fnn.Softmax().backward)((), cache, do @ v.T)
    close(np.asarray(du) @ k / 3**0.5, attention_backward(q, k, v, do)[0])


def test_scores_of_unit_variance_have_variance_d():
    for d in (2, 3):
        signs = np.array(list(itertools.product((-1.0, 1), repeat=2 * d)))  # every q and k
        scores = (signs[:, :d] * signs[:, d:]).sum(1)
        assert scores.mean() == 0
        assert (scores**2).mean() == d
        assert np.isclose(((scores / d**0.5) ** 2).mean(), 1)


@jax.jit
def self_attention(x, wq, wk, wv):
    """Attention of x to itself."""
    return attention(x @ wq, x @ wk, x @ wv)


def self_attention_backward(x, wq, wk, wv, do):
    """dX, dW_Q, dW_K, dW_V."""
    dq, dk, dv = attention_backward(x @ wq, x @ wk, x @ wv, do)
    return dq @ wq.T + dk @ wk.T + dv @ wv.T, x.T @ dq, x.T @ dk, x.T @ dv


def test_self_attention_has_its_gradients_and_permutes_with_its_rows():
    *args, do = arrays((6, 5), (5, 3), (5, 3), (5, 4), (6, 4))
    x, *w = args
    assert weights(x @ w[0], x @ w[1]).shape == (6, 6)
    close(self_attention_backward(*args, do), vjp(self_attention, args, do))
    order = np.array([3, 0, 5, 1, 4, 2])
    close(self_attention(x[order], *w), np.asarray(self_attention(*args))[order])


def multi_head(x, heads, wo):
    """concat(self_attention of every head) W_O."""
    return jnp.concatenate([self_attention(x, *w) for w in heads], 1) @ wo


def test_multi_head_attention_has_its_gradients_and_one_head_is_self_attention():
    x, wo, do, *w = arrays((6, 5), (8, 7), (6, 7), *[(5, 3), (5, 3), (5, 4)] * 2)
    heads = [tuple(w[:3]), tuple(w[3:])]
    outputs = np.concatenate([np.asarray(self_attention(x, *h)) for h in heads], 1)
    passed = np.split(do @ wo.T, 2, 1)
    parts = [self_attention_backward(x, *h, d) for h, d in zip(heads, passed, strict=True)]
    ours = parts[0][0] + parts[1][0], [p[1:] for p in parts], outputs.T @ do
    close(ours, vjp(multi_head, (x, heads, wo), do))
    close(jax.jit(multi_head)(x, heads[:1], np.eye(4)), np.asarray(self_attention(x, *heads[0])))
