"""The page for readers: every topic as a table, and the way back from texts and code."""

import itertools
import re
from collections.abc import Iterable, Sequence

from experiments.equations.table import (
    FORMS,
    HERE,
    STATUSES,
    TEXTS,
    Equation,
    line_of_code,
    numbers,
)

PAGE = HERE / "README.md"
HEAD = """# Where each equation lives

Five source texts about neural networks, S0 to S4, define, derive or claim what stands here:
the place in print, the code, and what checks it. `uv run python -m experiments.equations`
prints the same with line numbers, by `--text`, `--topic`, `--status`, `--form` or `--find`.

| text | what it is | cited by |
|---|---|---|
| S0 | a network in seven steps, columns, two losses | section |
| S1 | concepts and mathematics, from prerequisites to generalization, columns | section |
| S2 | a ReLU–ReLU–sigmoid classifier in 28 displayed equations, rows | k-th display: d1, d2, … |
| S3 | 41 displayed formulas: layers, losses, derivatives, optimizers | k-th display: d1, d2, … |
| S4 | descent on numbers: one weight, one neuron, chains of neurons | its numbers: (1.0.1), … |

**Printed**: ○ one of several conventions, or a formula that no text prints: see below the
formula; ✗ wrong in print
([experiments.errata](../errata/__init__.py) shows it), right here; no mark: as printed.
**Code** is the library's; where there is none, the line is a fact of mathematics that the
test states about jax and numpy, or a claim that the experiment measures.
"""


def written(equations: Sequence[Equation]) -> str:
    """The text of README.md."""
    parts = [HEAD, counts(equations)]
    for topic, group in itertools.groupby(equations, lambda e: e.topic):
        parts.append(f"\n## {topic.replace('_', ' ').capitalize()}\n\n")
        parts.append("| equation | printed | code | checked by |\n|---|---|---|---|\n")
        parts += [row(e) for e in group]
    parts.append("\n# From the texts\n")
    parts += [of_text(text, equations) for text in TEXTS]
    parts.append("\n# From the code\n\n| file | equations |\n|---|---|\n")
    parts += of_code(equations)
    return "".join(parts)


def counts(equations: Sequence[Equation]) -> str:
    """How many there are of each form and status."""
    lines = [f"\n| {len(equations)} equations | {' | '.join(STATUSES)} |\n|---|---|---|---|\n"]
    for form in FORMS:
        of_form = [e.status for e in equations if e.form == form]
        lines.append(f"| {form} | {' | '.join(str(of_form.count(s)) for s in STATUSES)} |\n")
    return "".join(lines)


def row(equation: Equation) -> str:
    """An entry as a row of its topic's table."""
    told = f'<a id="{equation.id}"></a>{equation.what}<br>`{equation.formula}`'
    if equation.convention:
        told += f"<br>○ {equation.convention}"
    printed = equation.printed.replace("; ", "<br>") or "–"
    if equation.errata:
        printed += f"<br>✗ {', '.join(equation.errata)}"
    code = [link(symbol, f"../../{line_of_code(symbol)[0]}") for symbol in equation.code]
    checks = [
        f"[{name.removeprefix('test_').replace('_', ' ')}](../../tests/{file})"
        for file, _, name in (test.partition("::") for test in equation.tests)
    ]
    checks += [f"experiment [{name}](../../{place(name)})" for name in equation.experiments]
    cells = (f"{told}<br>{equation.id}", printed, "<br>".join(code) or "–", "<br>".join(checks))
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |\n"


BAR = "\\|"  # inside a table


def link(symbol: str, target: str) -> str:
    """A symbol by its name without the modules, linked to its file."""
    parts = symbol.split(".")
    names = list(itertools.dropwhile(str.islower, parts[:-1])) + parts[-1:]
    return f"[`{'.'.join(names)}`]({target})"


def place(name: str) -> str:
    """The file of an experiment, from the top of the project."""
    package = (HERE.parent / name).is_dir()
    return f"experiments/{name}/__init__.py" if package else f"experiments/{name}.py"


def of_text(text: str, equations: Sequence[Equation]) -> str:
    """Every place of a text with the entries that it leads to."""
    index: dict[str, list[str]] = {}
    for equation in equations:
        where = equation.places.get(text, "")
        for at in numbers(text, where) or sections(where):
            index.setdefault(at, []).append(equation.id)
    head = f"\n## {text}\n\n| place | equations |\n|---|---|\n"
    return head + "".join(to_entries(at, index[at]) for at in sorted(index, key=order))


def of_code(equations: Sequence[Equation]) -> list[str]:
    """Every file of the library and every experiment with the entries that it stands for."""
    index: dict[str, dict[str, None]] = {}
    for equation in equations:
        files = [line_of_code(symbol)[0] for symbol in equation.code]
        for file in files + [place(name) for name in equation.experiments]:
            index.setdefault(file, {})[equation.id] = None
    return [to_entries(f"[{file}](../../{file})", index[file]) for file in sorted(index)]


def to_entries(what: str, ids: Iterable[str]) -> str:
    """A row of an index: links to the entries with these ids."""
    return f"| {what} | {', '.join(f'[{name}](#{name})' for name in ids)} |\n"


def sections(where: str) -> Iterable[str]:
    """The sections that a place names: "§1, §5.4" → §1, §5.4; else its words."""
    return re.findall(r"§[\d.]*\d", where) or ([where] if where else [])


def order(place: str) -> tuple[bool, list[int], str]:
    """Numbers in their order, words behind them."""
    found = [int(n) for n in re.findall(r"\d+", place)]
    return not found, found, place
