"""What a program of faults tried, and what came of it."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

FEW = 20  # wrong ones that are kept in words
OFTEN = 60.0  # seconds between two words about a program that is not at its end


@dataclass
class Found:
    """A count of outcomes; a context manager that takes the time.

    outcomes    in words → how often
    wrong       what must not happen, the first of them in words
    figures     what else was measured, by name
    seconds     how long it took; before the end, minus the clock at its beginning
    words       how many were said on the way
    """

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    n_wrong: int = 0
    seconds: float = 0.0
    words: int = 0

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
        """Count a trial; once in a while, tell on stderr how far it is."""
        self.outcomes[outcome] += 1
        words = int((self.seconds + time.perf_counter()) / OFTEN) if self.seconds < 0 else 0
        if words > self.words:
            self.words = words
            print(f"{self.name}: {self.told()}; {self.n_wrong:,} wrong so far", file=sys.stderr)

    def told(self) -> str:
        """The outcomes in words."""
        return ", ".join(f"{n:,} {what}" for what, n in self.outcomes.items())

    def blame(self, what: str) -> None:
        """Count something that must not happen."""
        self.n_wrong += 1
        if self.n_wrong <= FEW:
            self.wrong.append(f"{what:.500}")

    def most(self, name: str, value: float) -> None:
        """Keep the largest of these values."""
        self.figures[name] = max(self.figures.get(name, value), value)
