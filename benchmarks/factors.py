"""What Kronecker factors cost, as multiples of a gradient of the same net.

    uv run python -m benchmarks.factors

    factors      the empirical A and G of every layer, fold(rule=fnn.rules.kfac())
    + gradient   both from one way back, as a step of fnn.optim.KFAC finds them
    drawn        those of targets that are drawn from what the net says, fisher_blocks
    moments      empirical factors with the second moments in the bases of their eigenvectors

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

LOSS, RULE = fnn.SoftmaxCrossEntropy(), fnn.rules.kfac()


def perceptron() -> Task:
    """Three dense layers."""
    return fnn.mlp([256, 512, 512, 10]), draw(512, 256), labels(512, classes=10)


NETS: dict[str, Callable[[], Task]] = {
    "MLP 256-512-512-10, batch 512": perceptron,
    "CNN, digits, batch 64": images,
    "LSTM 64 → 128, 32 × T 64": reader,
    "GPT, 2 blocks of 128, 8 × T 128": language,
}


def programs(net: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """All of them, compiled; the gradient comes first."""

    def fold(rule, params, x, target):
        done = fnn.fold(net, LOSS, params, x, target, rule=rule)
        return done.result, done.companion

    def drawn(params, x, target, _):
        how = {"kind": "monte_carlo", "key": jax.random.key(0)}
        return fnn.curvature.fisher_blocks(net, LOSS, params, x, target, **how)

    functions = {
        "gradient": lambda *a: fnn.value_and_grad(net, LOSS, *a[:3]),
        "factors": lambda *a: fold(RULE, *a[:3]),
        "+ gradient": lambda *a: fold(RULE.learning(), *a[:3]),
        "drawn": drawn,
        "moments": lambda *a: fold(RULE.within(a[3]), *a[:3]),
    }
    return {n: jax.jit(f).lower(*arguments).compile() for n, f in functions.items()}


def eigenvectors(blocks: Any) -> Bases:
    """Those of every full side."""

    def side(a, diagonal):
        return None if diagonal else jnp.linalg.eigh(a)[1]

    sides = [zip((k.rows, k.columns), k.diagonal, strict=True) for k in blocks.kronecker]
    return Bases(tuple((side(*first), side(*second)) for first, second in sides))


def row(name: str, effort: Effort) -> str:
    """One line of the table."""
    net, x, target = NETS[name]()
    params = net.init(jax.random.key(0))
    blocks = jax.jit(lambda *a: fnn.fold(net, LOSS, *a, rule=RULE).result)(params, x, target)
    arguments = params, x, target, jax.tree.map(eigenvectors, blocks, is_leaf=is_blocks)
    made = programs(net, arguments)
    seconds = times(list(made.values()), arguments, effort)
    low, middle, high = np.quantile(seconds[:, 1:] / seconds[:, :1], (0.25, 0.5, 0.75), 0)
    memory = [temporary_bytes(p) for p in made.values()]
    cells = [
        f"{m:.2f} [{a:.2f}, {b:.2f}] / {size / memory[0]:.2f}"
        for a, m, b, size in zip(low, middle, high, memory[1:], strict=True)
    ]
    return f"| {name} | {1e3 * np.median(seconds[:, 0]):.1f} | {' | '.join(cells)} |"


def main(effort: Effort = Effort(seconds=6, most=101)) -> None:
    """Print the table, row by row."""
    print("| net | gradient, ms | factors | + gradient | drawn | moments |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in NETS:
        print(row(name, effort), flush=True)


if __name__ == "__main__":
    main()
