"""What a gradient costs, in forward passes.

    uv run python -m experiments.backward_cost

Question: What does the gradient of a dense network cost, compared with its prediction?

    forward              z_l = a_{l−1} w_l + b_l                    L products of matrices
    backward             ∂L/∂w_l = a_{l−1}ᵀ δ_l                     L more
                         δ_{l−1} = (δ_l w_lᵀ) ⊙ f′(z_{l−1})         L − 1 more: not below w_1
    layer by layer       each ∂L/∂w_l by a pass of its own          ½ L (3 L + 1) in all
    difference quotient  (C(w + ε) − C(w)) / ε for every w          P + 1 forward passes

A product with n × m weights takes 2 n m operations per example. Operations and products are
those of the compiled programs: XLA counts the first, the second are its dot instructions.
The wide networks have four layers of equal width, the deep ones `width` neurons per layer;
quotients are taken of networks of two layers. Times are medians on the CPU and depend on it.

Source: Baydin, Pearlmutter, Radul & Siskind (2018), arXiv:1502.05767, section 3.2.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.estimates import power
from experiments.common.settings import ClaimSettings

NAMES = {"forward": "forward", "both": "forward and backward"}
LAYERS = 4  # of the wide networks
LOSS = fnn.SquaredError()


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Count and time the operations of predictions and of gradients."""

    widths: Annotated[tuple[int, ...], Bounds(2)] = (32, 64, 128, 256, 512)
    depths: Annotated[tuple[int, ...], Bounds(2)] = (2, 4, 8)
    small: Annotated[tuple[int, ...], Bounds(2)] = (4, 8, 16, 32)  # widths, for quotients
    width: Annotated[int, Bounds(2)] = 64  # of the deep networks
    rows: Annotated[int, Bounds(1)] = 128  # examples
    repeats: Annotated[int, Bounds(1)] = 30  # of every time


QUICK = Config(quick=True, widths=(32, 128), depths=(2, 4), small=(4, 16), width=32, repeats=3)


class Cost(NamedTuple):
    """What a compiled program takes."""

    operations: float
    products: int  # of matrices
    seconds: float


NOTHING = Cost(0.0, 0, 0.0)


class Setting(NamedTuple):
    """What the networks are measured with."""

    rows: int  # examples
    seed: int
    repeats: int  # of every time


class Case(NamedTuple):
    """One network: its size, and what its prediction and its gradients take."""

    parameters: int
    forward: Cost
    both: Cost  # forward and backward
    other: Cost = NOTHING  # the gradient in a worse way


def costs(
    functions: Sequence[Callable[..., Any]], arguments: tuple[Any, ...], repeats: int
) -> list[Cost]:
    """Compile every function, count, and time them in turn: they see the same machine."""
    programs = [jax.jit(f).lower(*arguments).compile() for f in functions]
    times = np.empty((repeats + 1, len(programs)))
    for round_times in times:
        for k, program in enumerate(programs):
            began = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            round_times[k] = time.perf_counter() - began
    return [
        Cost(
            float((program.cost_analysis() or {})["flops"]),
            (program.as_text() or "").count(" dot("),
            float(seconds),
        )
        for program, seconds in zip(programs, np.median(times[1:], 0), strict=True)
    ]


class Problem(NamedTuple):
    """A network of `n_layers` layers of one width, and examples."""

    net: fnn.Serial
    params: Any
    x: Any
    target: Any

    def forward(self, params: Any, x: Any, target: Any) -> Any:
        """C, the mean loss."""
        y, _ = self.net.forward(params, x)
        return LOSS.forward(y, target)[0].mean()

    def both(self, params: Any, x: Any, target: Any) -> Any:
        """C and its gradient."""
        return fnn.value_and_grad(self.net, LOSS, params, x, target)

    def quotients(self, params: Any, x: Any, target: Any) -> Any:
        """C and a difference quotient for every parameter."""
        w, unflatten = ravel_pytree(params)
        shifted = w + 1e-3 * jnp.eye(len(w), dtype=w.dtype)
        moved = jax.vmap(lambda w: self.forward(unflatten(w), x, target))(shifted)
        c = self.forward(params, x, target)
        return c, (moved - c) / 1e-3

    def arguments(self) -> tuple[Any, ...]:
        """Of the functions above."""
        return self.params, self.x, self.target


