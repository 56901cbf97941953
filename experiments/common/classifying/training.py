"""What is noted while `fnn.fit` trains a classifier: metrics, speed, error signals."""

import contextlib
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common.insides import by_layer
from experiments.common.progress import Progress
from experiments.common.runs import Run, check_finite
from fnn.named import by_name

Norms = Callable[[Any], dict[str, Any]]  # params → name of a layer → norm


def right(y: Any, target: Any) -> Any:
    """1 where the largest y is the right class, else 0; targets are labels or rows."""
    return fnn.accuracy(y, target if target.ndim < y.ndim else target.argmax(-1))


def probe(net: fnn.Serial, loss: fnn.Loss[Any], x: Any, target: Any) -> Norms:
    """params → the norm of δ = ∂L/∂z of every weighted layer, on rows that stay the same."""

    @jax.jit
    def norms(params):
        calm, params = fnn.inference(net, params)
        deltas = fnn.fold(calm, loss, params, x, target, rule=fnn.rules.deltas).result
        pairs = zip(net.layers, deltas, strict=True)
        weighted = [
            (layer, delta) for layer, delta in pairs if isinstance(layer, fnn.Dense | fnn.Conv2d)
        ]
        return {
            f"layer {i}: {layer.n_in} → {layer.n_out}": jnp.linalg.norm(delta)
            for i, (layer, delta) in enumerate(weighted, 1)
        }

    return norms


class Watch:
    """The callback of `fit`, and a context manager around it.

    After every epoch it writes a row of metrics.csv, moves the progress bar and keeps

        history    name of a metric → its values
        insides    what every watched step of an epoch saw, epoch by epoch
        times      seconds per epoch, without what happens here
        norms      name of a layer → the norms of its δ, before the first epoch too
    """

    def __init__(self, run: Run, epochs: int, norms: Norms, params: Any):
        """With the norms before training."""
        self._run, self._progress, self._norms = run, Progress(epochs), norms
        self.history: dict[str, list[float]] = {}
        self.insides: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.steps = 0
        self.norms = {name: [float(n)] for name, n in norms(params).items()}

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Around a first epoch, which compiles and does not count."""
        began = time.perf_counter()
        yield
        self._first = time.perf_counter() - began

    def __enter__(self) -> Self:
        """Begin to count."""
        self._progress.__enter__()
        self._since = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the bar as it stands."""
        self._progress.__exit__(*error)

    def __call__(self, state: fnn.State, row: dict[str, Any]) -> None:
        """Note an epoch; a figure or a parameter that is not finite ends the run before."""
        self.times.append(time.perf_counter() - self._since)
        self.steps, number = int(state.step), len(self.times)
        norms = {name: float(n) for name, n in self._norms(state.params).items()}
        row = dict(row)
        self.insides.append(jax.tree.map(np.asarray, fnn.watched(row.pop("watch"))))
        for notes, new in ((self.history, row), (self.norms, norms)):
            for name, value in new.items():
                notes.setdefault(name, []).append(value)
        deltas = {f"delta_{i}": n for i, n in enumerate(norms.values(), 1)}
        figures = {"loss": row["loss"]} | row | deltas  # in the order in which one looks at them
        check_finite(f"after epoch {number}", figures, by_name(state.params))
        self._run.row(epoch=number, step=self.steps, **row, **deltas, seconds=self.times[-1])
        shown = ("loss", "accuracy", "validation_accuracy")
        self._progress.epoch(number, **{name.replace("_", " "): row[name] for name in shown})
        self._since = time.perf_counter()

    def seen(self, net: fnn.Serial) -> tuple[Any, dict[str, dict[str, Any]]]:
        """The watched steps, and what they saw: name → layer → values."""
        whole = jax.tree.map(lambda *epochs: np.concatenate(epochs), *self.insides)
        steps = whole.pop("step")
        layers = {str(name): f"{name} {type(f).__name__}" for name, f in net.children.items()}
        return steps, {
            name: {layers.get(path, path): a for path, a in by_layer(net, found).items()}
            for name, found in whole.items()
        }

    def speed(self) -> dict[str, float]:
        """Compile time, and steps per second without it."""
        return {
            "compile_seconds": max(self._first - median(self.times), 0),
            "steps_per_second": self.steps / sum(self.times),
        }
