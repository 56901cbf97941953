"""uv run python -m experiments.exercises {list, write, check, solve}."""

import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.common.cli import check_letters, exit_code
from experiments.exercises import PROGRAM


@dataclass(frozen=True)
class List:
    """Number, name, title, and what each exercise teaches."""


@dataclass(frozen=True)
class Write:
    """Write a file for every exercise; a file that is there already stays as it is."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("exercises")
    """Where to."""


@dataclass(frozen=True)
class Check:
    """Grade files; the exit code is 0 where all are right, else 1."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files that `write` made, under any name."""


@dataclass(frozen=True)
class Solve:
    """The solution, its derivation, and where fnn has it."""

    number: Annotated[str, tyro.conf.Positional]
    """As in the list."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["list"]
    kinds = List | Write | Check | Solve

    def command():
        check_letters(argv)
        asked = tyro.cli(kinds, args=argv, prog=PROGRAM)
        from experiments.exercises import commands  # it takes seconds, and --help does without

        does = {
            List: commands.listed, Write: commands.write, Check: commands.check,
            Solve: commands.solve,
        }  # fmt: skip
        return does[type(asked)](*astuple(asked))

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
