"""An exercise: what it asks, what it is graded on, and what usually goes wrong."""

import ast
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

LEVELS = {
    1: "functions of one number",
    2: "vectors and batches",
    3: "layers",
    4: "losses",
    5: "networks and their training",
    6: "sequences",
}

Case = dict[str, Any]  # argument of forward → its value, in forward's order


class Mistake(NamedTuple):
    """A wrong answer that many give first."""

    leaf: str  # which of the asked values is wrong: dw
    hint: str  # what to tell who gave it
    wrong: Callable[..., Any]  # that value, from the arguments of backward


@dataclass(frozen=True)
class Exercise:
    """One exercise; `module` holds its question in the docstring, forward and solution."""

    module: str
    level: int
    teaches: str  # in a few words, for the list
    asked: str  # what the learner returns, in order: "dx dw db"
    cases: tuple[Case, ...]  # inputs to grade at, sizes pairwise distinct
    derivation: str  # of the solution, in few lines
    library: Callable[..., Any]  # the same as the solution, by a block of fnn or another way
    file: str = ""  # where fnn has it; "" where it has no such block
    saved: Callable[..., tuple[Any, ...]] | None = None  # what backward gets instead of x, ...
    varied: str = ""  # the arguments that are probed; "" for those whose derivative is asked
    function: str = "backward"  # the name of the function to write
    mistakes: tuple[Mistake, ...] = ()

    @property
    def home(self) -> ModuleType:
        """The module that holds question, forward and solution."""
        return sys.modules[self.module]

    @property
    def name(self) -> str:
        """The short name, as in softmax."""
        return self.module.rpartition(".")[2]

    @property
    def title(self) -> str:
        """The first line of the question."""
        return inspect.getdoc(self.home).splitlines()[0].rstrip(".")  # pyright: ignore

    @property
    def question(self) -> str:
        """What follows the title."""
        return inspect.getdoc(self.home).partition("\n")[2].strip("\n")  # pyright: ignore

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the values that the learner returns."""
        return tuple(self.asked.split())

    @property
    def probed(self) -> tuple[str, ...]:
        """The names of the arguments that vary while it is graded; the others are given."""
        return tuple(self.varied.split()) or tuple(name[1:] for name in self.answers)

    @property
    def solution(self) -> Callable[..., Any]:
        """The function that the learner has to write, written."""
        return getattr(self.home, self.function)

    @property
    def forward(self) -> Callable[..., Any] | None:
        """The forward pass; None where the exercise is no derivative."""
        return getattr(self.home, "forward", None)

    def statements(self) -> list[tuple[ast.stmt, str]]:
        """The module's statements after its docstring up to the solution, with their source."""
        source, found = inspect.getsource(self.home), []
        lines = source.splitlines()
        for node in ast.parse(source).body[1:]:
            found.append((node, "\n".join(lines[node.lineno - 1 : node.end_lineno])))
            if isinstance(node, ast.FunctionDef) and node.name == self.function:
                break
        return found


def draw(seed: int = 0, **shapes: tuple[int, ...]) -> Case:
    """Standard normal numbers of these shapes."""
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}
