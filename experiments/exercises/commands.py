"""What the commands do; each returns its exit code."""

from pathlib import Path

from experiments.common.cli import UserError, number
from experiments.exercises import PROGRAM, files
from experiments.exercises.catalog import EXERCISES, by_number
from experiments.exercises.exercise import LEVELS
from experiments.exercises.grading import Grade, grade, solution


def listed() -> int:
    """Print the exercises by level."""
    level = 0
    for name, exercise in EXERCISES.items():
        if exercise.level != level:
            level = exercise.level
            print(f"\nlevel {level}: {LEVELS[level]}")
        print(f"  {name:<25} {exercise.teaches:<46} {exercise.asked}")
    print(f"\nbegin with: {PROGRAM} write")
    return 0


def write(folder: Path) -> int:
    """Write them, and say which were kept."""
    written, kept = files.write(folder)
    print(f"{len(written)} exercises written to {folder}/")
    if kept:
        print(f"{len(kept)} were there and stay: {', '.join(path.name for path in kept)}")
    first = folder / f"{next(iter(EXERCISES))}.py"
    print(f"write the backward pass of {first}, then: {PROGRAM} check {first}")
    return 0


def check(paths: tuple[Path, ...]) -> int:
    """Grade one file after the other."""
    if not paths:
        raise UserError(f"check takes files: {PROGRAM} check exercises/01_sigmoid.py")
    for path in paths:
        files.identify(path)  # all are known before the first is graded
    states = []
    for path in paths:
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


def solve(text: str) -> int:
    """Print the solution of the exercise of this number."""
    name, exercise = by_number(int(number("solve", int, text)))
    print(f"{name}: {exercise.title}\n\n{exercise.derivation}\n\n{solution(exercise)}")
    if exercise.file:
        print(f"\nin fnn: {exercise.file}")
    return 0
