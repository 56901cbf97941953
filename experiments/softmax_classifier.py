"""The softmax classifier, by descent and by another library.

    uv run python -m experiments.softmax_classifier

Question: Do hand-written gradients find the same softmax classifier as scikit-learn?

Three species of iris from four measurements, three growers of wine from thirteen,

    P = softmax(X W + b)      J = −(1/N) Σ log P[i, yᵢ] + λ/2 ‖W‖²      ∂J/∂W = Xᵀ(P − Y)/N + λ W

with standardised x and one-hot Y; b is not penalised. Adding one number to every b changes
nothing; from 0 both solvers stay where Σ b = 0. scikit-learn minimises J/λ by Newton's
method, C = 1/(λN). For K = 2 only w = W[:, 1] − W[:, 0] matters, and of all W with this
difference ±w/2 has the smallest norm, ‖w‖²/2: softmax with 2λ is logistic regression with
λ, here on the tumours of breast_cancer.

Source: Bridle (1990), Neurocomputing (NATO ASI F68), section 2; scikit-learn, Pedregosa et
al. (2011), JMLR 12.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import logistic_regression
from experiments.common import bundles, claims, descent, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

LOSS = fnn.SoftmaxCrossEntropy()
SETS = {"iris": bundles.iris, "wine": bundles.wine}
PETALS = [2, 3]  # columns of iris: length and width, cm


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare the softmax classifier by descent with scikit-learn's."""

    steps: Annotated[int, Bounds(2000)] = 4000
    strength: Annotated[float, Bounds(2e-3)] = 0.005  # λ; the least keeps 2000 steps enough
    divisions: Annotated[int, Bounds(2)] = 100  # random, for the accuracy


QUICK = Config(quick=True, steps=2000, divisions=10)


def descended(x: Any, label: Any, k: int, strength: float, steps: int) -> Any:
    """W over b at the start, 0, and after every step, [steps + 1, n + 1, k]."""
    ones = jnp.column_stack([x, jnp.ones(len(x))])
    high = jnp.linalg.eigvalsh(ones.T @ ones / len(x))[-1] / 2 + strength
    how = descent.nesterov(strength, high).optimizer
    net = fnn.mlp([x.shape[1], k], w_init=fnn.initializers.zeros)
    plan = fnn.Plan(net, LOSS, how, penalty=fnn.L2(strength))
    (path,) = descent.descend(plan, net.init(jax.random.key(0)), (x, label), steps).params
    return jnp.concatenate([path.w, path.b[:, None]], 1)


def reference(x: Any, label: Any, strength: float) -> np.ndarray:
    """W over b of scikit-learn, [n + 1, k]."""
    from sklearn.linear_model import LogisticRegression

    c = 1 / (strength * len(x))
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(x, label)
    return np.column_stack([model.coef_, model.intercept_]).T


def accuracy(config: Config, x: Any, label: Any) -> np.ndarray:
    """The accuracy on the third that is held out, [divisions]."""
    rows = descent.divided(config.seed, config.divisions, x, label)
    last = jax.vmap(lambda x, y: descended(x, y, 3, config.strength, 500)[-1])(rows.x, rows.t)
    scores = rows.test_x @ np.asarray(last)[:, :-1] + np.asarray(last)[:, -1:]
    return (scores.argmax(-1) == rows.test_t).mean(1)


def two_classes(config: Config) -> np.ndarray:
    """Per step: how far W[:, 1] − W[:, 0] is from logistic regression's w, [steps + 1]."""
    rows = bundles.breast_cancer().rows
    (x,) = descent.standardised(rows.x)
    w = descended(x, rows.label, 2, 2 * config.strength, config.steps)
    single = logistic_regression.Config(steps=config.steps, strength=config.strength)
    how = logistic_regression.optimizer(x, config.strength)
    start, t = jnp.zeros(30), rows.label.astype(float)
    end = logistic_regression.descended(single, x, t, how, start)[-1]
    return np.asarray(abs(w[..., 1] - w[..., 0] - end).max(1))


def petals(config: Config) -> tuple[Any, Any]:
    """The classifier of iris by its petals alone: a function of cm, and the rows it learned."""
    x, label = bundles.iris().rows
    (z,) = descent.standardised(x[:, PETALS])
    end = np.asarray(descended(z, label, 3, config.strength, config.steps)[-1])

    def classify(points):
        scale = descent.standardised(x[:, PETALS], points)[1]
        return (descent.with_ones(scale) @ end).argmax(-1)

    return classify, (x[:, PETALS], label)


