"""Tests of fnn.checking.measure.jaxprs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.comparison import EPS
from fnn.checking.measure.jaxprs import gradient, precision, replay, trace, uses

X = jnp.array([[0.5, -0.25, 2.0]])
W = jnp.array([[0.3, 0.7], [-0.2, 0.5], [1.0, -0.4]])


def problem_of(f, *args):
    names = ("x", "w")[: len(args)]
    return from_vjp("f", f, lambda *a: None, args, names)


def graph_of(f, *args):
    problem = problem_of(f, *args)
    return problem, trace(problem, problem.leaves)


@jax.jit
def net(x, w):
    return jnp.tanh(jnp.sin(x) @ w) * 3.0


def test_a_replay_gives_the_values_of_the_forward_jit_inside_included():
    problem, graph = graph_of(net, X, W)
    assert "jit" not in {n.eqn.primitive.name for n in graph.nodes}
    values = replay(graph, problem.leaves)
    np.testing.assert_array_equal(values[graph.outputs[0]], net(X, W))


def test_an_operation_of_a_constant_is_not_active():
    _, graph = graph_of(lambda x: jnp.sin(jnp.ones(3) * 2) + jnp.cos(x), X)
    active = {n.eqn.primitive.name for n in graph.nodes if n.outs[0] in graph.active}
    assert "cos" in active
    assert "sin" not in active


def node_of(graph, name):
    return next(i for i, n in enumerate(graph.nodes) if n.eqn.primitive.name == name)


@pytest.mark.parametrize("name", ["sin", "dot_general", "tanh"])
@pytest.mark.parametrize("c", [0.0, -1.0, 2.0])
def test_a_weight_on_a_path_keeps_the_values_and_multiplies_the_derivative(name, c):
    problem, graph = graph_of(net, X, W)
    weights = {(node_of(graph, name), 0): c}
    altered = replay(graph, problem.leaves, weights=weights)
    np.testing.assert_allclose(altered[graph.outputs[0]], net(X, W), rtol=1e-15)
    dy = jnp.array([[1.0, -2.0]])
    dx, dw = gradient(problem, graph, problem.leaves, [dy], weights=weights)
    right_x, right_w = jax.vjp(net, X, W)[1](dy)
    np.testing.assert_allclose(dx, c * right_x, rtol=1e-12)
    np.testing.assert_allclose(dw, right_w * (c if name == "tanh" else 1), rtol=1e-12)


def test_the_gradient_of_a_graph_is_that_of_the_forward():
    problem, graph = graph_of(net, X, W)
    dy = jnp.array([[1.0, -2.0]])
    made, right = gradient(problem, graph, problem.leaves, [dy]), jax.vjp(net, X, W)[1](dy)
    for a, b in zip(made, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def calling(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize(("f", "found"), [(jax.jit(calling), True), (jnp.sin, False)])
def test_an_operation_is_found_inside_of_jit_too(f, found):
    assert uses(jax.make_jaxpr(f)(jnp.ones(2)).jaxpr, "callback") == found


@pytest.mark.parametrize(
    ("f", "eps"),
    [
        (lambda x, c: x * c, EPS),
        (lambda x, c: x.astype("float32").astype("float64"), 2.0**-23),
        (lambda x, c: jax.jit(lambda a: a.astype("bfloat16"))(x), 2.0**-7),
        (lambda x, c: x * c.astype("float32").astype("float64"), EPS),  # c is not moved
    ],
)
def test_the_precision_is_the_coarsest_on_the_way_from_a_moved_input(f, eps):
    program = jax.make_jaxpr(f)(jnp.ones(2), jnp.ones(2))
    assert precision(program, (0,)) == eps
