"""What the machine can do: its matrix-product rate, and the cost of an import."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.cases.mlps import classifier
from benchmarks.measure import Effort, Result, times


class Share(NamedTuple):
    """The rate of a gradient step, as a share of that of one square product."""

    name: str
    share: float
    low: float
    high: float
    gigaflops: float  # of the square product
    target: float = 0.9


class Import(NamedTuple):
    """Seconds of `import fnn` after `import jax`."""

    seconds: float
    low: float
    high: float
    target: float = 0.15


def matmul_shares(
    *, width: int = 1024, layers: int = 4, batch: int = 2048, size: int = 2048, n: int = 15
) -> list[Share]:
    """The products of a gradient step of a wide MLP per second, and those of one product."""
    pair = classifier(*[width] * (layers + 1), batch=batch)
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a, b: a @ b).lower(a, a).compile()
    step_work = 2 * batch * width**2 * (3 * layers - 1)  # the first layer needs no dx
    shares: dict[str, list[float]] = {"fnn.value_and_grad": [], "jax.value_and_grad": []}
    steps = [jax.jit(f).lower(*pair.args).compile() for f in pair[:2]]
    rates = []
    for i in range(n + 1):
        rate = 2 * size**3 / seconds(product, a, a)
        for name, step in zip(shares, steps, strict=True):
            if i:  # the first round warms up
                shares[name].append(step_work / seconds(step, *pair.args) / rate)
                rates.append(rate)
    title = f"{width} × {layers}, batch {batch}"
    return [
        Share(f"{name}, {title}", *middle(s), gigaflops=statistics.median(rates) / 1e9)
        for name, s in shares.items()
    ]


class Rated(NamedTuple):
    """How well a row uses the machine, and what it takes of it."""

    name: str
    milliseconds: float
    teraflops: float  # per second: of the products of plain autodiff, in our time
    share: float  # of the rate of a square product in bfloat16
    gibibytes: float  # arguments, temporaries and results


def matrix_rate(effort: Effort = Effort()) -> float:
    """FLOP per second of one large square product in bfloat16, summed in float32."""
    n = 512 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n), "bfloat16")
    product = jax.jit(lambda a: jax.lax.dot(a, a, preferred_element_type="float32"))
    return 2 * n**3 / float(np.median(times([product.lower(a).compile()], (a,), effort)))


def rated(results: Sequence[Result], rate: float) -> list[Rated]:
    """The rows whose products are counted, and `rate`, FLOP per second, as what they share."""
    rows = []
    for r in results:
        if r.products is not None:
            reached = r.products / (1e-6 * r.microseconds)
            size = r.peak / 2**30
            rows.append(Rated(r.name, 1e-3 * r.microseconds, reached / 1e12, reached / rate, size))
    return rows


def import_cost(*, n: int = 7) -> Import:
    """In fresh processes: what `import fnn` adds to a program that has imported jax."""
    code = (
        "import jax, time; start = time.perf_counter(); import fnn; "
        "print(time.perf_counter() - start)"
    )
    root = Path(__file__).parent.parent
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
        for _ in range(n)
    ]
    return Import(*middle([float(run.stdout) for run in runs]))


def seconds(program: Any, *args: Any) -> float:
    """Of one run."""
    start = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start


def middle(values: list[float]) -> tuple[float, float, float]:
    """The median and the quartiles."""
    low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return median, low, high
