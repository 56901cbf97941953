"""Where each equation of the source texts lives: its place in print, its code, its test.

    uv run python -m experiments.equations                        all of them
    uv run python -m experiments.equations --text S2              of one text
    uv run python -m experiments.equations --topic losses --status erratum
    uv run python -m experiments.equations --find Dense           by id, words, code or test
    uv run python -m experiments.equations --page                 writes README.md again

    topics/       the table: one TOML file per topic, one entry per equation
    table.py      an entry, and how its code and its tests are found
    page.py       the page for readers

Five source texts, S0 to S4, define, derive or claim 160 things. A formula is code of fnn; a
fact of mathematics is a test on what jax and numpy have; a claim is an experiment with a
measured answer; what is printed wrong is an entry of experiments.errata as well. The table
alone leads from print to code and back: --find layers.dense, and the end of the page. A test
fails where an entry names code, a test or an experiment that does not exist.
"""

from dataclasses import dataclass
from typing import Literal

from experiments.common import writing
from experiments.common.cli import UserError
from experiments.common.progress import console
from experiments.equations.page import PAGE, written
from experiments.equations.table import (
    FORMS,
    ROOT,
    STATUSES,
    TOPICS,
    Equation,
    line_of_code,
    line_of_test,
    read,
)

Status = Literal["as printed", "convention", "erratum"]
Form = Literal["library", "fact", "experiment"]
Text = Literal["S0", "S1", "S2", "S3", "S4"]


@dataclass(frozen=True)
class Config:
    """Show where the equations of the source texts live."""

    text: Text | None = None  # one source text
    topic: str | None = None  # one topic, as its file in topics/ is called
    status: Status | None = None  # how the texts print it
    form: Form | None = None  # what it is here
    find: str | None = None  # words of its id, formula, code or tests
    page: bool = False  # write README.md, the page for readers


def main(config: Config) -> None:
    """Print the entries that are asked for, or write the page."""
    if config.topic is not None and config.topic not in TOPICS:
        raise UserError(f"--topic {config.topic}: no such topic; {', '.join(TOPICS)}.")
    if config.page:
        writing.whole(PAGE, written(read()).encode())
        print(f"written: {PAGE.relative_to(ROOT)}")
        return
    found = [e for e in read() if wanted(e, config)]
    if not found:
        raise UserError("no equation is like that.")
    for equation in found:
        console().print(entry(equation), markup=False, soft_wrap=True)
    counts = [(form, sum(e.form == form for e in found)) for form in FORMS]
    counts += [(status, sum(e.status == status for e in found)) for status in STATUSES]
    print(f"{len(found)} equations: {', '.join(f'{n} {name}' for name, n in counts if n)}")


def wanted(equation: Equation, config: Config) -> bool:
    """Whether an entry is asked for."""
    asked = {
        "topic": config.topic,
        "status": config.status,
        "form": config.form,
    }
    return (
        all(v is None or getattr(equation, name) == v for name, v in asked.items())
        and (config.text is None or config.text in equation.places)
        and (config.find is None or config.find.lower() in equation.everything.lower())
    )


def entry(equation: Equation) -> str:
    """One entry, as the terminal shows it."""
    lines = [f"{equation.id}: {equation.what}", f"    {equation.formula}"]
    told = {"printed": equation.printed or "nowhere", equation.status: equation.remark}
    if equation.status == "as printed":
        told = {"printed": f"{told['printed']}, as here"}
    lines += [f"    {name:<11}{text}" for name, text in told.items()]
    for symbol in equation.code:
        file, line = line_of_code(symbol)
        lines.append(f"    {'code':<11}{file}:{line}  {symbol}")
    for test in equation.tests:
        file, line = line_of_test(test)
        lines.append(f"    {'test':<11}{file}:{line}  {test.partition('::')[2]}")
    for name in equation.experiments:
        lines.append(f"    {'experiment':<11}uv run python -m experiments.{name}")
    return "\n".join(lines) + "\n"
