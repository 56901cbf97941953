"""uv run python -m experiments.exercises {list, write, check, solve}."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.common.cli import UserError, check_letters, exit_code, number
from experiments.exercises.catalog import EXERCISES, by_number
from experiments.exercises.exercise import LEVELS
from experiments.exercises.files import identify, write
from experiments.exercises.grading import Grade, grade, solution

PROGRAM = "python -m experiments.exercises"


@dataclass(frozen=True)
class List:
    """Number, name, title, and what each exercise teaches."""

    def run(self) -> int:
        """Print the exercises by level."""
        level = 0
        for name, exercise in EXERCISES.items():
            if exercise.level != level:
                level = exercise.level
                print(f"\nlevel {level}: {LEVELS[level]}")
            print(f"  {name:<25} {exercise.teaches:<46} {exercise.asked}")
        print(f"\nbegin with: {PROGRAM} write")
        return 0


@dataclass(frozen=True)
class Write:
    """Write a file for every exercise; a file that is there already stays as it is."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("exercises")
    """Where to."""

    def run(self) -> int:
        """Write them, and say which were kept."""
        written, kept = write(self.folder)
        print(f"{len(written)} exercises written to {self.folder}/")
        if kept:
            print(f"{len(kept)} were there and stay: {', '.join(path.name for path in kept)}")
        first = self.folder / f"{next(iter(EXERCISES))}.py"
        print(f"write the backward pass of {first}, then: {PROGRAM} check {first}")
        return 0


@dataclass(frozen=True)
class Check:
    """Grade files; the exit code is 0 where all are right, else 1."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files that `write` made, under any name."""

    def run(self) -> int:
        """Grade one after the other."""
        if not self.files:
            raise UserError(f"check takes files: {PROGRAM} check exercises/01_sigmoid.py")
        for path in self.files:
            identify(path)  # all are known before the first is graded
        states = []
        for path in self.files:
            result = grade(path)
            show(path, result)
            states.append(result.state)
        if len(states) > 1:
            kinds = ("right", "wrong", "not written yet")
            print(", ".join(f"{states.count(kind)} {kind}" for kind in kinds))
        return 0 if set(states) == {"right"} else 1


def show(path: Path, grade: Grade) -> None:
    """Print a grade."""
    print(f"{path.name}: {grade.state}", *(f"    {line}" for line in grade.lines), sep="\n")
    exercise = EXERCISES[grade.name]
    if grade.state == "right" and exercise.file:
        print(f"    fnn has it in {exercise.file}")


@dataclass(frozen=True)
class Solve:
    """The solution, its derivation, and where fnn has it."""

    number: Annotated[str, tyro.conf.Positional]
    """As in the list."""

    def run(self) -> int:
        """Print them."""
        name, exercise = by_number(int(number("solve", int, self.number)))
        print(f"{name}: {exercise.title}\n\n{exercise.derivation}\n\n{solution(exercise)}")
        if exercise.file:
            print(f"\nin fnn: {exercise.file}")
        return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["list"]
    commands = List | Write | Check | Solve

    def command():
        check_letters(argv)
        return tyro.cli(commands, args=argv, prog=PROGRAM).run()

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
