"""Digits through a few numbers, by autoencoders and by a variational one.

    uv run python -m experiments.autoencoder

Question: What do autoencoders make of a few numbers that principal components do not, and what
does a code that is drawn at random add?

    autoencoder     code = encoder(x)                   loss Σ (y − x)²
                    y = decoder(code)
    variational     m, s = encoder(x)                   loss −Σ x log σ(y) + (1 − x) log(1 − σ(y))
                    y = decoder(m + ε e^s/2)                 + ½ Σ m² + e^s − 1 − s

Both have one hidden layer on each side. The pixels go from 0 to 1. Everything is learned from the
training digits and measured on the test digits, the error as Σ (y − x)² of a digit, with σ(y) for y
of the variational net and its code at m. Principal components are scikit-learn's, as many as the
code has numbers; the variational code has two. How far they keep the digits apart is told by
neighbours: a test digit takes the name of the training digit whose code is nearest. New digits are
decoded from codes that are drawn, from N(0, 1) for the variational net, for the other from the
normal distribution that has the mean and the covariance of its codes; the less they differ from
the nearest of all training digits, the more they look like one. Shown are medians of the
starts, with their range; figures by name are of the first.

Source: Kingma & Welling (2014), arXiv:1312.6114, section 3 and figure 4b; Hinton & Salakhutdinov
(2006), Science 313, for autoencoders against principal components.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps

import fnn
from experiments.common import bundles, claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.data import Rows
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings

BATCH = 32
DRAWN = 500  # new digits
GRID = 13  # digits on a side of the plane of codes
PCA, AUTO, VARIATIONAL = "principal components", "autoencoder", "variational"


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Send digits through a few numbers."""

    sizes: Annotated[tuple[int, ...], Bounds(1, 64)] = (4, 8, 16)  # numbers of a code, besides 2
    hidden: Annotated[int, Bounds(1)] = 128  # neurons between pixels and code
    epochs: Annotated[int, Bounds(1)] = 100
    learning_rate: Annotated[float, Bounds(0, open_low=True)] = 0.004  # the highest
    starts: Annotated[int, Bounds(1)] = 3  # initial weights


QUICK = Config(quick=True, sizes=(8,), epochs=40, starts=1)


def autoencoder(n: int, hidden: int, k: int) -> fnn.Serial:
    """n numbers through k and back."""
    return fnn.Serial(
        encoder=fnn.mlp((n, hidden, k), fnn.SiLU()), decoder=fnn.mlp((k, hidden, n), fnn.SiLU())
    )


def variational(n: int, hidden: int, k: int) -> fnn.Serial:
    """The same with a code that is drawn: y is the pair of reconstruction and code."""
    decoder = fnn.Serial(code=fnn.Gaussian(), decoder=fnn.mlp((k, hidden, n), fnn.SiLU()))
    return fnn.Serial(
        encoder=fnn.mlp((n, hidden, 2 * k), fnn.SiLU()),
        both=fnn.Parallel(decoder, fnn.Identity(), join=None),
    )


class Coder(NamedTuple):
    """A way through k numbers and back, as it is after training from one start."""

    encode: Callable[[Any], Any]  # digits [N, 64] → codes [N, k]
    decode: Callable[[Any], Any]

    def error(self, x: Any) -> float:
        """Σ (y − x)² of a digit, the mean."""
        return float(((np.asarray(self.decode(self.encode(x))) - x) ** 2).sum(1).mean())


def of_autoencoder(net: fnn.Serial, params: Any) -> Coder:
    """The two halves of the net."""
    return Coder(
        lambda x: net["encoder"].forward(params["encoder"], jnp.asarray(x))[0],
        lambda z: net["decoder"].forward(params["decoder"], jnp.asarray(z))[0],
    )


def of_variational(net: Any, params: Any) -> Coder:
    """The code at its mean, and the chances of the decoder."""
    decoder, own = net["both"][0]["decoder"], params["both"][0]["decoder"]
    encode, _ = of_autoencoder(net, params)
    return Coder(
        lambda x: fnn.GaussianMean().forward((), encode(x))[0],
        lambda z: jax.nn.sigmoid(decoder.forward(own, jnp.asarray(z))[0]),
    )


class Kind(NamedTuple):
    """A kind of net, and how it is trained and used."""

    build: Callable[..., fnn.Serial]
    loss: fnn.Loss[Any]
    coder: Callable[[Any, Any], Coder]


KINDS = {
    AUTO: Kind(autoencoder, fnn.SquaredError(), of_autoencoder),
    VARIATIONAL: Kind(variational, fnn.ELBO(), of_variational),
}


@partial(jax.jit, static_argnames="epochs")
def trained(plan: fnn.Plan, x: Any, keys: Any, epochs: int) -> Any:
    """The params after training on x from every key."""

    def one(key):
        state, _ = fnn.fit(plan, fnn.start(plan, key), (x, x), epochs=epochs, batch_size=BATCH)
        return state.params

    return jax.vmap(one)(keys)


