"""Every activation, between two thin dense layers: most of the time is its own."""

from typing import Any

import fnn
from benchmarks.blocks import activations
from benchmarks.case import Case, Pair, Table, draw, gradient


def between(activation: fnn.Layer[Any, Any]) -> Pair:
    """8 → 1024 → activation → 8, batch 512."""
    net = fnn.Serial(fnn.Dense(8, 1024), activation, fnn.Dense(1024, 8))
    return gradient(net, fnn.SquaredError(), draw(512, 8), draw(512, 8, seed=3))


ACTIVATIONS = Table(
    "Activations",
    "8 → 1024 → activation → 8, batch 512, against jax.nn.",
    (
        *(Case(f"{a}".removesuffix("()"), lambda a=a: between(a)) for a in activations().values()),
        Case("PReLU, one slope", lambda: between(fnn.PReLU())),
        Case("PReLU, one slope per unit", lambda: between(fnn.PReLU(1024))),
    ),
)
