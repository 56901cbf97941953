"""Tests of benchmarks.flops, at sizes that differ pairwise."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import products

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
ONE = 2 * 3 * 5 * 7  # of A @ B


def test_a_product_has_two_operations_for_each_term():
    assert products(jnp.dot, A, B) == ONE
    assert products(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), A[None], B[None]) == ONE
    assert products(lambda a: jnp.tanh(a) + 1, A) == 0


def test_a_gradient_with_respect_to_both_takes_three():
    assert products(jax.grad(lambda a, b: ((a @ b) ** 2).sum(), argnums=(0, 1)), A, B) == 3 * ONE


@pytest.mark.parametrize("inside", [jax.jit, jax.checkpoint, jax.vmap])
def test_what_is_inside_counts(inside):
    a, b = (A[None], B[None]) if inside is jax.vmap else (A, B)
    assert products(inside(jnp.dot), a, b) == ONE


def test_a_loop_counts_as_often_as_it_runs():
    def f(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=11)[0].sum()

    x, w = jnp.ones((3, 5)), jnp.ones((5, 5))
    assert products(f, x, w) == 11 * 2 * 3 * 5 * 5
    assert products(jax.grad(f, argnums=1), x, w) == 3 * 11 * 2 * 3 * 5 * 5


def test_of_branches_the_one_with_the_most_counts():
    def f(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: 0.0 * (a @ b) + a @ b)

    assert products(f, A, B) == 2 * ONE


def test_a_loop_of_unknown_length_must_have_no_products():
    def f(a, b, *, work):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + work(a, b).sum(), a)

    assert products(lambda a, b: f(a, b, work=jnp.add), A, A) == 0
    with pytest.raises(ValueError, match="loop of unknown length"):
        products(lambda a, b: f(a, b, work=jnp.dot), A, B)


@pytest.mark.parametrize("stride", [1, 2])
def test_each_of_a_convolutions_two_derivatives_is_as_much_as_the_convolution(stride):
    def f(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, w, (stride, stride), [(0, 0), (0, 0)], dimension_numbers=numbers
        )
        return (y**2).sum()

    x, w = jnp.ones((2, 8, 8, 3)), jnp.ones((stride, stride, 3, 5))
    side = 8 // stride
    one = 2 * (2 * side * side * 5) * (stride * stride * 3)
    assert products(f, x, w) == one
    assert products(jax.grad(f, argnums=1), x, w) == 2 * one
    assert products(jax.grad(f, argnums=(0, 1)), x, w) == 3 * one