def problem(width: int, n_layers: int, setting: Setting) -> Problem:
    """Random weights and examples."""
    k_init, k_x, k_t = jax.random.split(jax.random.key(setting.seed), 3)
    net = fnn.mlp([width] * (n_layers + 1), activation=fnn.Tanh())
    x, target = (jax.random.normal(k, (setting.rows, width)) for k in (k_x, k_t))
    return Problem(net, net.init(k_init), x, target)


def case(width: int, n_layers: int, setting: Setting, other: str = "") -> Case:
    """Count and time one network; `other`: quotients, layers or nothing."""
    p = problem(width, n_layers, setting)
    size = sum(leaf.size for leaf in jax.tree.leaves(p.params))
    ways = [p.forward, p.both] + [p.quotients] * (other == "quotients")
    found = costs(ways, p.arguments(), setting.repeats)
    if other == "layers":
        found.append(layer_by_layer(p, setting.repeats))
    return Case(size, *found)


def layer_by_layer(p: Problem, repeats: int) -> Cost:
    """The gradient of every layer by a program of its own, that shares nothing."""
    dense = [i for i, layer in enumerate(p.net.layers) if isinstance(layer, fnn.Dense)]
    alone = [lambda *args, i=i: p.both(*args)[1][i] for i in dense]
    found = costs(alone, p.arguments(), repeats)
    return Cost(*(sum(parts) for parts in zip(*found, strict=True)))


def measure(config: Config) -> Outcome:
    """Wide networks, deep networks, small networks."""
    how = Setting(config.rows, config.seed, config.repeats)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        wide = [case(width, LAYERS, how) for width in config.widths]
        deep = [case(config.width, depth, how, "layers") for depth in config.depths]
        small = [case(width, 2, how, "quotients") for width in config.small]
    slope = power([c.parameters for c in wide], [c.both.operations for c in wide])
    ratio, slow = backward_forward(wide[-1]), small[-1]
    times = wide[-1].both.seconds / wide[-1].forward.seconds - 1
    passes = in_passes(slow)
    return Outcome(
        answer=(
            f"Prediction and gradient take operations that grow like P^{slope:.2f} with the number "
            "P of parameters. "
            f"The backward pass takes {ratio:.2f} times the operations of the forward pass (2, "
            f"less what the first layer saves) and {times:.1f} times its time in the widest "
            f"network, P = {wide[-1].parameters:,}. With difference quotients a gradient costs "
            f"P + 1 forward passes and the making of the steps: for P = {slow.parameters:,} the "
            f"operations of {passes[1]:,.0f} forward passes, where the hand-written one costs "
            f"those "
            f"of {passes[0]:.1f}. Values that are kept pay off with "
            f"depth: {deep[-1].both.products} products of matrices for {config.depths[-1]} "
            f"layers, {deep[-1].other.products} where each layer computes its gradient alone."
        ),
        findings=findings(config, wide, deep, small, slope),
        measured={"slope": slope, "backward/forward": ratio, "backward/forward time": times},
        figure=picture(config, wide, deep, small),
        tables=tables(wide, deep, small),
        rows=[
            {"series": name, "parameters": c.parameters}
            | {
                f"{what} {field}": value
                for what, found in zip(("forward", "both", "other"), c[1:], strict=True)
                for field, value in zip(Cost._fields, found, strict=True)
            }
            for name, series in (("wide", wide), ("deep", deep), ("small", small))
            for c in series
        ],
    )


def backward_forward(c: Case) -> float:
    """Operations of the backward pass, in those of the forward pass."""
    return c.both.operations / c.forward.operations - 1


def in_passes(c: Case) -> tuple[float, ...]:
    """Operations of both gradients, in those of a forward pass."""
    return tuple(g.operations / c.forward.operations for g in (c.both, c.other))


