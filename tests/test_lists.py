"""Lists exist once: a new activation, loss or optimizer is one file, its test, an export, a row.

A file lists a kind of blocks where one of its statements names more than half of them: a
function, a class, an assignment; registrations of functions called _ count as one, and imports
as none, for what is imported is used further down. Case, - and _ are no matter: "leaky-relu",
jax.nn.leaky_relu and LeakyReLU are one name. What is about every block of a kind asks
benchmarks.blocks, which finds them by their classes.
"""

import ast
import pathlib
import re

import pytest

import fnn
from benchmarks.blocks import descents, public
from fnn.layers.activations import Elementwise

ROOT = pathlib.Path(fnn.__file__).parent.parent
KINDS = {
    "activations": public(fnn, Elementwise),
    "losses": public(fnn, fnn.Loss),
    "optimizers": descents(),
}
LISTS = {  # where a kind may be listed besides README.md: exports, its file, its test
    "activations": {"fnn/__init__.py", "fnn/layers/activations.py", "tests/layers/test_activations.py"},
    "losses": {"fnn/__init__.py"},
    "optimizers": {"fnn/optim/__init__.py"},
}
FILES = [
    p for folder in ("fnn", "tests", "experiments", "benchmarks")
    for p in sorted((ROOT / folder).rglob("*.py"))
]  # fmt: skip


def plain(text):
    return text.replace("_", "").replace("-", "").lower()


def words(text):
    return {plain(word) for word in re.findall(r"[A-Za-z][\w-]*", text)}


def statements(text):
    """The words of every statement of a module; those of functions called _ together."""
    lines, found = text.splitlines(), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        name = getattr(node, "name", None)
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        key = name if name == "_" else node.lineno
        found[key] = found.get(key, set()) | words("\n".join(lines[first - 1 : node.end_lineno]))
    return found.values()


def lists(text, kind):
    """Whether a statement of the module names more than half of the kind."""
    names = {plain(cls.__name__) for cls in KINDS[kind]}
    return any(2 * len(names & found) > len(names) for found in statements(text))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_listed_where_it_is_written_exported_and_tested_and_nowhere_else(kind):
    listing = {p.relative_to(ROOT).as_posix() for p in FILES if lists(p.read_text(), kind)}
    assert listing <= LISTS[kind], sorted(listing - LISTS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_readme_and_exports_name_every_block(kind):
    exports = "fnn/optim/__init__.py" if kind == "optimizers" else "fnn/__init__.py"
    for file in ("README.md", exports):
        missing = {plain(cls.__name__) for cls in KINDS[kind]} - words((ROOT / file).read_text())
        assert not missing, file
