"""Tests of fnn.optim.soap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.layers.convolution import ConvParams

RATE, B1, B2, EPS, EVERY, STEPS = 0.1, 0.8, 0.9, 1e-3, 2, 6
PARAMS = {
    "stacked": fnn.DenseParams(jnp.zeros((2, 3, 2)), jnp.zeros((2, 2))),
    "images": ConvParams(jnp.zeros((2, 1, 2, 3)), None),
    "long": fnn.UnembedParams(jnp.zeros((2, 5))),
}
GRADS = [jax.tree.map(lambda p, i=i: noise(*p.shape, seed=p.size + i), PARAMS)
         for i in range(STEPS)]  # fmt: skip


def basis(p, q, s, axis):
    """QR of P Q, its columns in the order of qᵀ P q; S with them."""
    order = np.argsort(-np.array([q[:, k] @ p @ q[:, k] for k in range(len(p))]))
    return np.linalg.qr(p @ q[:, order])[0], np.take(s, order, axis)


def by_numpy(grads, sides=(True, True)):
    """All updates of one matrix, from the equations of the source."""
    a, b = grads[0].shape
    m, s, left, right = np.zeros((a, b)), np.zeros((a, b)), np.zeros((a, a)), np.zeros((b, b))
    ql, qr, updates = np.eye(a), np.eye(b), [np.zeros((a, b))]
    for t, g in enumerate(grads):
        if t:
            m = B1 * m + (1 - B1) * g
            s = np.sqrt(B2 * s**2 + (1 - B2) * (ql.T @ g @ qr) ** 2)
            n = ql.T @ m @ qr / (1 - B1**t) / (s / np.sqrt(1 - B2**t) + EPS)
            updates.append(-RATE * ql @ n @ qr.T)
        left, right = B2 * left + (1 - B2) * g @ g.T, B2 * right + (1 - B2) * g.T @ g
        if t == 0:
            ql, qr = (np.linalg.eigh(p)[1][:, ::-1] for p in (left, right))
            ql, qr = ql if sides[0] else np.eye(a), qr if sides[1] else np.eye(b)
        elif t % EVERY == 0:
            if sides[0]:
                ql, s = basis(left, ql, s, 0)
            if sides[1]:
                qr, s = basis(right, qr, s, 1)
    return np.stack(updates)


@jax.jit
def run(optimizer, grads):
    def step(state, g):
        updates, state = optimizer.update(g, state)
        return state, updates

    grads = jax.tree.map(lambda *g: jnp.stack(g), *grads)
    return jax.lax.scan(step, optimizer.init(PARAMS), grads)[1]


def test_its_steps_are_those_of_the_source():
    found = run(fnn.optim.SOAP(RATE, B1, B2, EPS, EVERY, max_size=4), GRADS)
    near = {"rtol": 1e-9, "atol": 1e-12}

    def of(f):
        return [np.asarray(f(g)) for g in GRADS]

    for i in range(2):
        place = by_numpy(of(lambda g, i=i: g["images"].w[i, 0]))
        np.testing.assert_allclose(found["images"].w[:, i, 0], place, **near)
        one = by_numpy(of(lambda g, i=i: g["stacked"].w[i]))
        np.testing.assert_allclose(found["stacked"].w[:, i], one, **near)
    long = by_numpy(of(lambda g: g["long"].w), (True, False))
    np.testing.assert_allclose(found["long"].w, long, **near)
    none = (False, False)
    bias = by_numpy(of(lambda g: g["stacked"].b), none)  # two axes, but no weights
    np.testing.assert_allclose(found["stacked"].b, bias, **near)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-35, 1e37])
def test_a_gradient_of_any_size_leaves_a_state_that_goes_on(size):
    def last(size):
        grads = [jax.tree.map(lambda g: size * g.astype("float32"), g) for g in GRADS]
        return run(fnn.optim.SOAP(RATE, B1, B2, 0.0, EVERY, max_size=4), grads)

    for found, want in zip(*map(jax.tree.leaves, (last(size), last(1.0))), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-2, atol=1e-3)  # whatever the unit is


@pytest.mark.slow
def test_it_trains_in_fewer_steps_than_adam_where_directions_are_curved_unlike():
    a, b = (noise(8, 8, seed=i) * jnp.geomspace(1, 0.05, 8)[:, None] for i in (1, 2))
    goal = noise(8, 8, seed=3)

    def value(w):
        return ((a @ (w - goal) @ b.T) ** 2).sum()

    def last(optimizer):
        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(fnn.UnembedParams(jax.grad(value)(w)), state)
            return (w + updates.w, state), None

        start = jnp.zeros((8, 8))
        begun = start, optimizer.init(fnn.UnembedParams(start))
        return value(jax.lax.scan(step, begun, None, 300)[0][0])

    rates = jnp.geomspace(1e-3, 1, 7)
    soap = jax.jit(jax.vmap(lambda rate: last(fnn.optim.SOAP(rate))))(rates).min()
    adam = jax.jit(jax.vmap(lambda rate: last(fnn.optim.Adam(rate, 0.95, 0.95))))(rates).min()
    assert soap < 0.1 * adam


def test_what_has_a_basis():
    soap = fnn.optim.SOAP()
    frozen = fnn.FrozenParams(fnn.UnembedParams(jnp.ones((2, 2))))
    table = fnn.EmbeddingParams(jnp.zeros((3, 2)))
    params = {**PARAMS, "table": table, "frozen": frozen, "plain": [jnp.ones((2, 3)), jnp.ones(4)]}
    turns = soap.turns(params)
    assert turns["stacked"] == (True, False)
    assert turns["images"] == (True, None)
    assert turns["table"] == (False,)
    assert jax.tree.leaves(turns["frozen"]) == [False]
    assert turns["plain"] == [True, False]
    chosen = fnn.optim.SOAP(select=lambda path: "table" in path).turns(params)
    assert (chosen["stacked"], chosen["table"]) == ((False, False), (True,))


def test_errors():
    for options, message in [
        ({"learning_rate": 0.0}, r"SOAP: learning_rate must be in \(0, inf\), got 0.0"),
        ({"b1": 1.0}, r"SOAP: b1 must be in \[0, 1\), got 1.0"),
        ({"interval": 0}, r"SOAP: interval must be in \[1, inf\), got 0"),
        ({"max_size": 0}, r"SOAP: max_size must be in \[1, inf\), got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            fnn.optim.SOAP(**options)
    with pytest.raises(TypeError, match="SOAP: select must be a function of a path"):
        fnn.optim.SOAP(select="w")
