"""Tests of benchmarks.profiles."""

import jax
import jax.numpy as jnp
import pytest

import fnn
from benchmarks.profiles import KINDS, Operation, costs, events, operations

a, b = jax.ShapeDtypeStruct((8, 300), "float32"), jax.ShapeDtypeStruct((300, 500), "float32")


def compiled(f, *args):
    """What the program says of itself."""
    return operations(jax.jit(f).lower(*args).compile().as_text())


def single(layer):
    """Its params in float32."""
    return jax.tree.map(lambda p: p.astype("float32"), layer.init(jax.random.key(0)))


def products(found):
    """Those with a rate."""
    return [op for op in found.values() if op.flops]


def test_a_product_has_its_sizes_and_operations():
    want = Operation("dot 8 × 500, sums of 300", "", 2 * 8 * 500 * 300)
    assert set(products(compiled(jnp.dot, a, b))) == {want}


def test_a_convolution_sums_over_its_window_and_channels():
    layer = fnn.Conv2d(8, 16, 3, padding="same")
    params = single(layer)
    x = jnp.ones((2, 9, 7, 8), "float32")
    found = products(compiled(lambda p, x: layer.forward(p, x)[0], params, x))
    assert {op.flops for op in found} == {2 * 2 * 9 * 7 * 16 * 3 * 3 * 8}
    assert {op.where for op in found} == {"layers/convolution.py"}


def test_the_file_is_that_of_the_layer_not_of_its_helpers():
    layer = fnn.Dense(300, 500)
    params = single(layer)
    (found,) = set(products(compiled(lambda p, x: layer.forward(p, x)[0], params, a)))
    assert found.where == "layers/dense.py"


def test_loops_are_left_out_and_what_is_in_them_is_not():
    def looped(a, b):
        return jax.lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c @ b @ b.T), a)

    program = jax.jit(looped).lower(a, b).compile()
    found = operations(program.as_text())
    timed = {
        name
        for name, _ in events(program, (jnp.ones(a.shape, a.dtype), jnp.ones(b.shape, b.dtype)), 2)
    }
    loops = {name for name in timed if name.startswith("while")}
    assert loops
    assert not loops & set(found)
    assert {op.kind for op in products(found)} == {
        "dot 8 × 500, sums of 300",
        "dot 8 × 300, sums of 500",
    }


@pytest.mark.slow
def test_the_costs_of_a_step_are_those_of_its_kinds():
    found = costs("gpt", quick=True, n=2)
    assert [c.milliseconds for c in found] == sorted((c.milliseconds for c in found), reverse=True)
    assert 0.5 < sum(c.share for c in found) <= 1 + 1e-9
    assert any(c.gigaflops for c in found)
    assert {c.kind for c in found if c.gigaflops is None} <= set(KINDS)
