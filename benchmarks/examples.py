"""What more there is to ask of a backward pass, beside the libraries that are for it.

    mlp     vectors → Dense, ReLU, Dense, ReLU, Dense → a class
    cnn     images → Conv 3×3, ReLU, Conv 3×3, ReLU, MaxPool, Dense, ReLU, Dense → a class
    lstm    sequences → LSTM → Dense → a class at every step
    gpt     bytes → Embedding, positions, blocks, LayerNorm, Dense without bias → the next byte

They are drawn by benchmarks.steps. The loss of an example is the mean over its steps.
Of single examples: the norms ‖g_b‖, and Σ_b g_b min(1, max_norm / ‖g_b‖). Of the curvature of mlp
and cnn: Hessian and Gauss–Newton matrix times a vector, the diagonal of the latter, and the
Kronecker factors of the empirical Fisher matrix. What a peer finds must be what fnn finds, or
nothing is measured; factors are compared by the product of both with a vector.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.steps import Arrays, cnn, floats, gpt, lstm, mlp
from benchmarks.turns import OURS, Ratio, take_turns

PRIVATE = {  # name in the table → module of benchmarks.peers.examples
    "fnn": OURS,
    "jax_privacy.clipped_grad": "jax_private",
    "Opacus, ghost": "opacus_ghost",
    "Opacus, hooks": "opacus_hooks",
    "BackPACK": "back_pack",
}
CURVED = {"fnn": OURS, "curvlinops": "curv_linops", "kfac-jax": "kfac_in_jax"}
PEERS = {  # quantity → its peers
    "norms": PRIVATE,
    "clipped": PRIVATE,
    "hessian": CURVED,
    "gauss_newton": CURVED,
    "kfac": CURVED,
    "diagonal": {"fnn": OURS, "BackPACK": "back_pack"},
}
REFUSED = {("gpt", "back_pack"): "no LayerNorm"}
SINGLE, CURVATURE = ("norms", "clipped"), ("hessian", "gauss_newton", "kfac", "diagonal")
AGREE = 1e-4  # of the largest norm, or of the largest entry of the sum


class Single(NamedTuple):
    """One quantity of one net with one peer: ratios are fnn / peer, None where there is none."""

    net: str
    quantity: str
    peer: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    mebibytes: float | None = None
    error: float | None = None  # largest difference from fnn, relative to its largest entry
    refused: str = ""  # what the peer has no formula for


class Task(NamedTuple):
    """The arrays of a net; in a turn it is run `n` times."""

    arrays: Arrays
    n: int
    max_norm: float  # that about half of the examples are above


def tasks(quick: bool) -> dict[str, Task]:
    """The nets that are measured."""
    if quick:
        sizes = {"n_in": 5, "n_hidden": 4, "n_out": 3}
        return {
            "mlp": Task(mlp(**sizes, batch=6), 1, 1.0),
            "cnn": Task(cnn(side=4, channels=2, n_hidden=5, n_out=3, batch=6), 1, 1.0),
            "lstm": Task(lstm(**sizes, length=6, batch=3), 1, 1.0),
            "gpt": Task(gpt(n_vocab=11, n=8, n_layers=2, length=6, batch=3), 1, 1.0),
        }
    return {
        "mlp, batch 128": Task(mlp(n_in=256, n_hidden=512, n_out=10, batch=128), 10, 17.0),
        "mlp, batch 512": Task(mlp(n_in=256, n_hidden=512, n_out=10, batch=512), 3, 17.0),
        "cnn, batch 64": Task(cnn(side=8, channels=32, n_hidden=128, n_out=10, batch=64), 3, 18.0),
        "lstm, 32 × T 64": Task(
            lstm(n_in=64, n_hidden=128, n_out=10, length=64, batch=32), 2, 0.45
        ),
        "gpt, 8 × T 128": Task(gpt(n_vocab=256, n=128, n_layers=2, length=128, batch=8), 1, 8.0),
    }


def singles(*, rounds: int = 7, quick: bool = False) -> list[Single]:
    """Every quantity of every net with every peer; `quick`: of tiny sizes, hardly measured."""
    return [
        row
        for net, task in tasks(quick).items()
        for quantity in (*SINGLE, *(CURVATURE if net.startswith(("mlp", "cnn")) else ()))
        for row in rows(net, quantity, task, 1 if quick else rounds)
    ]


def rows(net: str, quantity: str, task: Task, rounds: int) -> list[Single]:
    """One quantity of one net with every peer."""
    kind, peers = net.partition(",")[0], PEERS[quantity]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "arrays.npz"
        given = directions(task.arrays) if quantity in CURVATURE else {}
        arrays = task.arrays | given | {"max_norm": np.float32(task.max_norm)}
        np.savez(data, **arrays)  # pyright: ignore[reportArgumentType]
        wanted = [m for m in peers.values() if (kind, m) not in REFUSED]
        arguments = [quantity, kind, str(data), str(task.n), folder]
        ratios = take_turns("examples", wanted, arguments, rounds)
        errors = {m: error(Path(folder), m, f"{net}, {quantity}") for m in ratios}
    return [
        summarized(net, quantity, name, ratios.get(m), errors.get(m), REFUSED.get((kind, m), ""))
        for name, m in peers.items()
    ]


def directions(arrays: Arrays) -> Arrays:
    """A direction for every parameter."""
    rng = np.random.default_rng(4)
    params = {k: a for k, a in arrays.items() if k not in ("x", "target")}
    return floats({f"v.{k}": rng.normal(size=a.shape) for k, a in params.items()})


def error(folder: Path, module: str, what: str) -> float:
    """The largest difference of what any way of a peer found; an AssertionError if it is large."""
    ours = loaded(folder / f"{OURS}-0.npz")
    scale = max(float(abs(a).max()) for a in ours.values())
    found = 0.0
    paths = sorted(folder.glob(f"{module}-*.npz"))
    assert paths, f"{what}: {module} kept nothing"
    for path in paths:
        theirs = loaded(path)
        assert set(theirs) == set(ours), f"{what}: {module} found {sorted(theirs)}"
        for name, a in ours.items():
            assert theirs[name].shape == a.shape, f"{what}: {name} of {module}"
            found = float(np.maximum(found, abs(theirs[name] - a).max() / scale))  # NaN stays
    assert found <= AGREE, (
        f"{what}: {module} differs by {found:.1e} of the largest entry; they must compute the same."
    )
    return found


def loaded(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file, in float64."""
    with np.load(path) as data:
        return {name: a.astype(np.float64) for name, a in data.items()}


def summarized(
    net: str, quantity: str, peer: str, ratio: Ratio | None, error: float | None, refused: str
) -> Single:
    """A row of the table."""
    if ratio is None:
        return Single(net, quantity, peer, refused=refused)
    middle, low, high, seconds, answers = ratio
    memory = answers[-1]["mebibytes"]
    return Single(net, quantity, peer, middle, low, high, seconds, memory, error)
