"""A whole training step of three nets: forward, loss, backward, Adam; and a text that one writes.

    gpt     bytes → Embedding, Positions, blocks of causal attention and a GELU MLP behind
            LayerNorm, LayerNorm, Dense without bias → the next byte
    lstm    sequences → LSTM → Dense → a class at every step
    cnn     images → Conv 3×3, ReLU, Conv 3×3, ReLU, MaxPool, Dense, ReLU, Dense → a class
    mlp     vectors → Dense, ReLU, Dense, ReLU, Dense → a class, at an accelerator's sizes only
    …, bfloat16  the same with products in bfloat16: Cast, cast params, PyTorch's autocast
    writing gpt writes 512 bytes behind a prompt, one by one, always the likeliest: fnn.generate
            and PyTorch keep keys and values, plain JAX runs the whole context for each

The arrays of a net are drawn here, and every peer starts from them: the first losses must
agree, or nothing is measured. Names are those of fnn's fields; w is [n_in, n_out], images
are NHWC, gates in the order i, f, g, o, gpt's blocks stacked on the first axis.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.turns import OURS, Ratio, take_turns

PEERS = {  # name in the table → module of benchmarks.peers.steps
    "fnn": "hand_written",
    "jax.value_and_grad, optax": "plain_jax",
    "Flax NNX, optax": "flax_nnx",
    "Equinox, optax": "equinox",
    "PyTorch eager": "pytorch",
    "PyTorch, torch.compile": "pytorch_compiled",
}
TARGETS = {  # of our time in theirs, by (peer, net) or by peer
    "flax_nnx": 0.77,
    "equinox": 0.77,
    ("pytorch", "gpt"): 1.0,
    ("pytorch", "lstm"): 1.0,
    ("plain_jax", "gpt, bfloat16"): 0.6,
    ("pytorch", "gpt, bfloat16"): 1.0,
    ("pytorch", "writing"): 1.0,
}
HALF = ", bfloat16"  # behind the name of a net: products in it, parameters in float32
FEW = (OURS, "plain_jax", "pytorch")  # who writes, and who computes in half precision
ALL = (*FEW, "flax_nnx", "equinox")
AGREE = 1e-3  # relative difference of the first losses, or of the means of first bytes
HALF_AGREE = 2**-8  # in bfloat16
Arrays = dict[str, np.ndarray]


class Step(NamedTuple):
    """One net with one peer: ratios are fnn / peer, None where it is not installed."""

    net: str
    peer: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    first: float | None = None  # the loss of the first step
    last: float | None = None
    target: float | None = None


class Task(NamedTuple):
    """A net and its sizes; in a turn `n` steps run one after another."""

    arrays: Callable[..., Arrays]
    sizes: Mapping[str, int]
    tiny: Mapping[str, int]
    n: int
    peers: tuple[str, ...] = ALL


def training_steps(
    tasks: Mapping[str, Task] | None = None, *, rounds: int = 6, quick: bool = False
) -> list[Step]:
    """Every net with every peer; `quick`: of tiny sizes, hardly measured."""
    rows = []
    for name, task in (tasks or TASKS).items():
        arrays = task.arrays(**(task.tiny if quick else task.sizes))
        n = 2 if quick else task.n
        rows += step_rows(name, arrays, task.peers, n=n, rounds=1 if quick else rounds)
    return rows


def step_rows(
    net: str, arrays: Arrays, modules: Sequence[str], *, n: int, rounds: int
) -> list[Step]:
    """One net with these peers."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "arrays.npz"
        np.savez(data, **arrays)  # pyright: ignore[reportArgumentType]
        peers = {m: name for name, m in PEERS.items() if m in modules}
        ratios = take_turns("steps", list(peers), [net, str(data), str(n)], rounds)
    check_first(net, ratios)
    return [summarized(net, name, module, ratios.get(module)) for module, name in peers.items()]


def check_first(net: str, ratios: Mapping[str, Ratio]) -> None:
    """Raise unless all peers start from one loss."""
    ours, limit = first(ratios[OURS]), HALF_AGREE if HALF in net else AGREE
    for module, ratio in ratios.items():
        if not abs(first(ratio) - ours) <= limit * abs(ours):
            raise AssertionError(
                f"{net} step: {module} starts from the loss {first(ratio):.6g}, "
                f"fnn from {ours:.6g}; they must compute the same net."
            )


def first(ratio: Ratio) -> float:
    """The loss of the very first step."""
    return ratio.answers[0]["first"]


def summarized(net: str, name: str, module: str, ratio: Ratio | None) -> Step:
    """A row of the table."""
    if ratio is None:
        return Step(net, name)
    target = TARGETS.get((module, net), TARGETS.get(module))
    last = ratio.answers[-1]["last"]
    return Step(net, name, *ratio[:4], first=first(ratio), last=last, target=target)


def gpt(*, n_vocab: int, n: int, n_layers: int, length: int, batch: int) -> Arrays:
    """x, target [B, T], and the parameters."""
    rng, many = np.random.default_rng(0), (n_layers,)
    block = {
        "scale1": np.ones((*many, n)), "b1": np.zeros((*many, n)),
        **{f"w{a}": weights(rng, *many, n, n) for a in "qkvo"},
        "scale2": np.ones((*many, n)), "b2": np.zeros((*many, n)),
        "w_up": weights(rng, *many, n, 4 * n), "b_up": np.zeros((*many, 4 * n)),
        "w_down": weights(rng, *many, 4 * n, n), "b_down": np.zeros((*many, n)),
    }  # fmt: skip
    arrays = {
        "table": 0.02 * rng.normal(size=(n_vocab, n)),
        "positions": 0.02 * rng.normal(size=(length, n)),
        **block,
        "scale": np.ones(n), "b": np.zeros(n), "w": weights(rng, n, n_vocab),
    }  # fmt: skip
    x = rng.integers(n_vocab, size=(batch, length + 1))
    return floats(arrays) | labels(x=x[:, :-1], target=x[:, 1:])