def coders(config: Config, name: str, k: int, x: Any) -> list[Coder]:
    """The coders of every start; principal components have one."""
    if name == PCA:
        from sklearn import decomposition

        found = decomposition.PCA(k).fit(x)
        return [Coder(found.transform, found.inverse_transform)]
    kind, steps = KINDS[name], config.epochs * -(-len(x) // BATCH)
    schedule = fnn.optim.WarmupCosine(config.learning_rate, steps // 50, steps)
    adam = fnn.optim.Scheduled(fnn.optim.AdamW(weight_decay=0.01), schedule)
    net = kind.build(x.shape[1], config.hidden, k)
    keys = jax.random.split(jax.random.key(config.seed), config.starts)
    params = trained(fnn.Plan(net, kind.loss, adam), jnp.asarray(x), keys, config.epochs)
    each = [jax.tree.map(lambda a, i=i: a[i], params) for i in range(config.starts)]
    return [kind.coder(*fnn.inference(net, own)) for own in each]


def distances(a: Any, b: Any) -> np.ndarray:
    """Σ (a_i − b_j)², [N, M]."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)


class Drawn(NamedTuple):
    """What two numbers do, of every start."""

    apart: list[float]  # share of the test digits whose nearest training code is of their class
    news: list[float]  # distance of a new digit to the nearest training digit, the mean


def drawn(found: list[Coder], name: str, train: Rows, test: Rows, seed: int) -> Drawn:
    """Neighbours of codes, and new digits."""
    apart, news, rng = [], [], np.random.default_rng(seed)
    for each in found:
        codes = np.asarray(each.encode(train.x), float)
        nearest = distances(each.encode(test.x), codes).argmin(1)
        apart.append(float((train.label[nearest] == test.label).mean()))
        z = rng.standard_normal((DRAWN, 2))
        if name != VARIATIONAL:
            z = codes.mean(0) + z @ np.linalg.cholesky(np.cov(codes.T)).T
        new = each.decode(z.astype(np.float32))
        news.append(float(distances(new, train.x).min(1).mean()))
    return Drawn(apart, news)


class Seen(NamedTuple):
    """What was measured."""

    errors: dict[tuple[str, int], list[float]]  # coder and size of the code → of every start
    two: dict[str, Drawn]  # of codes of two numbers
    spread: list[np.ndarray]  # of the variational codes of test digits: mean and std, [2, 2]
    real: float  # distance of a test digit to the nearest training digit, the mean
    first: dict[tuple[str, int], Coder]  # the first start of every coder
    test: Rows

    def error(self, name: str, k: int) -> float:
        """The median of the starts."""
        return float(np.median(self.errors[name, k]))


def measure(config: Config) -> Outcome:
    """Train all, and look at what comes out again."""
    digits = bundles.digits()
    train, test = (rows._replace(x=rows.x / 16) for rows in (digits.train, digits.test))
    sizes = sorted({2, *config.sizes})
    todo = [(name, k) for k in sizes for name in (PCA, AUTO)] + [(VARIATIONAL, 2)]
    found = {at: coders(config, *at, train.x) for at in track("trained", todo)}
    two = {name: found[name, 2] for name in (PCA, AUTO, VARIATIONAL)}
    codes = [np.asarray(each.encode(test.x), float) for each in two[VARIATIONAL]]
    seen = Seen(
        {at: [each.error(test.x) for each in some] for at, some in found.items()},
        {name: drawn(some, name, train, test, config.seed) for name, some in two.items()},
        [np.stack([z.mean(0), z.std(0)]) for z in codes],
        float(distances(test.x, train.x).min(1).mean()),
        {at: some[0] for at, some in found.items()},
        test,
    )
    return Outcome(
        answer=answer(seen, sizes),
        findings=findings(seen, sizes),
        measured={
            "errors": {f"{name}, {k}": values for (name, k), values in seen.errors.items()},
            "two": {name: some._asdict() for name, some in seen.two.items()},
            "spread": seen.spread,
            "real": seen.real,
        },
        figure=picture(seen, sizes),
        tables=[table(seen)],
        rows=[{"numbers": k} | {name: seen.error(name, k) for name in (PCA, AUTO)} for k in sizes],
    )


def findings(seen: Seen, sizes: list[int]) -> dict[str, bool]:
    """What is claimed."""
    two, spread = seen.two, np.stack(seen.spread)
    return {
        "with as many numbers every autoencoder is nearer than principal components": all(
            max(seen.errors[AUTO, k]) < seen.error(PCA, k) for k in sizes
        ),
        "with two numbers the variational one is, too": (
            max(seen.errors[VARIATIONAL, 2]) < seen.error(PCA, 2)
        ),
        "both keep the digits further apart": all(
            min(two[name].apart) > max(two[PCA].apart) for name in (AUTO, VARIATIONAL)
        ),
        "the variational codes have means of 0 and deviations of 1, within 0.3": bool(
            (abs(spread - np.array([[0.0], [1.0]])) < 0.3).all()
        ),
        "new digits of the variational one are nearer to real ones than those of the other": (
            max(two[VARIATIONAL].news) < min(two[AUTO].news)
        ),
    }


def answer(seen: Seen, sizes: list[int]) -> str:
    """What was measured, in sentences."""
    less = [100 * (1 - seen.error(AUTO, k) / seen.error(PCA, k)) for k in sizes]
    apart = {name: 100 * float(np.median(some.apart)) for name, some in seen.two.items()}
    news = {name: float(np.median(some.news)) for name, some in seen.two.items()}
    numbers = ", ".join(map(str, sizes))
    return (
        f"With {numbers} numbers the autoencoder leaves {', '.join(f'{v:.0f}' for v in less)} % "
        f"less of the squared error of a test digit than as many principal components "
        f"({seen.error(AUTO, 2):.2f} instead of {seen.error(PCA, 2):.2f} with 2). Two of its "
        f"numbers name {apart[AUTO]:.0f} % of the digits rightly, two principal components "
        f"{apart[PCA]:.0f} %, two of the variational one {apart[VARIATIONAL]:.0f} % (error "
        f"{seen.error(VARIATIONAL, 2):.2f}). Its codes fill the plane like N(0, 1), and what is "
        f"decoded from a point drawn there is {news[VARIATIONAL]:.2f} from the nearest training "
        f"digit, where it is {news[AUTO]:.2f} for the autoencoder, {news[PCA]:.2f} for principal "
        f"components and {seen.real:.2f} for a real test digit."
    )


def table(seen: Seen) -> Table:
    """Errors of every size, and what two numbers do; medians of the starts."""
    rows = [[f"{name}, {k}", f"{np.median(v):.3f}"] for (name, k), v in seen.errors.items()]
    return Table("Σ (y − x)² of a test digit, by numbers of the code", ["", "error"], rows)


def picture(seen: Seen, sizes: list[int]) -> plots.Figure:
    """Errors by size, digits through two numbers, the map of codes and the plane of digits."""
    title = "Digits through a few numbers: autoencoders keep more than principal components"
    figure, ((errors, digits), (codes, plane)) = plots.picture(title, 2, 2, (10, 9))
    for name, color in zip((PCA, AUTO), plots.COLORS, strict=False):
        values = [sorted(seen.errors[name, k]) for k in sizes]
        plots.band(errors, sizes, values, color, name, 1)
    errors.plot([2], [seen.error(VARIATIONAL, 2)], "o", color=plots.COLORS[2], label=VARIATIONAL)
    errors.set(xscale="log", ylim=(0, None), xlabel="numbers of the code (log scale)")
    errors.set(ylabel="Σ (y − x)² of a test digit")
    errors.set_xticks(sizes, [str(k) for k in sizes])
    errors.minorticks_off()
    errors.set_title("What is lost")
    errors.legend(frameon=False)
    through(digits, seen, sizes[-1])
    mapped(codes, seen)
    z = [NormalDist().inv_cdf((i + 0.5) / GRID) for i in range(GRID)]
    points = np.array([[a, b] for b in reversed(z) for a in z], np.float32)
    images = np.asarray(seen.first[VARIATIONAL, 2].decode(points)).reshape(GRID, GRID, 8, 8)
    shown(plane, images)
    plane.set_title("What is decoded from the plane")
    plane.set(xlabel="z₁, quantiles of N(0, 1)", ylabel="z₂, quantiles of N(0, 1)")
    return figure


def shown(axes: Any, images: np.ndarray) -> None:
    """Images [rows, columns, 8, 8] as one, with a white pixel between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1))).swapaxes(1, 2)
    rows = padded.reshape(padded.shape[0] * 9, -1)
    greys = colormaps["Greys"].resampled(16)  # few, so that a PNG has colours left
    axes.imshow(rows, cmap=greys, vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def through(axes: Any, seen: Seen, most: int) -> None:
    """One test digit of every class, through 2 and through most numbers."""
    x = np.stack([seen.test.x[seen.test.label == k][0] for k in range(10)])
    chosen = [(PCA, 2), (AUTO, 2), (VARIATIONAL, 2), (PCA, most), (AUTO, most)]
    coders = [seen.first[at] for at in chosen]
    rows = np.stack([x, *(np.asarray(each.decode(each.encode(x))) for each in coders)])
    shown(axes, np.clip(rows, 0, 1).reshape(len(rows), 10, 8, 8))
    names = [f"{name.split()[-1]}, {k}" for name, k in chosen]
    axes.set_yticks(9 * np.arange(len(rows)) + 3.5, ["test digits", *names])
    axes.tick_params(length=0)
    axes.set_title(f"Ten digits through 2 and through {most} numbers")


def mapped(axes: Any, seen: Seen) -> None:
    """The variational codes of the test digits, each as its digit in the colour of its class."""
    z = np.asarray(seen.first[VARIATIONAL, 2].encode(seen.test.x))
    for (a, b), label in zip(z, seen.test.label, strict=True):
        color = (*plots.COLORS, "#7f7f7f", "#8c564b", "#000000", "#999933")[label]
        axes.text(a, b, str(label), color=color, fontsize=8, ha="center", va="center")
    reach = 1.05 * abs(z).max()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="m₁", ylabel="m₂")
    axes.set_aspect("equal")
    axes.set_title("Where the test digits are in the variational code")


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
