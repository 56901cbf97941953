"""Tests of fnn.checking.explain.chain_rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.explain.chain_rule import of_chain_rule
from fnn.checking.explain.diagnosis import Size
from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.comparison import host
from fnn.checking.measure.points import points
from fnn.checking.report import sentence


def noise(*shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


X, W, V = noise(4, 3, seed=1), noise(3, 3, seed=2), noise(3, 2, seed=3)


class Explained(NamedTuple):
    kind: str
    text: str


def explained(f, backward, *args):
    """The explanations of a backward's gradients, by name."""
    names = tuple("xwv"[: len(args)])
    problem = from_vjp("f", f, backward, args, names, inputs=(0,))
    y = jax.eval_shape(problem.forward, problem.leaves)
    pair = tuple(points(problem, y, np.random.default_rng(0))[:2])
    made = [host(problem.backward(p.leaves, p.dy)) for p in pair]
    truth = [host(problem.reference(p.leaves, p.dy)) for p in pair]
    wrong = [j for j in range(len(names)) if not np.allclose(made[0][j], truth[0][j])]
    hands = tuple({j: made[k][j] for j in wrong} for k in (0, 1))
    found = of_chain_rule(problem, pair, hands, [Size(4)])
    return {names[j]: Explained(d.kind, sentence(d)) for j, d in found.items()}


def net(x, w, v):
    return jnp.tanh(x @ w) @ v


def net_backward(d=lambda u: 1 - jnp.tanh(u) ** 2, w_back=lambda w: w, h=jnp.tanh):
    """The right backward of net, with parts that can be made wrong."""

    def backward(x, w, v, dy):
        u = x @ w
        du = (dy @ v.T) * d(u)
        return du @ w_back(w).T, x.T @ du, h(u).T @ dy

    return backward


def test_a_right_backward_needs_no_explanation():
    assert explained(net, net_backward(), X, W, V) == {}


@pytest.mark.parametrize(
    ("d", "kind", "text"),
    [
        (lambda u: 1.0, "missing derivative", "the derivative of tanh"),
        (lambda u: (1 - jnp.tanh(u) ** 2) ** 2, "extra derivative", "is applied twice"),
        (lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u), "other activation", "of sigmoid"),
        (lambda u: 1 - jnp.tanh(jnp.tanh(u)) ** 2, "other activation", "at its result"),
    ],
)
def test_a_wrong_derivative_of_an_activation_explains_both_gradients_behind_it(d, kind, text):
    found = explained(net, net_backward(d), X, W, V)
    assert set(found) == {"x", "w"}
    assert {f.kind for f in found.values()} == {kind}
    assert all(text in f.text for f in found.values())
    assert all("test_chain_rule.py:" in f.text for f in found.values())


def test_a_wrong_factor_inside_of_a_longer_chain_is_a_wrong_term():
    found = explained(lambda x: x**2 + jnp.sin(x), lambda x, dy: dy * (4 * x + jnp.cos(x)), X)
    assert found["x"].kind == "wrong term"


def test_a_product_that_goes_back_through_the_transposed_weight():
    found = explained(net, net_backward(w_back=lambda w: w.T), X, W, V)
    assert set(found) == {"x"}
    assert found["x"].kind == "other weight"
    assert "goes back with w transposed" in found["x"].text


def test_a_weight_that_is_reshaped_instead_of_transposed():
    found = explained(lambda x, w: x @ w, lambda x, w, dy: (dy @ w.reshape(2, 3), x.T @ dy), X, V)
    assert found["x"].kind == "other weight"
    assert "w reshaped instead of transposed" in found["x"].text


def test_another_layers_weight():
    def backward(x, w, v, dy):
        du = dy @ w.T
        return du @ w.T, x.T @ (dy @ v.T), (x @ w).T @ dy

    found = explained(lambda x, w, v: (x @ w) @ v, backward, X, W, noise(3, 3, seed=4))
    assert found["x"].kind == "other weight"
    assert "goes back with w" in found["x"].text


def test_the_values_before_an_activation_in_the_place_of_its_result():
    found = explained(net, net_backward(h=lambda u: u), X, W, V)
    assert set(found) == {"v"}
    assert found["v"].kind == "other activation"
    assert "goes back with the values before an activation" in found["v"].text


def softmax(x):
    e = jnp.exp(x)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("c", "kind", "text"),
    [(0.0, "missing term", "is missing"), (-1.0, "wrong term", "has the wrong sign")],
)
def test_a_term_of_softmax_that_is_dropped_or_has_a_wrong_sign(c, kind, text):
    def backward(x, dy):
        y = softmax(x)
        return y * (dy - c * (dy * y).sum(1, keepdims=True))

    found = explained(softmax, backward, X)
    assert found["x"].kind == kind
    assert text in found["x"].text


def test_a_term_that_counts_twice():
    m = noise(3, 3, seed=5)
    found = explained(lambda x: x * (x @ m), lambda x, dy: 2 * dy * (x @ m) + (dy * x) @ m.T, X)
    assert found["x"].kind == "wrong term"
    assert "counts twice" in found["x"].text


def test_a_mistake_with_a_wrong_constant_is_explained_with_the_constant():
    found = explained(net, net_backward(lambda u: 1 / 4), X, W, V)
    assert {f.kind for f in found.values()} == {"missing derivative"}
    assert "and it is 1/4 (4 is the number of examples) × that" in found["x"].text


def test_a_constant_must_be_the_same_at_both_points():
    assert explained(net, net_backward(lambda u: (u * u).mean()), X, W, V) == {}


def test_a_product_that_goes_back_without_a_factor():
    found = explained(lambda x, w: x * w, lambda x, w, dy: (dy * w, dy), X, X**2)
    assert found["w"].kind == "missing factor"


@pytest.mark.parametrize("seed", range(3))
def test_a_random_gradient_is_not_explained(seed):
    def backward(x, w, v, dy):
        return noise(4, 3, seed=10 + seed), noise(3, 3, seed=20 + seed), noise(3, 2, seed=30 + seed)

    assert explained(net, backward, X, W, V) == {}


def test_what_fits_at_one_point_only_is_no_explanation():
    """The derivative is missing at the values as given, and right elsewhere."""

    def backward(x, w, v, dy):
        u = x @ w
        d = jnp.where((x == X).all(), 1.0, 1 - jnp.tanh(u) ** 2)
        du = (dy @ v.T) * d
        return du @ w.T, x.T @ du, jnp.tanh(u).T @ dy

    assert explained(net, backward, X, W, V) == {}