def findings(
    config: Config, wide: list[Case], deep: list[Case], small: list[Case], slope: float
) -> dict[str, bool]:
    """What is claimed → whether it was seen."""
    depths = config.depths
    return {
        "operations for a prediction and its gradient grow like P": abs(slope - 1) < 0.05,
        "the backward pass costs 2 − 1/L forward passes, within 5 % in the widest network": (
            abs(backward_forward(wide[-1]) / (2 - 1 / LAYERS) - 1) < 0.05
        ),
        "it has 2 L − 1 products of matrices, the forward pass L: nothing is computed again": all(
            (c.forward.products, c.both.products) == (n, 3 * n - 1)
            for c, n in zip(deep, depths, strict=True)
        ),
        "layer by layer it would be ½ L (3 L + 1) products": all(
            2 * c.other.products == n * (3 * n + 1) for c, n in zip(deep, depths, strict=True)
        ),
        "difference quotients cost P + 1 forward passes, and up to 10 % for the steps": all(
            0 <= in_passes(c)[1] / (c.parameters + 1) - 1 < 0.1 for c in small
        ),
        "the hand-written gradient costs less than 4 in every network": all(
            in_passes(c)[0] < 4 for c in (*wide, *deep, *small)
        ),
    }


def tables(wide: list[Case], deep: list[Case], small: list[Case]) -> list[Table]:
    """Operations and times of every network."""
    columns = ["", "parameters", "forward", "+ backward", "ratio", "µs", "µs", "ratio"]
    rows = [
        [
            name, f"{c.parameters:,}", f"{c.forward.operations:.2e}", f"{c.both.operations:.2e}",
            f"{c.both.operations / c.forward.operations:.2f}", f"{1e6 * c.forward.seconds:.0f}",
            f"{1e6 * c.both.seconds:.0f}", f"{c.both.seconds / c.forward.seconds:.2f}",
        ]
        for name, series in (("wide", wide), ("deep", deep), ("small", small))
        for c in series
    ]  # fmt: skip
    return [Table("Operations, and times", columns, rows)]


def picture(config: Config, wide: list[Case], deep: list[Case], small: list[Case]) -> plots.Figure:
    """Operations, time, difference quotients and depth."""
    title = "With its gradient a prediction takes less than three times the operations, at any size"
    figure, ((first, second), (third, fourth)) = plots.picture(title, 2, 2, (10, 7.4))
    blue, red, green = plots.COLORS[:3]
    size = [c.parameters for c in wide]
    for axes, field, scale in ((first, 0, 1e-6), (second, 2, 1e3)):
        for what, color in (("forward", blue), ("both", red)):
            y = [scale * getattr(c, what)[field] for c in wide]
            axes.plot(size, y, "o-", color=color, label=NAMES[what])
        plots.slope(axes, size, 0.03 * scale * wide[0].forward[field], 1, "slope 1")
        axes.set(xscale="log", yscale="log", xlabel="parameters P")
        axes.legend(frameon=False)
    first.set(ylabel="million operations")
    second.set(ylabel="milliseconds (median)")
    size = [c.parameters for c in small]
    passes = np.array([in_passes(c) for c in small])
    third.plot(size, passes[:, 1], "o-", color=green, label="difference quotients")
    third.plot(size, passes[:, 0], "o-", color=red, label="forward and backward")
    third.set(xscale="log", yscale="log", xlabel="parameters P", ylabel="cost in forward passes")
    depths = config.depths
    alone = [c.other.products for c in deep]
    fourth.plot(depths, alone, "o-", color=green, label="every layer on its own")
    fourth.plot(depths, [c.both.products for c in deep], "o-", color=red, label="one backward pass")
    fourth.set(xlabel="layers L", ylabel="products of matrices")
    names = ("Operations grow like P", "Times on a CPU", "Quotients: P + 1 forward passes",
             "Kept values save products: 3 L − 1")  # fmt: skip
    for axes, name in zip((first, second, third, fourth), names, strict=True):
        axes.set_title(name, loc="left", fontsize=10)
    for axes in (third, fourth):
        axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
