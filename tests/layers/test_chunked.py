"""Tests of fnn.layers.chunked."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from jax import export

from fnn.layers.chunked import attend, attend_back
from fnn.layers.sight import Sight


@pytest.mark.parametrize("chunk", [2, None])
def test_values_and_gradients_are_those_of_softmax(chunk):
    q, k, v = noise(2, 3, 2, 5, 4), noise(2, 3, 5, 4, seed=2), noise(2, 3, 5, 4, seed=3)

    def plain(q, k, v):
        u = jnp.einsum("bhgtd,bhsd->bhgts", q, k) / 2
        u = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), u, -jnp.inf)
        return jnp.einsum("bhgts,bhsd->bhgtd", jax.nn.softmax(u, -1), v)

    want, vjp = jax.vjp(plain, q, k, v)
    o, m = attend(q, k, v, Sight(True), chunk)
    np.testing.assert_allclose(o, want, rtol=1e-10, atol=1e-12)
    do = noise(*o.shape, seed=4)
    found = attend_back(q, k, v, o, m, do, Sight(True), chunk)
    for a, b in zip(found[:3], vjp(do), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


SIGHTS = {
    "causal": Sight(True),
    "all": Sight(),
    "window": Sight(True, 4),
    "both sides": Sight(window=4),
    "distances": Sight(True, a=noise(2, 2, 13, seed=5)),
    "keys": Sight(keys=jnp.arange(7) % 3 > np.arange(2)[:, None]),
    "pairs": Sight(pairs=noise(2, 7, 7, seed=6) > 0),
}


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
def test_all_at_once_as_other_devices_do_it_is_one_after_another(sight, monkeypatch):
    q, do = noise(2, 2, 2, 7, 4), noise(2, 2, 2, 7, 4, seed=4)
    k, v = noise(2, 2, 7, 4, seed=2), noise(2, 2, 7, 4, seed=3)

    def both():
        o, m = attend(q, k, v, sight, 3)
        return o, m, *attend_back(q, k, v, o, m, do, sight, 3)

    want = jax.jit(lambda: both())()
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays)
    )
    chex.assert_trees_all_close(jax.jit(lambda: both())(), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_devices_loop_over_keys_only(platform, dtype):
    def both(q, k, v, do):
        o, m = attend(q, k, v, Sight(True), 32)
        return attend_back(q, k, v, o, m, do, Sight(True), 32)

    q, k = jax.ShapeDtypeStruct((5, 3, 1, 96, 8), dtype), jax.ShapeDtypeStruct((5, 3, 96, 8), dtype)
    text = export.export(jax.jit(both), platforms=[platform])(q, k, k, q).mlir_module()
    assert text.count("stablehlo.while") == 2  # one in forward, one in backward
    assert "dense<15>" not in text  # no loop over 5 × 3 heads
    assert not re.search(r"96x96x", text)  # no p as a whole
    kind = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    products = re.findall(r"dot_general.*: \((\S+), (\S+)\) -> (\S+)", text)
    assert len(products) == 7
    for *factors, out in products:
        assert all(f.endswith(f"x{kind}>") for f in factors)
        assert "xf32>" in out


def compiled(t, chunk=32, n_heads=2, **sight):
    """Forward and backward of t positions."""

    def both(q, k, v, do):
        o, m = attend(q, k, v, Sight(**sight), chunk)
        return attend_back(q, k, v, o, m, do, Sight(**sight), chunk)

    q, kv = jnp.ones((1, n_heads, 1, t, 8)), jnp.ones((1, n_heads, t, 8))
    return jax.jit(both).lower(q, kv, kv, q)


@pytest.mark.parametrize("n_heads", [1, 3])
def test_memory_grows_with_the_positions_and_the_program_does_not(n_heads):
    short, long = (compiled(t, causal=True, n_heads=n_heads) for t in (256, 1024))
    assert abs(len(long.as_text()) / len(short.as_text()) - 1) < 0.05
    small, large, whole = (
        program.compile().memory_analysis().temp_size_in_bytes
        for program in (short, long, compiled(1024, None, causal=True, n_heads=n_heads))
    )
    assert large <= 4.4 * small
    assert large < 0.1 * whole


def test_a_window_of_any_length_of_the_sequence_takes_the_same_loop():
    """The number of tiles that rows look at is that of the window."""

    def tiles(t):
        text = str(jax.make_jaxpr(lambda q, k: attend(q, k, k, Sight(True, 40), 32))(
            jnp.ones((1, 1, 1, t, 8)), jnp.ones((1, 1, t, 8))
        ))  # fmt: skip
        return {int(n) for n in re.findall(r"length=(\d+)", text)}

    assert tiles(256) == {1, 4, 8}
    assert tiles(512) == {1, 4, 16}
