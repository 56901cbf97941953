"""Linear regression, by descent and in closed form.

    uv run python -m experiments.linear_regression

Question: Does descent by the hand-written gradient find the coefficients of the normal equations?

The progress of diabetes in a year (442 patients) from ten standardised measurements,

    f(x) = x w + b      J = (1/N) Σ ½ (t − f(x))² + λ/2 ‖w‖²      ∂J/∂w = Xᵀ(f − t)/N + λ w

b is not penalised. The closed forms are least squares by orthogonal factors (λ = 0) and
(XᵀX/N + λ D) w = Xᵀt/N with the column of ones in X, D = 1 but 0 for b. Steps are as long as
the eigenvalues of XᵀX/N allow. R² is measured on random divisions, a third for the test,
each standardised by its own training rows.

Source: Hoerl & Kennard (1970), Technometrics 12, eq. 2.1; the rows are those of bundles.py.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, claims, descent, plots
from experiments.common.claims import Outcome
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

NAMES = ("age", "sex", "mass index", "blood pressure", "cholesterol", "LDL", "HDL",
         "chol./HDL", "log triglyc.", "glucose")  # fmt: skip
NET = fnn.mlp([10, 1], w_init=fnn.initializers.zeros)
LOSS = fnn.SquaredError(0.5)
OLS, RIDGE = "least squares", "ridge"
PLAIN, MOMENTUM = "gradient descent", "momentum"
METHODS = {PLAIN: descent.plain, MOMENTUM: descent.heavy_ball}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare descent with the closed form of linear regression."""

    steps: Annotated[int, Bounds(2000)] = 10_000  # of gradient descent
    strength: Annotated[float, Bounds(0, open_low=True)] = 0.05  # λ of ridge
    divisions: Annotated[int, Bounds(2)] = 200  # random, for R²


QUICK = Config(quick=True, divisions=20)


def closed_form(x: Any, t: Any, strength: float) -> np.ndarray:
    """w and b that make J smallest, [11]: least squares, or the equations of ridge."""
    ones = descent.with_ones(x)
    if strength == 0:
        return np.linalg.lstsq(ones, t, rcond=None)[0]
    penalised = np.diag([strength] * x.shape[1] + [0])
    return np.linalg.solve(ones.T @ ones / len(x) + penalised, ones.T @ t / len(x))


def flat(dense: Any) -> Any:
    """w and b side by side, [..., 11]."""
    return jnp.concatenate([dense.w[..., 0], dense.b], -1)


def descended(x: Any, t: Any, steps: int, strength: float, optimizer: Any) -> Any:
    """w and b at the start, 0, and after every step of descent, [steps + 1, 11]."""
    plan = fnn.Plan(NET, LOSS, optimizer, penalty=fnn.L2(strength))
    (path,) = descent.descend(plan, NET.init(jax.random.key(0)), (x, t[:, None]), steps).params
    return flat(path)


def r_squared(x: Any, t: Any, wb: Any) -> float:
    """1 − Σ (t − f)² / Σ (t − t̄)²."""
    return float(1 - ((t - descent.with_ones(x) @ wb) ** 2).sum() / ((t - t.mean()) ** 2).sum())


class Scores(NamedTuple):
    """Least squares by descent on random two thirds of the rows, D times."""

    train: np.ndarray  # R², [D]
    test: np.ndarray  # R² of the third that is held out, [D]
    difference: float  # the largest, from the closed form


def divided(config: Config, x: Any, t: Any) -> Scores:
    """All divisions, descended at once."""
    rows = descent.divided(config.seed, config.divisions, x, t)
    ends = np.array([descent.curvatures(z)[[0, -1]] for z in rows.x])
    optimizer = descent.heavy_ball(ends[:, 0].min(), ends[:, 1].max()).optimizer
    wb = jax.vmap(lambda x, t: descended(x, t, 1000, 0.0, optimizer)[-1])(rows.x, rows.t)
    closed = [closed_form(*rows, 0.0) for rows in zip(rows.x, rows.t, strict=True)]
    return Scores(
        np.array([r_squared(*each) for each in zip(rows.x, rows.t, wb, strict=True)]),
        np.array([r_squared(*each) for each in zip(rows.test_x, rows.test_t, wb, strict=True)]),
        float(abs(wb - np.array(closed)).max()),
    )


