"""What is noted while `fnn.fit` trains a classifier: metrics, speed, error signals."""

import time
from collections.abc import Callable
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

        times      seconds per epoch, without what happens here
        norms      name of a layer → the norms of its δ, before the first epoch too
    """

    def __init__(self, run: Run, epochs: int, norms: Norms, params: Any):
        """With the norms before training."""
        self._run, self._progress, self._norms = run, Progress(epochs), norms
        self.times: list[float] = []
        self.norms = {name: [float(n)] for name, n in norms(params).items()}

    def restore(self, epochs: int) -> None:
        """Go on behind so many epochs, of which the folder has the rows."""
        rows = self._run.rows_before(epochs)
        self._run.rows([row | {n: int(row[n]) for n in ("epoch", "step")} for row in rows])
        self.times = [row["seconds"] for row in rows]
        for i, values in enumerate(self.norms.values(), 1):
            values += [row[f"delta_{i}"] for row in rows]

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
        seconds, number = time.perf_counter() - self._since, len(self.times) + 1
        norms = {name: float(n) for name, n in self._norms(state.params).items()}
        row = {name: value for name, value in row.items() if name != "watch"}
        deltas = {f"delta_{i}": n for i, n in enumerate(norms.values(), 1)}
        figures = {"loss": row["loss"]} | row | deltas  # in the order in which one looks at them
        check_finite(f"after epoch {number}", figures, by_name(state.params))
        self._run.row(epoch=number, step=int(state.step), **row, **deltas, seconds=seconds)
        self.times.append(seconds)
        for name, value in norms.items():
            self.norms[name].append(value)
        shown = ("loss", "accuracy", "validation_accuracy")
        self._progress.epoch(number, **{name.replace("_", " "): row[name] for name in shown})
        self._since = time.perf_counter()

    def speed(self, steps: int) -> dict[str, float]:
        """Compile time, which the first epoch has, and steps per second, of `steps` in an epoch."""
        typical = median(self.times)
        return {
            "compile_seconds": max(self.times[0] - typical, 0),
            "steps_per_second": steps / typical,
        }


def insides_of(net: fnn.Serial, watched: dict[str, Any]) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The watched steps, and what they saw: name → layer → values."""
    whole = jax.tree.map(np.asarray, fnn.watched(watched))
    steps = whole.pop("step")
    layers = {str(name): f"{name} {type(f).__name__}" for name, f in net.children.items()}
    return steps, {
        name: {layers.get(path, path): a for path, a in by_layer(net, found).items()}
        for name, found in whole.items()
    }
