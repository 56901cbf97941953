"""Logistic regression, by descent and by another library.

    uv run python -m experiments.logistic_regression

Question: Do hand-written gradients find the same logistic regression as scikit-learn?

Benign or malignant (569 tumours) from thirty standardised measurements of cell nuclei,

    p = σ(x w + b)      J = −(1/N) Σ [t log p + (1 − t) log(1 − p)] + λ/2 ‖w‖²
    ∂J/∂w = Xᵀ(p − t)/N + λ w                  ∂²J/∂(w b)² = Xᵀ diag(p (1 − p)) X/N + λ D

b is not penalised: D is 1, but 0 for b. scikit-learn minimises ½ ‖w‖² + C Σ loss, which is
J/λ for C = 1/(λN); its solver is Newton's method. Descent is Nesterov's, in float64, from 0
and from random starts. The accuracy is that of random divisions, a third for the test.

Source: Cox (1958), J. Royal Stat. Soc. B 20; scikit-learn, Pedregosa et al. (2011), JMLR 12.
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

NET = fnn.mlp([30, 1])
LOSS = fnn.SigmoidBinaryCrossEntropy()
KINDS = ("mean", "error of", "worst")
NAMES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
    "concave points", "symmetry", "fractal dimension",
)  # fmt: skip


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare logistic regression by descent with scikit-learn's."""

    steps: Annotated[int, Bounds(2000)] = 4000
    strength: Annotated[float, Bounds(1e-3)] = 0.002  # λ; the least keeps 2000 steps enough
    starts: Annotated[int, Bounds(2)] = 20  # random ones
    divisions: Annotated[int, Bounds(2)] = 100  # random, for the accuracy


QUICK = Config(quick=True, starts=4, divisions=10, steps=2000)


def optimizer(x: Any, strength: float) -> Any:
    """Nesterov's: no curvature is above that of p = ½, and λ below."""
    high = descent.curvatures(x)[-1] / 4 + strength
    return descent.nesterov(strength, high).optimizer


def descended(config: Config, x: Any, t: Any, how: Any, start: Any) -> Any:
    """w and b of every step from w = `start`, b = 0, [steps + 1, 31]."""
    params = (fnn.DenseParams(start[:, None], jnp.zeros(1)),)
    plan = fnn.Plan(NET, LOSS, how, penalty=fnn.L2(config.strength))
    (path,) = descent.descend(plan, params, (x, t[:, None]), config.steps).params
    return jnp.concatenate([path.w[..., 0], path.b], -1)


def reference(x: Any, t: Any, strength: float) -> np.ndarray:
    """w and b of scikit-learn, [31]."""
    from sklearn.linear_model import LogisticRegression

    c = 1 / (strength * len(x))
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, t)
    return np.append(model.coef_[0], model.intercept_)


def hessian(x: Any, wb: Any) -> Any:
    """Xᵀ diag(p (1 − p)) X/N, with the column of ones in X, [31, 31]."""
    ones = jnp.column_stack([x, jnp.ones(len(x))])
    p = jax.nn.sigmoid(ones @ wb)
    return ones.T @ (ones * (p * (1 - p))[:, None]) / len(x)


def curvatures(config: Config, x: Any, t: Any) -> tuple[float, float]:
    """At random w: the least eigenvalue of the Hessian, its largest distance from autodiff's."""

    def cost(wb):
        params = (fnn.DenseParams(wb[:-1, None], wb[-1:]),)
        return LOSS.forward(NET.forward(params, x)[0], t[:, None])[0].mean()

    points = jax.random.normal(jax.random.key(config.seed), (config.starts, 31))
    ours = jax.jit(jax.vmap(lambda wb: hessian(x, wb)))(points)
    least = float(np.linalg.eigvalsh(ours).min())
    return least, float(abs(ours - jax.jit(jax.vmap(jax.hessian(cost)))(points)).max())


def accuracy(config: Config, x: Any, t: Any) -> np.ndarray:
    """The accuracy on the third that is held out, [divisions]."""
    rows = descent.divided(config.seed, config.divisions, x, t)
    how = optimizer(rows.x.reshape(-1, 30), config.strength)
    short = Config(steps=500, strength=config.strength)  # no label changes any more
    wb = jax.vmap(lambda x, t: descended(short, x, t, how, jnp.zeros(30))[-1])(rows.x, rows.t)
    scores = (rows.test_x @ wb[:, :-1, None])[..., 0] + wb[:, -1:]
    return np.asarray(((scores > 0) == (rows.test_t > 0)).mean(1))


