"""A claim as an experiment: a question, a measurement, a picture, an answer.

A module of experiments/ is a claim where it has

    its docstring   with its title, its command and one paragraph "Question: ..."
    Config          a frozen dataclass on ClaimSettings: every field is a flag
    QUICK           a Config: what --quick stands for, a few seconds
    measure         Config → Outcome

and its command is `sys.exit(claims.run(measure, QUICK))`: at its end, or in __main__.py where it
is a folder. The rest is done here. The words of the answer are in the code that puts the
figures into them, and nowhere else; experiments/README.md shows what they were at full size.
A run's folder receives config.json, metrics.csv (the points of the picture), summary.json
(question, answer, findings, figures) and NAME.png.
"""

import importlib
import inspect
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax

from experiments.common import cli, plots, runs
from experiments.common.cli import UserError
from experiments.common.progress import console, table
from experiments.common.settings import ClaimSettings

NOT_SEEN = 5  # exit code of a run that does not show what is claimed


class Table(NamedTuple):
    """A table for the terminal: the first column is text, the others are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Outcome:
    """The measurements, and what they say."""

    answer: str  # in one or two sentences, with the figures
    findings: dict[str, bool]  # what is claimed, in words → whether this run shows it
    measured: dict[str, Any]  # the figures, for summary.json
    figure: plots.Figure
    tables: Sequence[Table] = ()
    rows: Sequence[dict[str, Any]] = field(default=())  # the points of the picture, metrics.csv

    @property
    def holds(self) -> bool:
        """Whether this run shows all that is claimed."""
        return all(self.findings.values())


class Told(NamedTuple):
    """What a module's docstring says about an experiment."""

    title: str
    question: str
    answer: str | None  # only where no run of its own can give it
    command: str


S = TypeVar("S", bound=ClaimSettings)


def run(measure: Callable[[S], Outcome], quick: S, argv: Sequence[str] | None = None) -> int:
    """The command of a claim; returns the exit code."""
    module = measure.__module__

    def main(config):
        outcome = report(measure, config, cli.name_of(module))
        if not outcome.holds:
            raise UserError("a finding was not seen in this run.", NOT_SEEN)

    return cli.run(main, type(quick), argv, quick=quick, module=module)


def report(measure: Callable[[S], Outcome], config: S, module: str) -> Outcome:
    """Measure, write, draw, print."""
    began, name = time.perf_counter(), module.rpartition(".")[2]
    path = runs.folder(config.out, name)
    with runs.Run(path, config) as run:
        outcome = measure(config)
        plots.save(outcome.figure, run.path / f"{name}.png")
        run.rows(outcome.rows)
        run.summary(
            {
                "question": told(sys.modules[measure.__module__]).question,
                "answer": outcome.answer,
                "findings": {name: bool(seen) for name, seen in outcome.findings.items()},
                **outcome.measured,
                "seconds": time.perf_counter() - began,
                "jax": jax.__version__,
                "device": jax.default_backend(),
            }
        )
    for shown in outcome.tables:
        table(shown.title, list(shown.columns), [list(row) for row in shown.rows])
    for finding, seen in outcome.findings.items():
        console().print(f"{'✓' if seen else '✗'} {finding}", markup=False, soft_wrap=True)
    if not outcome.holds:
        console().print("This run does not show what is marked ✗.", soft_wrap=True)
    console().print(outcome.answer, markup=False, soft_wrap=True)
    print(f"written to {run.path}/")
    return outcome


def told(module: ModuleType) -> Told:
    """Title, question, command and perhaps an answer, from a module's docstring.

    Raises:
        ValueError: where the question or the command is missing.
    """
    paragraphs = [" ".join(p.split()) for p in (inspect.getdoc(module) or "").split("\n\n")]
    questions, answers = (
        [p.removeprefix(beginning) for p in paragraphs if p.startswith(beginning)]
        for beginning in ("Question: ", "Answer: ")
    )
    if len(questions) != 1:
        raise ValueError(f"{module.__name__}: its docstring needs one 'Question: ' paragraph.")
    commands = [p for p in paragraphs if re.match(r"uv run python -m \S+", p)]
    if not commands:
        raise ValueError(f"{module.__name__}: its docstring must show its command.")
    answer = answers[0] if answers else None
    return Told(paragraphs[0].rstrip("."), questions[0], answer, commands[0])


def module_of(name: str) -> ModuleType:
    """The module of an experiment, by its short name."""
    return importlib.import_module(f"experiments.{name}")
