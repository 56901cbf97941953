"""Grade a learner's file.

The learner's function is called once on each case, which shows exceptions, a wrong number of
results and wrong shapes; then `fnn.check_vjp` judges it against the original forward pass,
or `fnn.check_same` against the solution where there is no derivative.
"""

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.exercises.exercise import Case, Exercise
from experiments.exercises.files import LearnerError, guarded, identify, load
from experiments.exercises.hints import equal, general, recognised, shape

State = Literal["right", "wrong", "not written yet"]
Function = Callable[..., Any]

PRECISION = {"dtype", "float32", "bfloat16"}  # findings that say nothing about the formula


class Grade(NamedTuple):
    """What came of a file."""

    name: str  # the exercise's id
    state: State
    lines: tuple[str, ...] = ()  # what is wrong, and the hints


class Task:
    """An exercise at one case: functions of the probed arguments, the others given."""

    def __init__(self, exercise: Exercise, case: Case):
        """Split the case."""
        self.exercise, self.case = exercise, case
        self.values = tuple(case[name] for name in exercise.probed)

    def all(self, values: tuple[Any, ...]) -> Case:
        """Every argument, the given ones in the dtype of the probed."""
        dtype = jnp.result_type(values[0])

        def given(a):
            if not isinstance(a, np.ndarray):
                return a
            return jnp.asarray(a, dtype if a.dtype.kind == "f" else None)

        case = {name: given(a) for name, a in self.case.items()}
        return case | dict(zip(self.exercise.probed, values, strict=True))

    def forward(self, *values: Any) -> Any:
        """The original forward pass."""
        assert self.exercise.forward is not None
        return self.exercise.forward(**self.all(values))

    def seen(self, *values: Any) -> tuple[Any, ...]:
        """What the learner's function gets: the arguments, or what forward saved, then dy."""
        derivative = self.exercise.function == "backward"
        args = self.all(values[: len(self.values)])
        saved = self.exercise.saved
        kept = tuple(args.values()) if saved is None else saved(**args)
        return (*kept, values[-1]) if derivative else kept

    def adapt(self, function: Function) -> Function:
        """The learner's function, of the probed arguments and dy."""
        return self.called(lambda *values: function(*self.seen(*values)))

    def called(self, f: Function) -> Function:
        """f with the name of the exercise and those of its probed arguments, for messages."""

        @functools.wraps(f)
        def g(*values):
            return f(*values)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(name, kind) for name in self.exercise.probed]
        g.__dict__["__signature__"] = inspect.Signature(parameters)
        g.__name__ = self.exercise.name
        return g

    def example(self) -> tuple[Any, ...]:
        """The arguments of the learner's function, with some dy."""
        values = tuple(map(jnp.asarray, self.values))
        if self.exercise.function != "backward":
            return self.seen(*values)
        random = np.random.default_rng(7)
        y = self.forward(*values)
        return self.seen(
            *values, jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), y)
        )

    def judge(self, function: Function) -> Any:
        """The checker's report."""
        if self.exercise.function != "backward":
            ours = self.adapt(self.exercise.solution)
            return fnn.check_same(self.adapt(function), ours, *self.values)
        return fnn.check_vjp(self.called(self.forward), self.adapt(function), *self.values)


def grade(path: Path) -> Grade:
    """Grade the file.

    Raises:
        UserError: where it is missing or no exercise.
    """
    name, exercise, source = identify(path)
    try:
        names = load(path, source)
        function = names.get(exercise.function)
        if not callable(function):
            return Grade(name, "wrong", (f"the file defines no {exercise.function}.",))
        lines = wrong(exercise, lambda *a: guarded(path, source, lambda: function(*a)))
    except NotImplementedError:
        return Grade(name, "not written yet")
    except LearnerError as error:
        return Grade(name, "wrong", tuple(str(error).splitlines()))
    if lines and foreign(exercise, names):
        lines += ("forward in your file is not the original, which is what counts.",)
    return Grade(name, "wrong" if lines else "right", lines)


def wrong(exercise: Exercise, function: Function) -> tuple[str, ...]:
    """What is wrong at the first case that shows it; nothing for a right answer."""
    for i, case in enumerate(exercise.cases):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            task = Task(exercise, case)
            args = task.example()
            names = inspect.signature(exercise.solution).parameters
            sizes = ", ".join(f"{n} {shape(v)}" for n, v in zip(names, args, strict=True))
            try:
                result = function(*args)
                lines = misshapen(exercise, result, args)
                lines = lines or misjudged(task, function, result, args)
            except LearnerError as error:
                return (*str(error).splitlines(), f"(with {sizes})")
        if lines:
            return (*lines, f"(with {sizes})") if i else lines
    return ()


