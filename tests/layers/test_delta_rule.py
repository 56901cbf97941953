"""Tests of fnn.layers.delta_rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.layers.delta_rule import correct, inverse, inverted, unit, unit_back
from fnn.layers.retention import chunks_of, cut, joined, retain, retain_back

NAMES = "o", "S", "dq", "dk", "dv", "dl", "dβ", "dS"


def step_by_step(q, k, v, l, b, s):
    """S_t = a_t (1 − β_t k_tᵀ k_t) S_{t−1} + β_t k_tᵀ v_t, one step after another."""
    batch, length, n = q.shape
    n_heads, d = s.shape[1:3]

    def step(s, inputs):
        q, k, v = (a.reshape(batch, n_heads, d) for a in inputs[:3])
        a, b = (a[..., None, None] for a in inputs[3:])
        keep = jnp.eye(d) - b * k[..., None] * k[..., None, :]
        s = jnp.exp(a) * (keep @ s) + b * k[..., None] * v[..., None, :]
        return s, jnp.einsum("bhi,bhij->bhj", q, s) / np.sqrt(d)

    s, o = jax.lax.scan(step, s, tuple(a.swapaxes(0, 1) for a in (q, k, v, l, b)))
    return o.swapaxes(0, 1).reshape(batch, length, n), s


def given(length, z=None, n_heads=3, d=4):
    """q, k, v, l, β, S, do and dS, keys of length 1."""
    q, k, v, do = (noise(2, length, n_heads * d, seed=i) for i in range(4))
    k = k.reshape(2, length, n_heads, d)
    k = (k / jnp.sqrt((k**2).sum(-1, keepdims=True))).reshape(v.shape)
    z = noise(2, length, n_heads, seed=4) + 1 if z is None else z
    b = jax.nn.sigmoid(noise(2, length, n_heads, seed=5))
    s, ds = (noise(2, n_heads, d, d, seed=i) for i in (6, 7))
    return q, k, v, jax.nn.log_sigmoid(z), b, s, do, ds


@jax.jit
def by_steps(q, k, v, l, b, s, do, ds):
    out, vjp = jax.vjp(step_by_step, q, k, v, l, b, s)
    return *out, *vjp((do, ds))


@jax.jit
def in_chunks(q, k, v, l, b, s, do, ds):
    """In chunks of three."""
    length, n_heads = l.shape[1:]
    chunks = chunks_of(*(cut(a, n_heads, 3) for a in (q, k, v, l, b)))
    o, last = retain(chunks, s)
    *found, first = retain_back(chunks, s, cut(do, n_heads, 3), ds)
    return joined(o, length), last, *(joined(a, length) for a in found), first


@pytest.mark.parametrize("sharp", [1, 1e3])
def test_chunks_have_the_values_and_gradients_of_single_steps(sharp):
    args = given(7, z=sharp * noise(2, 7, 3, seed=4))
    found, want = in_chunks(*args), by_steps(*args)
    for name, a, b in zip(NAMES, found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13, err_msg=name)


def test_with_a_rate_of_1_and_no_decay_the_state_answers_a_key_with_its_last_value():
    q, k, v, l, b, s, do, ds = given(7)
    _, last, *_ = in_chunks(q, k, v, 0 * l, jnp.ones_like(b), s, do, ds)
    keys, values = (a[:, 6].reshape(2, 3, 1, 4) for a in (k, v))
    np.testing.assert_allclose(keys @ last, values, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("which", range(5), ids=["q", "k", "v", "l", "β"])
def test_what_is_not_finite_reaches_its_own_step_and_later_ones_only(which):
    args = [*given(7)]
    want = in_chunks(*args)[0]
    args[which] = args[which].at[1, 4].set(jnp.nan)
    o, s, *_ = in_chunks(*args)
    np.testing.assert_allclose(o[1, :4], want[1, :4], rtol=1e-12)
    np.testing.assert_allclose(o[0], want[0], rtol=1e-12)
    assert not np.isfinite(o[1, 4]).any()
    assert which == 0 or not np.isfinite(s[1]).any()


def test_by_hand():
    """Two steps of one feature with k = 1: w = ½ (4 − ½·2) = 1.5, then ¼ (8 − ½ (1 + 1.5))."""
    k, v = jnp.ones((2, 1)), jnp.array([[4.0], [8.0]])
    decay, e = jnp.array([[1.0, 0.0], [0.5, 1.0]]), jnp.array([[0.5], [0.25]])
    b = jnp.array([[0.5], [0.25]])
    w = correct(k, v, e, b, jnp.array([[2.0]]), inverted(k, decay, b))
    np.testing.assert_allclose(w, [[1.5], [(8 - 1.25) / 4]], rtol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_inverse_is_that_of_a_triangle(size):
    m = np.tril(noise(2, size, size), -1)
    one = np.eye(size) + m
    found = one @ inverse(jnp.asarray(m))
    np.testing.assert_allclose(found, np.stack([np.eye(size)] * 2), rtol=1e-10, atol=1e-12)


def test_unit_has_length_1_and_the_derivative_of_jax():
    a, du = 9 * noise(2, 5, 4), noise(2, 5, 4, seed=2)
    (u, r), vjp = jax.vjp(unit, a)
    np.testing.assert_allclose((u**2).sum(-1), 1, rtol=1e-4)
    want = vjp((du, jnp.zeros_like(r)))[0]
    np.testing.assert_allclose(unit_back(u, r, du), want, rtol=1e-10, atol=1e-13)
