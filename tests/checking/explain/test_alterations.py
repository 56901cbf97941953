"""Tests of fnn.checking.explain.alterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.explain.alterations import derivative, replaced, scaled, through, units
from fnn.checking.measure.jaxprs import gradient, replay, trace
from fnn.checking.measure.problem import from_vjp

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


@pytest.mark.parametrize("name", ["sin", "dot_general", "tanh"])
@pytest.mark.parametrize("c", [0.0, -1.0, 2.0])
def test_a_scaled_path_keeps_the_values_and_multiplies_the_derivative(name, c):
    problem, graph = graph_of(net, X, W)
    change = scaled(node_of(graph, name), 0, c)
    altered = replay(graph, problem.leaves, change)
    np.testing.assert_allclose(altered[graph.outputs[0]], net(X, W), rtol=1e-15)
    dy = jnp.array([[1.0, -2.0]])
    dx, dw = gradient(problem, graph, problem.leaves, [dy], change)
    right_x, right_w = jax.vjp(net, X, W)[1](dy)
    np.testing.assert_allclose(dx, c * right_x, rtol=1e-12)
    np.testing.assert_allclose(dw, right_w * (c if name == "tanh" else 1), rtol=1e-12)


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
    change = replaced(unit, 1 / jnp.cos(X))
    altered = replay(graph, problem.leaves, change)[graph.outputs[0]]
    np.testing.assert_allclose(altered, net(X, W), rtol=1e-15)
    dy = jnp.array([[1.0, -2.0]])
    dx = gradient(problem, graph, problem.leaves, [dy], change)[0]
    np.testing.assert_allclose(dx * jnp.cos(X) ** 2, jax.vjp(net, X, W)[1](dy)[0], rtol=1e-12)


@pytest.mark.parametrize("operand", [0, 1])
def test_a_product_goes_back_through_another_matrix(operand):
    problem, graph = graph_of(lambda x, w: x @ w, X, W)
    partner = V if operand == 0 else 2 * X
    i = node_of(graph, "dot_general")
    change = through(graph, i, operand, partner)
    values = replay(graph, problem.leaves, change)
    np.testing.assert_allclose(values[graph.outputs[0]], X @ W, rtol=1e-15)
    dy = jnp.array([[1.0, -2.0]])
    dx, dw = gradient(problem, graph, problem.leaves, [dy], change)
    np.testing.assert_allclose(dx, dy @ (V if operand == 0 else W).T, rtol=1e-14)
    np.testing.assert_allclose(dw, (2 * X if operand == 1 else X).T @ dy, rtol=1e-14)