def writing(*, length: int, n_written: int, **sizes: int) -> Arrays:
    """A prompt x [1, T]; target [1, n_written] has the shape of what is to be written."""
    arrays = gpt(length=length + n_written, batch=1, **sizes)
    return arrays | {"x": arrays["x"][:, :length], "target": arrays["target"][:, :n_written]}


def lstm(*, n_in: int, n_hidden: int, n_out: int, length: int, batch: int) -> Arrays:
    """x [B, T, n_in], target [B, T], and the parameters."""
    rng, n = np.random.default_rng(1), n_hidden
    arrays = {
        "wx": weights(rng, n_in, 4 * n),
        "wh": weights(rng, n, 4 * n),
        "b": np.repeat([0.0, 1.0, 0.0, 0.0], n),
        "w": weights(rng, n, n_out),
        "b_out": np.zeros(n_out),
        "x": rng.normal(size=(batch, length, n_in)),
    }
    return floats(arrays) | labels(target=rng.integers(n_out, size=(batch, length)))


def cnn(*, side: int, channels: int, n_hidden: int, n_out: int, batch: int) -> Arrays:
    """x [B, H, W, 1], target [B], and the parameters."""
    rng, flat = np.random.default_rng(2), (side // 2) ** 2 * 2 * channels
    arrays = {
        "w1": weights(rng, 9, channels).reshape(3, 3, 1, channels),
        "b1": np.zeros(channels),
        "w2": weights(rng, 9 * channels, 2 * channels).reshape(3, 3, channels, -1),
        "b2": np.zeros(2 * channels),
        "w3": weights(rng, flat, n_hidden), "b3": np.zeros(n_hidden),
        "w4": weights(rng, n_hidden, n_out), "b4": np.zeros(n_out),
        "x": rng.normal(size=(batch, side, side, 1)),
    }  # fmt: skip
    return floats(arrays) | labels(target=rng.integers(n_out, size=batch))


def mlp(*, n_in: int, n_hidden: int, n_out: int, batch: int) -> Arrays:
    """x [B, n_in], target [B], and the parameters."""
    rng, sizes = np.random.default_rng(3), (n_in, n_hidden, n_hidden, n_out)
    arrays = {}
    for i in (1, 2, 3):
        arrays |= {f"w{i}": weights(rng, sizes[i - 1], sizes[i]), f"b{i}": np.zeros(sizes[i])}
    arrays["x"] = rng.normal(size=(batch, n_in))
    return floats(arrays) | labels(target=rng.integers(n_out, size=batch))


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal, of variance 1 / n_in."""
    return rng.normal(size=shape) / shape[-2] ** 0.5


def floats(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """In float32."""
    return {name: a.astype(np.float32) for name, a in arrays.items()}


def labels(**arrays: Any) -> Arrays:
    """In int32."""
    return {name: a.astype(np.int32) for name, a in arrays.items()}


TASKS = {
    "gpt": Task(
        gpt,
        {"n_vocab": 256, "n": 256, "n_layers": 4, "length": 256, "batch": 8},
        {"n_vocab": 11, "n": 8, "n_layers": 2, "length": 6, "batch": 3},
        n=2,
    ),
    "writing": Task(
        writing,
        {"n_vocab": 256, "n": 256, "n_layers": 4, "length": 8, "n_written": 512},
        {"n_vocab": 11, "n": 8, "n_layers": 2, "length": 3, "n_written": 5},
        n=1,
        peers=FEW,
    ),
    "lstm": Task(
        lstm,
        {"n_in": 128, "n_hidden": 256, "n_out": 10, "length": 128, "batch": 32},
        {"n_in": 5, "n_hidden": 4, "n_out": 3, "length": 6, "batch": 2},
        n=4,
    ),
    "cnn": Task(
        cnn,
        {"side": 8, "channels": 32, "n_hidden": 128, "n_out": 10, "batch": 128},
        {"side": 4, "channels": 2, "n_hidden": 5, "n_out": 3, "batch": 6},
        n=20,
    ),
}
LARGE = {  # on an accelerator, by name and sizes
    f"gpt{HALF}, 12 × 768, V 50257, 8 × T 1024": TASKS["gpt"]._replace(
        sizes={"n_vocab": 50257, "n": 768, "n_layers": 12, "length": 1024, "batch": 8}, n=5
    ),
    f"lstm{HALF}, 512 → 512, 64 × T 512": TASKS["lstm"]._replace(
        sizes={"n_in": 512, "n_hidden": 512, "n_out": 10, "length": 512, "batch": 64}, n=10
    ),
    f"mlp{HALF}, 3 × 4096, batch 8192": Task(
        mlp,
        {"n_in": 4096, "n_hidden": 4096, "n_out": 4096, "batch": 8192},
        {"n_in": 5, "n_hidden": 4, "n_out": 3, "batch": 6},
        n=20,
    ),
}
LARGE = {name: t._replace(peers=(*FEW, "pytorch_compiled")) for name, t in LARGE.items()}
TASKS |= {f"{name}{HALF}": TASKS[name]._replace(peers=FEW) for name in ("gpt", "lstm", "cnn")}