def measure(config: Config) -> Outcome:
    """Descent from 0 and from random starts, scikit-learn, and what is known of the minimum."""
    with jax.enable_x64(True):
        rows, names = bundles.breast_cancer()
        t = rows.label.astype(float)
        (x,) = descent.standardised(rows.x)
        key = jax.random.key(config.seed)
        starts = jax.random.normal(key, (config.starts, 30)).at[0].set(0)
        how = optimizer(x, config.strength)
        paths = jax.vmap(lambda start: descended(config, x, t, how, start))(starts)
        theirs, ours = reference(x, t, config.strength), np.asarray(paths[0, -1])
        least, apart = curvatures(config, x, t)
        scores = accuracy(config, rows.x, t)
    distances = np.abs(np.asarray(paths) - theirs).max(-1)  # [starts, steps + 1]
    logits = descent.with_ones(x) @ ours
    seen = Seen(ours, distances, least, apart, 1 / (1 + np.exp(-logits)), t, scores)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "difference": seen.difference(), "difference_from_random_starts": seen.started(),
            "least_eigenvalue": least, "accuracy": seen.right(), "test_accuracy": scores.mean(),
        },
        figure=picture(ours, theirs, logits, t, names),
        rows=[
            {"measurement": f"{kind} {name}", "descent": a, "scikit_learn": b}
            for (kind, name), a, b in zip(columns(), ours, theirs, strict=False)
        ],
    )  # fmt: skip


class Seen(NamedTuple):
    """What was measured."""

    ours: np.ndarray  # w and b by descent from 0, [31]
    distances: np.ndarray  # from scikit-learn's, the first from 0, [starts, steps + 1]
    least: float  # eigenvalue of the Hessian
    apart: float  # the largest distance of the Hessian from autodiff's
    p: np.ndarray  # of every row to be benign, [N]
    t: np.ndarray  # whether it is, [N]
    scores: np.ndarray  # accuracy on what was held out, [divisions]

    def difference(self) -> float:
        """From scikit-learn, where descent from 0 ends."""
        return float(self.distances[0, -1])

    def started(self) -> float:
        """The same from random starts, the largest."""
        return float(self.distances[1:, -1].max())

    def right(self) -> float:
        """The accuracy on the rows that were learned."""
        return float(((self.p > 0.5) == self.t).mean())


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    return {
        "the coefficients are those of scikit-learn to 1e-8": seen.difference() < 1e-8,
        "every random start ends there too": seen.started() < 1e-8,
        "the Hessian is Xᵀ diag(p (1 − p)) X/N": seen.apart < 1e-12,
        "it has no negative eigenvalue": seen.least > -1e-12,
        "the mean of p is the share of benign tumours": abs(seen.p.mean() - seen.t.mean()) < 1e-9,
        "better than always benign, by far": seen.scores.mean() > seen.t.mean() + 0.25,
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    return (
        f"Yes. At λ = {config.strength:g} the thirty coefficients and the bias differ from "
        f"scikit-learn's by at most {seen.difference():.0e}; the largest is "
        f"{abs(seen.ours).max():.2f}. From {config.starts - 1} random starts, with coefficients "
        f"up to {seen.distances[1:, 0].max():.1f} off, descent ends in the same place, within "
        f"{seen.started():.0e}: the cost is convex, without the penalty too, where the smallest "
        f"eigenvalue of the Hessian at random points is {seen.least:.0e}. The model is right "
        f"about {seen.right():.1%} of the "
        f"tumours, in random divisions about {seen.scores.mean():.1%} of those that it did not "
        f"learn from (standard deviation {seen.scores.std():.1%})."
    )


def columns() -> list[tuple[str, str]]:
    """The kind and the name of every column of x."""
    return [(kind, name) for kind in KINDS for name in NAMES]


def picture(ours: Any, theirs: Any, scores: Any, t: Any, names: Any) -> plots.Figure:
    """Coefficients as bars with scikit-learn's on top, and how the scores part the classes."""
    title = "Descent finds scikit-learn's coefficients, and one number parts the tumours"
    figure, ((left, right),) = plots.picture(title, 1, 2, size=(10, 4.8))
    for k, (kind, color) in enumerate(zip(KINDS, plots.COLORS[2:], strict=False)):
        place, part = np.arange(10) + 0.27 * (k - 1), slice(10 * k, 10 * k + 10)
        left.barh(place, ours[part], 0.25, color=color, alpha=0.6, label=f"{kind.split()[0]}")
        left.plot(theirs[part], place, "|", color=plots.INK, ms=6, mew=1.5)
    left.plot([], [], "|", color=plots.INK, ms=6, mew=1.5, label="scikit-learn")
    left.axvline(0, color=plots.INK, linewidth=0.8)
    left.set_yticks(np.arange(10), NAMES)
    left.invert_yaxis()
    left.set_xlabel("coefficient per standard deviation")
    left.legend(frameon=False, fontsize=8)
    bins = np.linspace(scores.min(), scores.max(), 50)
    for k, (name, color) in enumerate(zip(names, plots.COLORS[1::-1], strict=False)):
        right.hist(scores[t == k], bins, color=color, alpha=0.6, label=name)
    right.axvline(0, color=plots.INK, linewidth=0.8, linestyle="--")
    right.set(xlabel="score x w + b: malignant below 0, benign above", ylabel="tumours")
    right.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
