"""What a program of faults tried, and what came of it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

FEW = 20  # wrong ones that are kept in words


@dataclass
class Found:
    """A count of outcomes; a context manager that takes the time.

    outcomes    in words → how often
    wrong       what must not happen, the first of them in words
    figures     what else was measured, by name
    """

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    n_wrong: int = 0
    seconds: float = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        self.seconds -= time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.seconds += time.perf_counter()

    @property
    def tried(self) -> int:
        """How often."""
        return self.outcomes.total()

    def note(self, outcome: str) -> None:
        """Count a trial."""
        self.outcomes[outcome] += 1

    def blame(self, what: str) -> None:
        """Count something that must not happen."""
        self.n_wrong += 1
        if self.n_wrong <= FEW:
            self.wrong.append(f"{what:.500}")

    def most(self, name: str, value: float) -> None:
        """Keep the largest of these values."""
        self.figures[name] = max(self.figures.get(name, value), value)
