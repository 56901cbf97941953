"""The table of the equations, read from topics/, and the way from an entry to its code.

An entry, by its id:

    what          what it is, in words
    formula       in the letters of fnn
    printed       where: "S0 §1; S2 d12"; empty where no text prints it
    convention    where it is one choice of several, which one
    errata        ids of experiments.errata, where it is printed wrong
    code          what implements it: fnn.layers.dense.Dense
    tests         what checks it, below tests/: layers/test_dense.py::test_...
    experiments   what measures it: digits, gates, ...
"""

import ast
import functools
import importlib
import inspect
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOPICS = (
    "notation", "linear_algebra", "calculus", "probability", "risk", "forward", "activations",
    "losses", "backpropagation", "chains", "optimizers", "regularization", "models",
    "landscape", "directions",
)  # fmt: skip
TEXTS = ("S0", "S1", "S2", "S3", "S4")
FORMS = ("library", "fact", "experiment")
LISTS = {"errata", "code", "tests", "experiments"}
STATUSES = ("as printed", "convention", "erratum")


@dataclass(frozen=True)
class Equation:
    """One entry of the table."""

    id: str
    topic: str
    what: str
    formula: str
    printed: str = ""
    convention: str = ""
    errata: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """How the texts print it."""
        return "erratum" if self.errata else "convention" if self.convention else "as printed"

    @property
    def form(self) -> str:
        """What it is here: code of fnn, a measured claim, or a fact that a test states."""
        return "library" if self.code else "experiment" if self.experiments else "fact"

    @property
    def remark(self) -> str:
        """Which convention, which errata."""
        return self.convention or ", ".join(self.errata)

    @property
    def places(self) -> dict[str, str]:
        """Text → where in it: {"S2": "d12"}."""
        parts = (part.strip().partition(" ") for part in self.printed.split(";") if part)
        return {text: where for text, _, where in parts}

    @property
    def everything(self) -> str:
        """All words of the entry, for searching."""
        lists = (*self.errata, *self.code, *self.tests, *self.experiments)
        return " ".join((self.id, self.what, self.formula, self.printed, self.convention, *lists))


@functools.cache
def read() -> tuple[Equation, ...]:
    """All entries, in the order of TOPICS and of the files."""
    found = []
    for topic in TOPICS:
        with (HERE / "topics" / f"{topic}.toml").open("rb") as file:
            for name, values in tomllib.load(file).items():
                for key in LISTS & values.keys():
                    values[key] = tuple(values[key])
                found.append(Equation(name, topic, **values))
    return tuple(found)


def numbers(text: str, where: str) -> list[str]:
    """The numbered equations of a place: "d13–d15, d20" → d13, d14, d15, d20."""
    pattern = r"\d\.\d\.\d+" if text == "S4" else r"(?<=d)\d+"
    one = rf"\(?d?({pattern})\)?"
    found = []
    for first, last in re.findall(rf"{one}(?:–{one})?", where):
        stem, _, begin = first.rpartition(".")
        end = last.rpartition(".")[2] or begin
        name = f"({stem}.{{}})" if stem else "d{}"
        found += [name.format(k) for k in range(int(begin), int(end) + 1)]
    return found


def resolve(symbol: str) -> Any:
    """What a dotted path means: a module, or something inside one.

    Raises:
        ValueError: where there is no such thing.
    """
    parts = symbol.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            if not hasattr(found, name):
                raise ValueError(f"{symbol}: {found.__name__} has no {name}.")
            found = getattr(found, name)
        return found
    raise ValueError(f"{symbol}: there is no module {parts[0]}.")


def line_of_code(symbol: str) -> tuple[str, int]:
    """File, from the top of the project, and line of a symbol."""
    found = resolve(symbol)
    found = inspect.unwrap(getattr(found, "formula", found))  # of a rule
    file = Path(inspect.getsourcefile(found) or "").relative_to(ROOT)
    lines, first = inspect.getsourcelines(found)
    named = (i for i, line in enumerate(lines) if re.match(r"\s*(class|def) ", line))
    return file.as_posix(), max(first, 1) + next(named, 0)  # behind the decorators


@functools.cache
def tests_of(file: str) -> dict[str, int]:
    """The tests of a file below tests/, and their lines."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: node.lineno for node in tests if node.name.startswith("test_")}


def line_of_test(test: str) -> tuple[str, int]:
    """File, from the top of the project, and line of a test.

    Raises:
        ValueError: where there is no such test.
    """
    file, _, name = test.partition("::")
    if not (ROOT / "tests" / file).is_file() or name not in tests_of(file):
        raise ValueError(f"{test}: there is no such test.")
    return f"tests/{file}", tests_of(file)[name]
