"""Rules of tokamax: its kernels for GPUs, interpreted, and its operations in plain JAX.

Kernels compute in float32: arguments are rounded on the way in, results widened on the way out.
Interpretation on a CPU has two gaps that are closed here: the number of a program is asked
inside of loops, and whether there is a GPU.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas

from benchmarks.conformance.case import Case, normal

SINGLE = "the kernel computes in float32"
IDS: list[list[Any]] = []  # of the programs that are being traced
CALL, ID = pallas.pallas_call, pallas.program_id


def interpreted(kernel: Callable, *args: Any, grid_spec: Any = None, **options: Any) -> Callable:
    """pallas_call in interpret mode, its program ids asked once, at the top."""

    def outer(*refs: Any) -> Any:
        IDS.append([ID(i) for i in range(len(grid_spec.grid))])
        try:
            return kernel(*refs)
        finally:
            IDS.pop()

    return CALL(outer, *args, grid_spec=grid_spec, interpret=True, **options)


def number(axis: int) -> Any:
    """The number of this program along an axis of the grid."""
    if not IDS:
        return ID(axis)
    if axis >= len(IDS[-1]):
        raise ValueError(axis)
    return IDS[-1][axis]


def single(f: Callable) -> Callable:
    """F and its rule in float32, whatever the arguments are."""

    def low(args: Any) -> list[jax.Array]:
        return [jnp.asarray(a, jnp.float32) for a in args]

    @jax.custom_vjp
    def rounded(*args: Any) -> Any:
        values = low(args)
        with jax.enable_x64(False):
            y = f(*values)
        return y.astype(args[0].dtype)

    def backward(args: Any, dy: Any) -> tuple[Any, ...]:
        values, (dy,) = low(args), low([dy])
        with jax.enable_x64(False):
            found = jax.vjp(f, *values)[1](dy)
        return tuple(g.astype(a.dtype) for g, a in zip(found, args, strict=True))

    rounded.defvjp(lambda *args: (rounded(*args), args), backward)
    return rounded


def cases() -> list[Case]:
    """Kernels, then what is plain JAX."""
    pallas.pallas_call, pallas.program_id = interpreted, number
    import absl.logging  # pyright: ignore[reportMissingImports]
    from tokamax._src import gpu_utils  # pyright: ignore[reportMissingImports]

    absl.logging.set_verbosity(absl.logging.ERROR)
    gpu_utils.has_triton_support = lambda device: True
    return [*norms(), *attention(), *products(), *plain()]


def norms() -> list[Case]:
    """Normalization by kernels, at odd lengths."""
    from tokamax._src.ops.normalization import pallas_triton, pallas_triton_vjp  # pyright: ignore[reportMissingImports]
    from tokamax._src.ops.normalization.pallas_triton_vjp_config import Config  # pyright: ignore[reportMissingImports]

    options = {"block_m": 2, "block_n": None, "num_warps": 1}
    op = pallas_triton.PallasTritonNormalization(
        config=pallas_triton.Config(**options),
        vjp=pallas_triton_vjp.PallasTritonNormalizationVjp(config=Config(**options)),
    )
    rms = functools.partial(op, subtract_mean=False)
    found = []
    for n in (1, 63, 64, 65, 127, 128, 129):
        args = (normal(1, 3, n), normal(2, n), normal(3, n))
        name = f"tokamax layer_norm kernel, length {n}"
        found.append(Case(name, single(op), args, only_here=True, inexact=SINGLE))
    for n in (65,):
        args = (normal(1, 3, n), normal(2, n), normal(3, n))
        name = f"tokamax layer_norm kernel without mean, length {n}"
        found.append(Case(name, single(rms), args, only_here=True, inexact=SINGLE))
    return found


def attention() -> list[Case]:
    """Attention by kernels: odd lengths, grouped heads, masks."""
    from tokamax._src.ops.attention import pallas_triton, pallas_triton_vjp  # pyright: ignore[reportMissingImports]

    stages = {"num_stages": 1, "num_warps": 1}
    op = pallas_triton.PallasTritonFlashAttention(
        config=pallas_triton.Config(block_q=16, block_k=16, **stages),
        vjp=pallas_triton_vjp.PallasTritonFlashAttentionVjp(config=pallas_triton_vjp.Config(
            block_m1=16, block_n1=16, block_m2=16, block_n2=16, **stages)),
    )  # fmt: skip

    def arrays(t: int, heads: int, groups: int) -> tuple[np.ndarray, ...]:
        rows = ((heads, 1), (groups, 2), (groups, 3))
        return tuple(normal(seed, 1, t, h, 16) for h, seed in rows)

    causal = functools.partial(op, is_causal=True)
    capped = functools.partial(op, logits_soft_cap=2.0)
    mask = np.random.default_rng(4).random((1, 1, 17, 17)) < 0.7
    mask |= np.eye(17, dtype=bool)
    masked = lambda q, k, v: op(q, k, v, mask=jnp.asarray(mask))  # noqa: E731
    kinds = [
        ("length 1", op, arrays(1, 1, 1)), ("length 63", op, arrays(63, 1, 1)),
        ("length 64", op, arrays(64, 1, 1)), ("length 65", op, arrays(65, 1, 1)),
        ("length 65, causal", causal, arrays(65, 1, 1)), ("grouped heads", op, arrays(17, 4, 2)),
        ("grouped heads, causal", causal, arrays(17, 4, 1)), ("mask", masked, arrays(17, 2, 2)),
        ("soft cap", capped, arrays(17, 2, 2)), ("length 129", op, arrays(129, 1, 1)),
    ]  # fmt: skip
    return [
        Case(f"tokamax attention kernel, {name}", single(f), args, only_here=True, inexact=SINGLE)
        for name, f, args in kinds
    ]


def products() -> list[Case]:
    """Products with a matrix for every group of rows."""
    from tokamax._src.ops.ragged_dot import pallas_triton  # pyright: ignore[reportMissingImports]

    op = pallas_triton.PallasTritonRaggedDot(config=pallas_triton.Config(
        block_m=16, block_n=16, block_k=16, num_warps=1, num_stages=1))  # fmt: skip
    found = []
    for rows, sizes in ((17, (3, 14, 0)), (65, (1, 63, 1))):

        def f(a, b, sizes=sizes):
            return op(a, b, group_sizes=jnp.array(sizes, jnp.int32))

        args = (normal(1, rows, 16), normal(2, 3, 16, 16))
        name = f"tokamax ragged_dot kernel, groups of {', '.join(map(str, sizes))}"
        found.append(Case(name, single(f), args, only_here=True, inexact=SINGLE))
    return found


def plain() -> list[Case]:
    """The implementations in plain JAX, and their rules."""
    import tokamax  # pyright: ignore[reportMissingImports]

    def attend(kind: str, **options):
        return lambda q, k, v: tokamax.dot_product_attention(
            *map(jnp.asarray, (q, k, v)), implementation=kind, **options)  # fmt: skip

    def loss(x, w):
        labels = jnp.array([1, 2, 0], jnp.int32)
        return tokamax.linear_softmax_cross_entropy_loss(x, labels, w, implementation="xla")

    q = tuple(normal(s, 1, 5, h, 4) for s, h in ((1, 4), (2, 2), (3, 2)))
    return [
        Case("tokamax.dot_product_attention, xla", attend("xla"), q, inexact=SINGLE),
        Case("tokamax.dot_product_attention, xla, causal", attend("xla", is_causal=True), q,
             inexact=SINGLE),
        Case("tokamax.dot_product_attention, xla_chunked", attend("xla_chunked"), q,
             inexact=SINGLE),
        Case("tokamax.layer_norm, xla", lambda x, s, o: tokamax.layer_norm(
            x, s, o, implementation="xla"), (normal(1, 3, 7), normal(2, 7), normal(3, 7))),
        Case("tokamax.gated_linear_unit, xla", lambda x, w: tokamax.gated_linear_unit(
            jnp.asarray(x), jnp.asarray(w), activation=jax.nn.silu, implementation="xla"),
            (normal(1, 3, 4), normal(2, 4, 2, 5))),
        Case("tokamax.linear_softmax_cross_entropy_loss, xla", loss,
             (normal(1, 3, 4), normal(2, 4, 5))),
        Case("tokamax.ragged_dot, xla", lambda a, b: tokamax.ragged_dot(
            jnp.asarray(a), jnp.asarray(b), jnp.array([2, 0, 3], jnp.int32), implementation="xla"),
            (normal(1, 5, 4), normal(2, 3, 4, 2))),
    ]  # fmt: skip