class Fit(NamedTuple):
    """Descent on one set, and scikit-learn."""

    distances: np.ndarray  # the largest of a coefficient from scikit-learn's, [steps + 1]
    end: np.ndarray  # W over b, [n + 1, k]
    scores: np.ndarray  # accuracy on what was held out, [divisions]


def fit(config: Config, x: Any, label: Any) -> Fit:
    """Both ways on all rows; the accuracy in random divisions."""
    (z,) = descent.standardised(x)
    path = np.asarray(descended(z, label, 3, config.strength, config.steps))
    theirs = reference(z, label, config.strength)
    return Fit(np.abs(path - theirs).max((1, 2)), path[-1], accuracy(config, x, label))


def measure(config: Config) -> Outcome:
    """Descent on both sets, scikit-learn's W, and the case of two classes."""
    with jax.enable_x64(True):
        fits = {name: fit(config, *load().rows) for name, load in SETS.items()}
        both = two_classes(config)
        regions = petals(config)
    seen = Seen(fits, {name: float(f.distances[-1]) for name, f in fits.items()}, both[-1])
    curves = {name: f.distances for name, f in fits.items()} | {"two classes": both}
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "differences": seen.last,
            "two_classes": float(both[-1]),
            "test_accuracy": {name: f.scores.mean() for name, f in fits.items()},
        },
        figure=picture(curves, regions),
        tables=[table(fits)],
        rows=[
            {"step": i, **{name: d[i] for name, d in curves.items()}}
            for i in range(0, config.steps + 1, 10)
        ],
    )


class Seen(NamedTuple):
    """What was measured."""

    fits: dict[str, Fit]
    last: dict[str, float]  # set → distance from scikit-learn's coefficients at the end
    both: float  # of two classes, distance from logistic regression at the end


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    fits = seen.fits.values()
    return {
        "iris: the coefficients are those of scikit-learn to 1e-8": seen.last["iris"] < 1e-8,
        "wine: the coefficients are those of scikit-learn to 1e-8": seen.last["wine"] < 1e-8,
        "two classes are logistic regression to 1e-8": float(seen.both) < 1e-8,
        "the columns of W, and b, sum to 0": max(abs(f.end.sum(1)).max() for f in fits) < 1e-9,
        "nine of ten that were held out are named rightly": (
            min(f.scores.mean() for f in fits) > 0.9
        ),
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    iris, wine = seen.fits["iris"], seen.fits["wine"]
    said = {
        n: f"{f.scores.mean():.1%} (standard deviation {f.scores.std():.1%})"
        for n, f in seen.fits.items()
    }
    return (
        f"Yes. At λ = {config.strength:g} no coefficient differs from scikit-learn's by more "
        f"than {seen.last['iris']:.0e} (iris) and {seen.last['wine']:.0e} (wine); the largest are "
        f"{abs(iris.end).max():.1f} and {abs(wine.end).max():.1f}. With two classes "
        f"the difference of the two columns is logistic regression, within {seen.both:.0e}. In "
        f"random divisions {said['iris']} of the irises and {said['wine']} of the wines that "
        "were held out are named rightly."
    )


def table(fits: dict[str, Fit]) -> Table:
    """The accuracy on what was held out."""
    rows = [[n, f"{f.scores.mean():.4f}", f"{f.scores.std():.4f}"] for n, f in fits.items()]
    return Table("Held out, named rightly", ["", "mean", "standard deviation"], rows)


def picture(distances: Any, regions: Any) -> plots.Figure:
    """How descent arrives, and the regions of the three irises."""
    title = "Descent arrives at scikit-learn's softmax classifier, whose borders are straight"
    figure, ((left, right),) = plots.picture(title, 1, 2, size=(10, 4.4))
    left.set(xlabel="step", ylabel="largest distance of a coefficient", yscale="log")
    to = {"two classes": "tumours, from logistic regression"}
    for (name, d), color in zip(distances.items(), plots.COLORS[3:], strict=False):
        left.plot(d, color=color, label=to.get(name, f"{name}, from scikit-learn"))
    left.legend(frameon=False)
    classify, (x, label) = regions
    wide, high = np.meshgrid(np.linspace(0.5, 7.5, 200), np.linspace(0, 3, 200))
    colors = plots.COLORS[:3]
    found = classify(np.column_stack([wide.ravel(), high.ravel()])).reshape(wide.shape)
    right.contourf(wide, high, found, levels=[-0.5, 0.5, 1.5, 2.5], colors=colors, alpha=0.2)
    for k, (name, color) in enumerate(zip(bundles.iris().names, colors, strict=True)):
        right.scatter(*x[label == k].T, color=color, s=12, label=name)
    right.set(xlabel="petal length, cm", ylabel="petal width, cm")
    right.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
