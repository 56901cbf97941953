"""A forward or backward under fnn/layers holds its formula: casts, checks and sums are words."""

import ast
import pathlib
import re

import pytest

import fnn

LAYERS = pathlib.Path(fnn.__file__).parent / "layers"
PLUMBING = r"astype|check_\w+|\bwide\(|preferred_element_type|\bdtype="
ALLOWED = {  # where a word of numerics would say less
    "cast.py": 1,  # the dtype of every array of x by its path
    "residual.py": 1,  # a shape that only the values of two layers tell
    "repeat.py": 2,
    "bidirectional.py": 1,
    "transformer_block.py": 1,
    "skip.py": 2,
    "parallel.py": 1,
    "frozen.py": 2,  # the mark of params
    "tied.py": 1,  # params of a layer that stands elsewhere
}


def bodies(path):
    """The source of every forward and backward, without docstrings."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and re.fullmatch(
            r"(forward|backward)(_with)?", node.name
        ):
            yield "\n".join(ast.unparse(line) for line in node.body[1:])


@pytest.mark.parametrize("path", sorted(LAYERS.glob("*.py")), ids=lambda path: path.stem)
def test_the_formula_stands_alone_in_its_method(path):
    found = [word for body in bodies(path) for word in re.findall(PLUMBING, body)]
    assert len(found) == ALLOWED.get(path.name, 0), found


def test_the_search_finds_what_it_looks_for():
    source = "class A:\n  def forward(self, x):\n    'd'\n    return x.astype(wide(x.dtype))\n"
    tree = ast.parse(source)
    assert len(re.findall(PLUMBING, ast.unparse(tree))) == 2
