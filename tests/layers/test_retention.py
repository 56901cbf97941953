"""Tests of fnn.layers.retention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.layers.retention import chunks_of, cut, joined, retain, retain_back

NAMES = "o", "S", "dq", "dk", "dv", "dl", "dS"


def step_by_step(q, k, v, l, s):
    """S_t = a_t S_{t−1} + k_tᵀ v_t, o_t = q_t S_t/√d, one step after another."""
    batch, length, n = q.shape
    n_heads, d = s.shape[1:3]

    def step(s, inputs):
        (q, k, v), l = (a.reshape(batch, n_heads, d) for a in inputs[:3]), inputs[3]
        s = jnp.exp(l)[..., None, None] * s + k[..., None] * v[..., None, :]
        return s, jnp.einsum("bhi,bhij->bhj", q, s) / np.sqrt(d)

    s, o = jax.lax.scan(step, s, tuple(a.swapaxes(0, 1) for a in (q, k, v, l)))
    return o.swapaxes(0, 1).reshape(batch, length, n), s


def given(length, n_heads=3, d=4, z=None, batch=2):
    """q, k, v, l, S, do and dS."""
    q, k, v, do = (noise(batch, length, n_heads * d, seed=i) for i in range(4))
    z = noise(batch, length, n_heads, seed=4) + 1 if z is None else z
    s, ds = (noise(batch, n_heads, d, d, seed=i) for i in (5, 6))
    return q, k, v, jax.nn.log_sigmoid(z), s, do, ds


@jax.jit
def by_steps(q, k, v, l, s, do, ds):
    out, vjp = jax.vjp(step_by_step, q, k, v, l, s)
    return *out, *vjp((do, ds))


def in_chunks(chunk, q, k, v, l, s, do, ds):
    length, n_heads = l.shape[1:]
    chunks = chunks_of(*(cut(a, n_heads, chunk) for a in (q, k, v, l)))
    o, last = retain(chunks, s)
    *found, _, first = retain_back(chunks, s, cut(do, n_heads, chunk), ds)
    return joined(o, length), last, *(joined(a, length) for a in found), first


in_chunks = jax.jit(in_chunks, static_argnums=0)


def check_equal(found, want, tolerance):
    for name, a, b in zip(NAMES, found, want, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.isfinite(a).all(), name
        assert abs(a - b).max() <= tolerance * abs(b).max(), name


@pytest.mark.parametrize(
    ("length", "chunk"),
    [(7, 3), *[pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 4), (6, 2), (5, 9))]],
)
def test_chunks_have_the_values_and_gradients_of_single_steps(length, chunk):
    args = given(length)
    check_equal(in_chunks(chunk, *args), by_steps(*args), 1e-13)


def extremes(length):
    """z of decays near 0, near 1, both, in between, and beyond what an exponential can tell."""
    z = noise(2, length, 3, seed=4)
    return {"0": z - 20, "1": z + 20, "both": 1e3 * z, "between": 9 * z - 5, "0 and 1": 1e6 * z}


@pytest.mark.parametrize("name", extremes(1))
def test_decays_near_0_and_1_lose_nothing(name):
    args = given(37, z=extremes(37)[name])
    want = by_steps(*args)
    check_equal(in_chunks(16, *args), want, 1e-13)
    rough = tuple(a.astype("float32") for a in args)
    check_equal(in_chunks(16, *rough), want, 1e-6)


def test_a_decay_of_0_forgets_the_past_and_gets_no_gradient():
    q, k, v, l, *rest = given(7)
    l = l.at[:, 4].set(-jnp.inf)
    found = dict(zip(NAMES, in_chunks(3, q, k, v, l, *rest), strict=True))
    other = in_chunks(3, q, k.at[:, :4].add(1), v, l, *rest)
    np.testing.assert_array_equal(other[0][:, 4:], found["o"][:, 4:])
    np.testing.assert_array_equal(found["dl"][:, 4], 0)
    assert (found["dl"][:, [3, 5]] != 0).all()
    assert all(np.isfinite(a).all() for a in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 6.0, 30.0])
def test_4096_steps_in_single_precision(shift):
    args = given(4096, z=noise(1, 4096, 2, seed=4) + shift, n_heads=2, d=8, batch=1)
    rough = tuple(a.astype("float32") for a in args)
    check_equal(in_chunks(64, *rough), by_steps(*args), 1e-5)


def test_by_hand():
    """One head of one feature, in a chunk of two steps and one of one, behind S = 2."""
    column = jnp.array([[1.0, 2.0, 3.0], [1.0, 3.0, 1.0], [1.0, 2.0, 4.0], [1.0, 10.0, 100.0]])
    q, k, v, do = column[:, None, :, None]
    l = jnp.log(jnp.array([[[0.5], [0.25], [0.5]]]))
    found = in_chunks(2, q, k, v, l, jnp.full((1,) * 4, 2.0), do, jnp.full((1,) * 4, 1000.0))
    o, s, dq, dk, dv, dl, ds = map(np.ravel, found)
    # S = ½·2 + 1·1 = 2, ¼·2 + 3·2 = 6.5, ½·6.5 + 1·4 = 7.25
    np.testing.assert_allclose(o, [1 * 2, 2 * 6.5, 3 * 7.25], rtol=1e-14)
    np.testing.assert_allclose(s, [7.25], rtol=1e-14)
    # dS = 1000 + 3·100 = 1300, ½·1300 + 2·10 = 670, ¼·670 + 1·1 = 168.5
    np.testing.assert_allclose(dq, [1 * 2, 10 * 6.5, 100 * 7.25], rtol=1e-14)
    np.testing.assert_allclose(dk, [168.5 * 1, 670 * 2, 1300 * 4], rtol=1e-14)
    np.testing.assert_allclose(dv, [168.5 * 1, 670 * 3, 1300 * 1], rtol=1e-14)
    np.testing.assert_allclose(dl, [168.5 * 1, 670 * 0.5, 1300 * 3.25], rtol=1e-14)
    np.testing.assert_allclose(ds, [168.5 / 2], rtol=1e-14)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "l"])
def test_what_is_not_finite_reaches_its_own_step_and_later_ones_only(which, bad):
    args, want = [*given(7)[:5]], in_chunks(3, *given(7))[0]
    args[which] = args[which].at[1, 4].set(bad if which < 3 else jnp.nan)
    o, s = retain(chunks_of(*(cut(a, 3, 3) for a in args[:4])), args[4])
    o = joined(o, 7)
    np.testing.assert_allclose(o[1, :4], want[1, :4], rtol=1e-12)
    np.testing.assert_allclose(o[0], want[0], rtol=1e-12)
    assert not np.isfinite(o[1, 4]).any()
    assert which == 0 or not np.isfinite(s[1]).any()


def test_pieces_are_joined_to_what_was_cut():
    a = noise(2, 7, 12)
    for chunk, form in (
        (1, (2, 7, 3, 1, 4)),
        (3, (2, 3, 3, 3, 4)),
        (6, (2, 2, 3, 4, 4)),
        (9, (2, 1, 3, 7, 4)),
    ):
        pieces = cut(a, 3, chunk)
        assert pieces.shape == form
        np.testing.assert_array_equal(joined(pieces, 7), a)
    assert cut(a[:, :0], 3, 4).shape == (2, 1, 3, 1, 4)
