"""What a run says while it runs: a bar on a terminal, plain lines elsewhere.

Lines are at most one per report and about twenty in all. NO_COLOR asks for lines too.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Self, TypeVar

import rich.progress
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

T = TypeVar("T")


class Output(Console):
    """A console that leaves it to the command what a closed pipe means; rich's ends with 1."""

    def on_broken_pipe(self) -> None:
        """An error, which ends the command as cli.exit_code says."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output; rich leaves colour out where it is piped or NO_COLOR is set."""
    return Output(highlight=False, width=None if sys.stdout.isatty() else 100)


def animated() -> bool:
    """Whether a moving bar can be shown."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


class Progress:
    """A count of epochs, or of other `unit`s, up to `total`; a context manager."""

    def __init__(self, total: int, unit: str = "epoch"):
        """A bar that is not shown yet, or lines."""
        self.total, self.unit = total, unit
        self._every = -(-total // 20)
        self._bar = None
        if animated():
            columns = rich.progress.BarColumn(), rich.progress.TextColumn("{task.description}")
            left = rich.progress.TimeRemainingColumn()
            self._bar = rich.progress.Progress(*columns, left, console=console())
            self._task = self._bar.add_task("compiling", total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()

    def epoch(self, number: int, **values: float) -> None:
        """Report an epoch, counted from 1: in the bar, or as a line if one is due."""
        line = self.line(number, values)
        if self._bar is not None:
            self._bar.update(self._task, completed=number, description=line)
        elif number % self._every == 0 or number == self.total:
            print(line, flush=True)

    def report(self, number: int, **values: float) -> None:
        """Report this one as a line in any case, above the bar where there is one."""
        print(self.line(number, values), flush=True)
        self.move(number, **values)

    def move(self, number: int, **values: float) -> None:
        """Move the bar; there is no line."""
        if self._bar is not None:
            self._bar.update(self._task, completed=number, description=self.line(number, values))

    def line(self, number: int, values: Mapping[str, float]) -> str:
        """As in: epoch 3/40  loss 0.1234."""
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        return f"{self.unit} {number:>{len(str(self.total))}}/{self.total}  {text}".rstrip()


def track(what: str, items: Sequence[T]) -> Iterator[T]:
    """Every item in turn, with progress shown after each."""
    if animated():
        yield from rich.progress.track(items, what, console=console(), transient=True)
        return
    every = -(-len(items) // 20)
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0 or number == len(items):
            print(f"{what} {number}/{len(items)}", flush=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    printed = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        printed.add_column(column, justify="right" if i else "left")
    for row in rows:
        printed.add_row(*row)
    console().print(printed)
