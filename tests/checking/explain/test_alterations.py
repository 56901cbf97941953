"""Tests of fnn.checking.explain.alterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.explain.alterations import altered, derivative, replaced, through, units
from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.jaxprs import gradient, replay, trace

X = jnp.array([[0.5, -0.25, 2.0]])
W = jnp.array([[0.3, 0.7], [-0.2, 0.5], [1.0, -0.4]])
V = jnp.array([[2.0, 0.1], [0.3, -1.0], [-0.6, 0.9]])


def problem_of(f, *args):
    names = ("x", "w")[: len(args)]
    return from_vjp("f", f, lambda *a: None, args, names)


def graph_of(f, *args):
    problem = problem_of(f, *args)
    return problem, trace(problem, problem.leaves)


def node_of(graph, name):
    return next(i for i, n in enumerate(graph.nodes) if n.eqn.primitive.name == name)


@jax.jit
def net(x, w):
    return jnp.tanh(jnp.sin(x) @ w) * 3.0


def units_of(f, *args):
    problem, graph = graph_of(f, *args)
    values = replay(graph, problem.leaves)
    return graph, values, units(graph, values)


@pytest.mark.parametrize("f", [jax.nn.gelu, jax.nn.silu, jnp.tanh, jax.nn.relu])
def test_an_activation_of_many_operations_is_one_unit_with_its_derivative(f):
    graph, values, found = units_of(lambda x: f(x), X)
    (whole,) = [u for u in found if (u.u, u.y) == (graph.inputs[0], graph.outputs[0])]
    right = jax.jvp(f, (X,), (jnp.ones_like(X),))[1]
    np.testing.assert_allclose(derivative(graph, whole, values, X), right, rtol=1e-12)


def roots(found):
    return sorted({u.u for u in found})


def test_two_activations_around_a_product_are_two_units():
    graph, values, found = units_of(lambda x, w: jnp.tanh(jax.nn.silu(x) @ w), X, W)
    first, second = (max((u for u in found if u.u == r), key=lambda u: u.y) for r in roots(found))
    np.testing.assert_allclose(values[first.y], jax.nn.silu(X))
    np.testing.assert_allclose(values[second.u], jax.nn.silu(X) @ W)
    assert second.y == graph.outputs[0]


def test_a_replaced_derivative_keeps_the_values():
    problem, graph = graph_of(net, X, W)
    values = replay(graph, problem.leaves)
    unit = next(u for u in units(graph, values) if u.u == graph.inputs[0])
    alter = altered([replaced(unit, lambda _: 1 / jnp.cos(X))], jnp.ones(1), values)
    y = replay(graph, problem.leaves, alter=alter)[graph.outputs[0]]
    np.testing.assert_array_equal(y, net(X, W))
    dy = jnp.array([[1.0, -2.0]])
    dx = gradient(problem, graph, problem.leaves, [dy], alter=alter)[0]
    np.testing.assert_allclose(dx * jnp.cos(X) ** 2, jax.vjp(net, X, W)[1](dy)[0], rtol=1e-12)


@pytest.mark.parametrize("operand", [0, 1])
def test_a_product_goes_back_through_another_matrix(operand):
    problem, graph = graph_of(lambda x, w: x @ w, X, W)
    partner = V if operand == 0 else 2 * X
    i = node_of(graph, "dot_general")
    change = through(graph, i, operand, lambda _: partner)
    alter = altered([change], jnp.ones(1), {})
    values = replay(graph, problem.leaves, alter=alter)
    np.testing.assert_array_equal(values[graph.outputs[0]], X @ W)
    dy = jnp.array([[1.0, -2.0]])
    dx, dw = gradient(problem, graph, problem.leaves, [dy], alter=alter)
    np.testing.assert_allclose(dx, dy @ (V if operand == 0 else W).T, rtol=1e-14)
    np.testing.assert_allclose(dw, (2 * X if operand == 1 else X).T @ dy, rtol=1e-14)


def test_of_several_changes_only_the_chosen_one_counts():
    problem, graph = graph_of(lambda x: jnp.sin(x) * 2.0, X)
    values = replay(graph, problem.leaves)
    (sine, *_) = units(graph, values)
    changes = [replaced(sine, lambda v, c=c: c * jnp.cos(v[sine.u])) for c in (3.0, 5.0)]
    for chosen, c in (([0, 0], 1), ([1, 0], 3), ([0, 1], 5)):
        alter = altered(changes, jnp.array(chosen, float), values)
        (dx,) = gradient(problem, graph, problem.leaves, [jnp.ones_like(X)], alter=alter)
        np.testing.assert_allclose(dx, 2 * c * jnp.cos(X), rtol=1e-14)