def pairs(exercise: Exercise, result: Any) -> dict[str, Any]:
    """Every returned value by its name."""
    alone = len(exercise.answers) == 1
    return dict(zip(exercise.answers, (result,) if alone else result, strict=True))


def misshapen(exercise: Exercise, result: Any, args: tuple[Any, ...]) -> tuple[str, ...]:
    """What is wrong with the number of results, or with their shapes."""
    asked, n = exercise.asked.replace(" ", ", "), len(exercise.answers)
    if result is None:
        return (f"{exercise.function} returns nothing; end it with return {asked}.",)
    if n == 1 and isinstance(result, tuple | list):
        return (f"return {asked} alone, not a tuple of {len(result)}.",)
    many = isinstance(result, tuple | list)
    if n > 1 and not (many and len(result) == n):
        got = f"{len(result)} values" if many else "one value"
        return (f"return {n} values, {asked}; got {got}.",)
    values, expected = (pairs(exercise, r) for r in (result, exercise.solution(*args)))
    lines = []
    for leaf, value in values.items():
        if shape(value) == shape(expected[leaf]):
            continue
        lines.append(f"{leaf} must have shape {shape(expected[leaf])}, got {shape(value)}.")
        hint = recognised(exercise, leaf, value, args)
        if hint is None and leaf.startswith("d") and exercise.function == "backward":
            hint = f"A derivative has the shape of what it is the derivative of, {leaf[1:]}."
        lines += [] if hint is None else [f"hint: {hint}"]
    got, wanted = (sorted(map(shape, each.values())) for each in (values, expected))
    if lines and got == wanted:
        return (*(line for line in lines if "hint" not in line), f"hint: return {asked}.")
    return tuple(lines)


def misjudged(
    task: Task, function: Function, result: Any, args: tuple[Any, ...]
) -> tuple[str, ...]:
    """What the checker finds, each finding with a hint."""
    try:
        report = task.judge(function)
    except (TypeError, ValueError) as error:
        who, _, message = f"{error}".partition("\n")[0].partition(": ")
        if not who.startswith("check_"):
            raise
        return (message,)
    values, lines, hinted = pairs(task.exercise, result), [], set()
    for finding in report.findings:
        if finding.kind in PRECISION:
            continue
        leaf, rest = named(task.exercise, finding.leaf)
        lines.append(f"{leaf}{rest}: {reworded(finding, leaf)}")
        hint = general(task.exercise, leaf, finding.kind)
        if leaf in values:
            hint = recognised(task.exercise, leaf, values[leaf], args) or hint
        if hint not in hinted | {None}:
            lines.append(f"hint: {hint}")
            hinted.add(hint)
    return tuple(lines)


def reworded(finding: Any, leaf: str) -> str:
    """The finding's text, of what the learner knows: no line of our file, no Hessian."""
    text = re.sub(r", \w+\.py:\d+( \(operand \d\))?", " of forward", finding.text)
    text = text.replace("dot_general", "the matrix product")
    if finding.kind == "not a gradient":
        text = text.rpartition("; ")[2]
    text = re.sub(r"the gradient(?! of)", f"the right {leaf}", text)
    return text if finding.case == "as given" else f"{text} ({finding.case})"


def named(exercise: Exercise, leaf: str) -> tuple[str, str]:
    """The learner's name for a leaf of the checker's, and the value behind it."""
    found = re.match(r"^(\w+)(?:\.(\d+))?(.*)$", leaf)
    if found is not None and found[1] == "result" and found[2] is not None:
        return exercise.answers[int(found[2])], found[3]
    if found is not None and "d" + found[1] in exercise.answers:
        return "d" + found[1], leaf.removeprefix(found[1])
    return leaf, ""


def foreign(exercise: Exercise, names: dict[str, Any]) -> bool:
    """Whether the file's forward is another function than the exercise's."""
    if exercise.forward is None:
        return False
    try:
        with jax.enable_x64(True):
            a, b = (f(**exercise.cases[0]) for f in (names["forward"], exercise.forward))
        leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return not all(equal(u, v) for u, v in leaves)
    except Exception:
        return True


def solution(exercise: Exercise) -> str:
    """The source of the solution."""
    return inspect.getsource(exercise.solution).rstrip()
