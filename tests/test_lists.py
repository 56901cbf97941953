"""Lists exist once: a new activation, loss or optimizer is one file, its test, an export, a row.

A file lists a kind of blocks where one of its statements names more than three quarters of them:
a function, a class, an assignment. Fewer is use: the source texts have formulas for six
losses. Registrations of functions called _ count as one statement, and imports as none, for
what is imported is used further down. Case, - and _ are no matter: "leaky-relu",
jax.nn.leaky_relu and LeakyReLU are one name. What is about every block of a kind asks
benchmarks.blocks, which finds them by their classes.
"""

import ast
import functools
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
    "activations": {
        "fnn/__init__.py",
        "fnn/layers/activations.py",
        "tests/layers/test_activations.py",
    },
    "losses": {"fnn/__init__.py"},
    "optimizers": {
        "fnn/optim/__init__.py",
        "experiments/optimizers/__init__.py",  # a race of these seven, each at its rates
    },
}
FILES = [
    p for folder in ("fnn", "tests", "experiments", "benchmarks")
    for p in sorted((ROOT / folder).rglob("*.py"))
    if "conformance" not in p.parts  # names functions of other packages
]  # fmt: skip


def plain(text):
    return text.replace("_", "").replace("-", "").lower()


def words(text):
    return {plain(word) for word in re.findall(r"[A-Za-z][\w-]*", text)}


@functools.cache
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
    return tuple(found.values())


def lists(text, kind):
    """Whether a statement of the module names more than three quarters of the kind."""
    names = {plain(cls.__name__) for cls in KINDS[kind]}
    return any(4 * len(names & found) > 3 * len(names) for found in statements(text))


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


NAMES = [cls.__name__ for cls in KINDS["losses"]]
FEW = 3 * len(NAMES) // 4  # the most that are no list
BY_HAND = {
    "tuple": f"ALL = ({', '.join(f'fnn.{name}()' for name in NAMES)})",
    "choices": f"Choice = Literal[{', '.join(repr(name.lower()) for name in NAMES)}]",
    "most": f"MOST = {NAMES[: FEW + 1]}",
    "registrations": "\n".join(f"@f.register\ndef _(loss: fnn.{n}):\n    ..." for n in NAMES),
    "function": f"def test():\n    for loss in ({', '.join(NAMES)}):\n        assert loss()",
}
NO_LISTS = {
    "derived": "ALL = [cls() for cls in public(fnn, fnn.Loss)]",
    "some": f"SOME = {NAMES[:FEW]}",
    "imports": "\n".join(f"from fnn import {name}" for name in NAMES),
    "one by one": "\n".join(f"def test_{n}():\n    assert fnn.{n}()" for n in NAMES),
}


@pytest.mark.parametrize("form", BY_HAND)
def test_a_list_by_hand_is_one(form):
    assert lists(BY_HAND[form], "losses")
    assert not lists(BY_HAND[form], "activations")


@pytest.mark.parametrize("form", NO_LISTS)
def test_use_is_no_list(form):
    assert not lists(NO_LISTS[form], "losses")
