"""The learner's file: cut from an exercise's module, and read again when it is graded.

It imports jax alone, so that it runs anywhere, and holds

    EXERCISE = "01_sigmoid"     by which it is known, whatever the file is called
    forward                     to look at; it is graded by the original
    backward                    to be written
"""

import ast
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from experiments.common import files, writing
from experiments.common.cli import USAGE, UserError
from experiments.exercises.catalog import EXERCISES, by_id
from experiments.exercises.exercise import LEVELS, Exercise

TRACED = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


class LearnerError(Exception):
    """An exception in the learner's code, in one or two lines."""


def text(name: str, exercise: Exercise) -> str:
    """What the learner's file says before the learner does."""
    imports, constants, functions = [], [], []
    for node, source in exercise.statements():
        if isinstance(node, ast.Import) and node.names[0].name.startswith("jax"):
            imports.append(source)
        elif isinstance(node, ast.FunctionDef):
            empty = node.name == exercise.function
            functions.append(opened(node, source) if empty else source)
        elif isinstance(node, ast.Assign):
            constants.append(source)
    head = f'"""Exercise {int(name[:2])}: {exercise.title}.\n\n{exercise.question}\n\n'
    head += f'Level {exercise.level}: {LEVELS[exercise.level]}.\n"""\n\n'
    head += "\n".join(imports or ["import jax.numpy as jnp"])
    head += "\n".join([f'\n\nEXERCISE = "{name}"', *([""] * bool(constants)), *constants])
    return "\n\n\n".join([head, *functions]) + "\n"


def opened(node: ast.FunctionDef, source: str) -> str:
    """A function's first line and docstring, with nothing behind them."""
    kept = node.body[0].end_lineno or node.lineno
    lines = source.splitlines()[: kept - node.lineno + 1]
    return "\n".join([*lines, "    raise NotImplementedError"])


def write(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write every exercise into `folder`; (the written, those that were there and stay).

    Raises:
        UserError: where the folder is a file or cannot be written.
    """
    written, kept = [], []
    with writing.refusals(folder, USAGE):
        folder.mkdir(parents=True, exist_ok=True)
        for name, exercise in EXERCISES.items():
            path = folder / f"{name}.py"
            if os.path.lexists(path):
                kept.append(path)
            else:
                writing.whole(path, text(name, exercise).encode())
                written.append(path)
    return written, kept


def identify(path: Path) -> tuple[str, Exercise, str]:
    """Which exercise a file is: its id, the exercise, and the file's source.

    Raises:
        UserError: where it cannot be read or is none.
    """
    try:
        files.check_size(path, path.stat().st_size)
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no Python file.") from None
    found = re.search(r"^EXERCISE\s*=\s*[\"'](.*?)[\"']", source, re.MULTILINE)
    if found is None:
        raise UserError(
            f"{path} is no exercise: it has no line EXERCISE = ...; "
            "the files that `write` makes have one."
        )
    return found[1], by_id(found[1], path), source


def load(path: Path, source: str) -> dict[str, Any]:
    """The names that the file defines.

    Raises:
        LearnerError: where running it fails.
    """
    names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    return guarded(path, source, lambda: exec(compile(source, str(path), "exec"), names) or names)


def guarded(path: Path, source: str, call: Callable[[], Any]) -> Any:
    """The result of `call`, with an exception reported by the line of the file that it comes from.

    Raises:
        LearnerError: for every exception but the file's own NotImplementedError.
    """
    try:
        return call()
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, NotImplementedError) and last == str(path):
            raise
        raise LearnerError(told(path, source, error)) from None


def told(path: Path, source: str, error: BaseException) -> str:
    """The exception's name and first line, and the last line of the file on its way."""
    message = f"{error}".strip().partition("\n")[0]
    line = None
    if isinstance(error, SyntaxError):
        line, message = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)
    what = f"{type(error).__name__}: {message:.300}"
    if isinstance(error, TRACED):
        what = f"{type(error).__name__}: write it with jnp; jnp.where takes the place of an if."
    lines = source.splitlines()
    if line is None or not 0 < line <= len(lines):
        return what
    return f"line {line}: {lines[line - 1].strip():.100}\n{what}"
