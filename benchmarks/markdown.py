"""Numbers and tables as text."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np


def mark(value: float, limit: float, best: Callable[..., float] = min) -> str:
    """The number, in bold where it is on the wrong side of its limit."""
    rounded = digits(value)
    return rounded if best(float(rounded), limit) == float(rounded) else f"**{rounded}**"


def digits(value: float) -> str:
    """A number to two places, to three where it is small, whole where it counts."""
    return f"{value}" if isinstance(value, int) else f"{value:.{2 if value >= 0.1 else 3}f}"


def geometric(values: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(float(np.mean([math.log(v) for v in values])))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table in columns of even width."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = [[c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines]
    rule = ["-" * w for w in widths]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])
