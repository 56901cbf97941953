"""What there is to ask of a backward pass, as multiples of a gradient of the same net.

    uv run python -m benchmarks.multiples

All programs of a net take turns in one process; a figure is the median of the ratios to
value_and_grad within a turn, with quartiles, and the temporary memory ÷ that of value_and_grad.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.case import draw, labels
from benchmarks.cases.algorithms import Task, images, language, reader
from benchmarks.measure import Effort, temporary_bytes, times
from fnn.kronecker import Bases, is_blocks

LOSS, RULES, CURVATURE = fnn.SoftmaxCrossEntropy(), fnn.rules, fnn.curvature


def perceptron() -> Task:
    """Three dense layers."""
    return fnn.mlp([256, 512, 512, 10]), draw(512, 256), labels(512, classes=10)


NETS: dict[str, Callable[[], Task]] = {
    "MLP": perceptron,  # 256-512-512-10, batch 512
    "CNN": images,  # digits, batch 64
    "LSTM": reader,  # 64 → 128, 32 × T 64
    "GPT": language,  # 2 blocks of 128, 8 × T 128
}


def quantities(net: Any) -> dict[str, Callable[..., Any]]:
    """All that is asked, of (params, x, target, v, bases); the gradient comes first."""

    def fold(rule, params, x, target):
        done = fnn.fold(net, LOSS, params, x, target, rule=rule)
        return done.result, done.companion

    def drawn(params, x, target):
        how = {"kind": "monte_carlo", "key": jax.random.key(0)}
        return CURVATURE.fisher_blocks(net, LOSS, params, x, target, **how)

    kfac, both = RULES.kfac(), (RULES.backprop, RULES.noise_scale)
    return {
        "gradient": lambda *a: fnn.value_and_grad(net, LOSS, *a[:3]),
        "example_norms": lambda *a: fold(RULES.example_norms, *a[:3]),
        "gradient and noise_scale": lambda *a: fold(both, *a[:3]),
        "example_slopes": lambda *a: fold(RULES.example_slopes.given(a[3]), *a[:3]),
        "clipped_grad": lambda p, x, t, *_: fnn.clipped_grad(net, LOSS, p, x, t, 1.0),
        "hessian_product": lambda *a: CURVATURE.hessian_product(net, LOSS, *a[:4]),
        "gauss_newton_product": lambda *a: CURVATURE.gauss_newton_product(net, LOSS, *a[:4]),
        "fisher_product": lambda *a: CURVATURE.fisher_product(net, LOSS, *a[:4]),
        "fisher_diagonal": lambda *a: CURVATURE.fisher_diagonal(net, LOSS, *a[:3]),
        "kfac": lambda *a: fold(kfac, *a[:3]),
        "gradient and kfac": lambda *a: fold(kfac.learning(), *a[:3]),
        "kfac of drawn targets": lambda *a: drawn(*a[:3]),
        "kfac and EKFAC's moments": lambda *a: fold(kfac.within(a[4]), *a[:3]),
    }


def eigenvectors(blocks: Any) -> Bases:
    """Those of every full side."""

    def side(a, diagonal):
        return None if diagonal else jnp.linalg.eigh(a)[1]

    sides = [zip((k.rows, k.columns), k.diagonal, strict=True) for k in blocks.kronecker]
    return Bases(tuple((side(*first), side(*second)) for first, second in sides))


def column(name: str, effort: Effort) -> dict[str, str]:
    """One net: quantity → ratios of time and memory."""
    net, x, target = NETS[name]()
    params = net.init(jax.random.key(0))
    v = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
    blocks = jax.jit(lambda *a: fnn.fold(net, LOSS, *a, rule=RULES.kfac()).result)
    bases = jax.tree.map(eigenvectors, blocks(params, x, target), is_leaf=is_blocks)
    arguments = params, x, target, v, bases
    made = {n: jax.jit(f).lower(*arguments).compile() for n, f in quantities(net).items()}
    seconds = times(list(made.values()), arguments, effort)
    ratios = np.quantile(seconds[:, 1:] / seconds[:, :1], (0.25, 0.5, 0.75), 0).T
    first, *memory = (temporary_bytes(p) for p in made.values())
    return {
        quantity: f"{m:.2f} [{a:.2f}, {b:.2f}] / {size / first:.2f}"
        for quantity, (a, m, b), size in zip(list(made)[1:], ratios, memory, strict=True)
    }


def table(effort: Effort = Effort(seconds=6, most=101)) -> str:
    """Every quantity of every net."""
    columns = {name: column(name, effort) for name in NETS}
    lines = [f"| time / memory | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for quantity in next(iter(columns.values())):
        lines.append(f"| {quantity} | {' | '.join(c[quantity] for c in columns.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