def measure(config: Config) -> Outcome:
    """Every step of both methods for both costs, against the closed forms."""
    with jax.enable_x64(True):
        data = bundles.diabetes()
        t = data.target.astype(float)
        (x,) = descent.standardised(data.x)
        costs = {OLS: 0.0, RIDGE: config.strength}
        closed = {cost: closed_form(x, t, strength) for cost, strength in costs.items()}
        # the eigenvalue of the bias, 1, is no end: λ shifts both ends
        paths, factors, curvatures = {}, {}, descent.curvatures(x)
        for cost, strength in costs.items():
            for name, method in METHODS.items():
                optimizer, factors[cost, name] = method(*(curvatures[[0, -1]] + strength))
                paths[cost, name] = np.asarray(descended(x, t, config.steps, strength, optimizer))
        divisions = divided(config, data.x.astype(float), t)
    distances = {k: np.linalg.norm(path - closed[k[0]], axis=1) for k, path in paths.items()}
    ends = {cost: paths[cost, MOMENTUM][-1] for cost in costs}
    last = {k: float(abs(path[-1] - closed[k[0]]).max()) for k, path in paths.items()}
    steps = {k: int((d > 1e-6).sum()) for k, d in distances.items()}
    return Outcome(
        answer=answer(config, last, steps, r_squared(x, t, ends[OLS]), divisions),
        findings=findings(
            x, t, config.strength, ends, last, distances[OLS, PLAIN], factors[OLS, PLAIN],
            divisions.difference,
        ),
        measured={
            " ".join(k): {"difference": last[k], "steps_to_1e-6": steps[k]} for k in paths
        } | {"r_squared_train": divisions.train.mean(), "r_squared_test": divisions.test.mean()},
        figure=picture(distances, closed, ends, config.strength),
        rows=[
            {"step": i, **{" ".join(k): d[i] for k, d in distances.items()}}
            for i in range(0, config.steps + 1, 10)
        ],
    )  # fmt: skip


def answer(config: Config, last: Any, steps: Any, r2: float, divisions: Scores) -> str:
    """The figures in words."""
    return (
        f"Yes. The ten coefficients and the bias come out as in the closed form, within "
        f"{worst(last, OLS):.0e} for least squares and {worst(last, RIDGE):.0e} for ridge with "
        f"λ = {config.strength:g}. Getting within 10⁻⁶ takes {steps[OLS, PLAIN]} steps of gradient "
        f"descent, {steps[OLS, MOMENTUM]} with momentum; for ridge {steps[RIDGE, PLAIN]} and "
        f"{steps[RIDGE, MOMENTUM]}. The model explains {r2:.1%} of the variance of all rows; in "
        f"random divisions {divisions.train.mean():.1%} on the rows it learned from, "
        f"{divisions.test.mean():.1%} on those it did not, with a standard deviation of "
        f"{divisions.test.std():.1%} between divisions."
    )


def findings(
    x: Any, t: Any, strength: float, ends: Any, last: Any, slow: Any, factor: float, apart: float
) -> dict[str, bool]:
    """Facts about the minimum that descent knew nothing of."""
    ones = descent.with_ones(x)
    residual = ones.T @ (ones @ ends[OLS] - t) / len(x)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    shrunk = vectors @ (values / (values + strength) * (vectors.T @ ends[OLS][:-1]))
    fall = (slow[1000] / slow[500]) ** (1 / 500)
    return {
        "least squares: descent ends in the closed form": worst(last, OLS) < 1e-9,
        "ridge: descent ends in the closed form": worst(last, RIDGE) < 1e-9,
        "so it does in every random division": apart < 1e-9,
        "what is left is orthogonal to every column": float(abs(residual).max()) < 1e-9,
        "the bias is the mean of the targets": float(abs(ends[OLS][-1] - t.mean())) < 1e-9,
        "ridge shrinks every eigendirection by s²/(s² + λ)": bool(
            abs(ends[RIDGE][:-1] - shrunk).max() < 1e-9
        ),
        "gradient descent is as fast as (κ − 1)/(κ + 1) says": abs(
            np.log(fall) / np.log(factor) - 1
        ) < 0.02,
    }  # fmt: skip


def worst(last: Any, cost: str) -> float:
    """The largest difference from the closed form at the end, of both methods."""
    return max(last[cost, name] for name in METHODS)


def picture(distances: Any, closed: Any, ends: Any, strength: float) -> plots.Figure:
    """The distance to the closed form, and the coefficients."""
    title = "Descent arrives at the closed form of linear regression, sooner with momentum"
    figure, ((left, right),) = plots.picture(title, 1, 2, size=(10, 4.4))
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="distance to the closed form")
    colors = {OLS: plots.COLORS[0], RIDGE: plots.COLORS[1]}
    for (cost, method), d in distances.items():
        style = "-" if method == MOMENTUM else ":"
        left.plot(range(1, len(d)), d[1:], style, color=colors[cost], label=f"{cost}, {method}")
    left.legend(frameon=False, fontsize=8, loc="lower left")
    place = np.arange(10)
    for i, (cost, wb) in enumerate(closed.items()):
        name = cost if cost == OLS else f"{cost}, λ = {strength:g}"
        at = place + 0.4 * i - 0.2
        right.bar(at, wb[:-1], 0.38, color=colors[cost], alpha=0.45, label=f"{name}: closed form")
        right.plot(at, ends[cost][:-1], "o", color=colors[cost], ms=4, label=f"{name}: descent")
    right.axhline(0, color=plots.INK, linewidth=0.8)
    right.set_xticks(place, NAMES, rotation=60, ha="right", rotation_mode="anchor")
    right.set_ylabel("disease measure per standard deviation")
    right.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
