"""The error of a difference quotient against its step.

    uv run python -m experiments.difference_quotient

Question: How small must ε be for (C(w + ε) − C(w)) / ε to be the gradient?

    forward   (C(w + ε) − C(w)) / ε             error  ε C″/2  + rounding u C/ε
    central   (C(w + ε) − C(w − ε)) / (2 ε)     error  ε² C‴/6 + rounding u C/ε

C is the squared error of a small sigmoid network, the step goes along every parameter in
turn, and the hand-written gradient in float64 is the truth. u is half the distance between
1 and the next number. Slopes are least squares through the points above ε = 10⁻³ (forward,
central in float64), and below the best ε (rounding).

Source: Nocedal & Wright (2006), Numerical Optimization, section 8.1.
"""

import sys
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

NET = fnn.mlp([2, 3, 1], activation=fnn.Sigmoid(), output=fnn.Sigmoid())
LOSS = fnn.SquaredError()
DTYPES = {"float64": np.float64, "float32": np.float32}
KINDS = ("forward", "central")


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Measure the error of difference quotients against the hand-written gradient."""

    rows: Annotated[int, Bounds(1)] = 32  # examples in the cost
    steps: Annotated[int, Bounds(8)] = 81  # values of ε, from 10⁻¹² to 1


QUICK = Config(quick=True, steps=25)


def problem(config: Config) -> tuple[Any, Any, Any]:
    """Parameters and random examples, in float64."""
    k_init, k_x, k_t = jax.random.split(jax.random.key(config.seed), 3)
    x = jax.random.normal(k_x, (config.rows, 2))
    return NET.init(k_init), x, jax.random.uniform(k_t, (config.rows, 1))


def errors(params: Any, x: Any, target: Any, epsilons: Any, dtype: Any) -> dict[str, np.ndarray]:
    """Kind → relative error of the whole gradient, one for every ε, computed in `dtype`."""
    _, truth = fnn.value_and_grad(NET, LOSS, params, x, target)
    truth, _ = ravel_pytree(truth)
    params, x, target, epsilons = jax.tree.map(
        lambda a: jnp.asarray(a, dtype), (params, x, target, epsilons)
    )
    w, unflatten = ravel_pytree(params)

    def cost(w):
        y, _ = NET.forward(unflatten(w), x)
        return LOSS.forward(y, target)[0].mean()

    @jax.jit
    def quotients(epsilon):
        steps = epsilon * jnp.eye(len(w), dtype=dtype)
        up, down = (jax.vmap(lambda s, sign=sign: cost(w + sign * s))(steps) for sign in (1, -1))
        return (up - cost(w)) / epsilon, (up - down) / (2 * epsilon)

    found = zip(*(quotients(epsilon) for epsilon in epsilons), strict=True)
    return {
        kind: np.array([distance(g, truth) for g in gradients])
        for kind, gradients in zip(KINDS, found, strict=True)
    }


def distance(gradient: Any, truth: Any) -> float:
    """‖gradient − truth‖ / ‖truth‖."""
    return float(np.linalg.norm(np.asarray(gradient, float) - truth) / np.linalg.norm(truth))


def measure(config: Config) -> Outcome:
    """The error for every ε, forward and central, in double and single precision."""
    epsilons = np.logspace(-12, 0, config.steps)
    with jax.enable_x64(True):
        start = problem(config)
        found = {
            (name, kind): error
            for name, dtype in DTYPES.items()
            for kind, error in errors(*start, epsilons, dtype).items()
        }
    best = {key: float(epsilons[error.argmin()]) for key, error in found.items()}
    lowest = {key: float(error.min()) for key, error in found.items()}
    coarse = (epsilons > 1e-3) & (epsilons < 0.1)
    slopes = {kind: power(epsilons[coarse], found["float64", kind][coarse]) for kind in KINDS}
    fine = epsilons < 1e-9
    slopes["rounding"] = power(epsilons[fine], found["float64", "forward"][fine])
    seen = Seen(slopes, best, lowest)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={"slopes": slopes}
        | {
            name: {k: {"best_epsilon": best[name, k], "error": lowest[name, k]} for k in KINDS}
            for name in DTYPES
        },
        figure=picture(epsilons, found),
        tables=[table(seen)],
        rows=[
            {"epsilon": e, **{" ".join(key): error[i] for key, error in found.items()}}
            for i, e in enumerate(epsilons)
        ],
    )


class Seen(NamedTuple):
    """What the errors over ε say."""

    slopes: dict[str, float]  # kind, or rounding → power of ε
    best: dict[tuple[str, str], float]  # (precision, kind) → ε of the least error
    lowest: dict[tuple[str, str], float]  # (precision, kind) → the least error


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    slopes, lowest = seen.slopes, seen.lowest
    return {
        "the forward quotient's error has slope 1": abs(slopes["forward"] - 1) < 0.05,
        "the central quotient's error has slope 2": abs(slopes["central"] - 2) < 0.05,
        "rounding grows like 1/ε": abs(slopes["rounding"] + 1) < 0.25,
        "the central quotient is the better one": (
            lowest["float64", "central"] < lowest["float64", "forward"]
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    slopes, best = seen.slopes, seen.best
    forward, central = (seen.lowest["float64", kind] for kind in KINDS)
    single = min(seen.lowest["float32", kind] for kind in KINDS)
    return (
        f"It is never exact. The error falls like ε^{slopes['forward']:.2f} (forward) and "
        f"ε^{slopes['central']:.2f} (central) until rounding, which grows like "
        f"ε^{slopes['rounding']:.2f}, takes over. The best that can be had in float64 is "
        f"{forward:.0e} at ε = {best['float64', 'forward']:.0e} (forward) and {central:.0e} "
        f"at {best['float64', 'central']:.0e} (central); in float32 it is {single:.0e}."
    )


def table(seen: Seen) -> Table:
    """The best ε of every quotient."""
    columns = ["", "best ε", "relative error there"]
    rows = [[" ".join(k), f"{seen.best[k]:.0e}", f"{seen.lowest[k]:.0e}"] for k in seen.best]
    return Table("Difference quotients against the hand-written gradient", columns, rows)


def picture(epsilons: np.ndarray, found: dict[tuple[str, str], np.ndarray]) -> plots.Figure:
    """Error over ε, logarithmic, with the two slopes."""
    title = "A difference quotient trades the error of its step for rounding"
    figure, ((axes,),) = plots.picture(title, size=(8, 4.6))
    axes.set(xscale="log", yscale="log", ylim=(1e-12, 1e2))
    for (dtype, kind), error in found.items():
        color = plots.COLORS[KINDS.index(kind)]
        style = "-" if dtype == "float64" else ":"
        axes.plot(epsilons, error, color=color, linestyle=style, label=f"{kind}, {dtype}")
    for kind, order, low, high in (("forward", 1, 1e-7, 1e-3), ("central", 2, 1e-5, 1e-1)):
        end = 4 * float(found["float64", kind][np.abs(epsilons - high).argmin()])
        plots.slope(axes, [low, high], end * (low / high) ** order, order, f"slope {order}")
    axes.set(xlabel="step ε", ylabel="relative error of the gradient")
    axes.legend(frameon=False, loc="lower left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
