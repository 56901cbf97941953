"""The command line: every field of one frozen dataclass is a flag.

    @dataclass(frozen=True)
    class Config:
        epochs: Annotated[int, Bounds(1)] = 40  # passes over the training set

    if __name__ == "__main__":
        sys.exit(cli.run(main, Config))

A user's mistake is reported in one short paragraph that names the flag, before anything is
read or written; with --debug the traceback stands before it. Exit codes: 0 done, 2 usage, 3 a
file (data, a checkpoint, one that cannot be written), 4 not finite, 5 a claim that was not seen,
130 interrupted, 143 terminated.
"""

import contextlib
import dataclasses
import difflib
import inspect
import io
import itertools
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from experiments.common.stopping import INTERRUPTED

USAGE, DATA, NOT_FINITE = 2, 3, 4
DEBUG = "--debug"  # of every command, beside its own flags
PIPE_CLOSED = 141  # as of a program that the signal of a closed pipe ends
LONGEST = 1000  # letters of a message
FEW = 8  # names of a list
OR_NONE = "or none"  # in the annotation of several values that may be none

T = TypeVar("T")


class UserError(Exception):
    """An error that the user can put right: a short message and an exit code."""

    def __init__(self, message: str, code: int = USAGE):
        """The message, as a terminal can show it, and the code that the program ends with."""
        super().__init__(cut(printable(message)))
        self.code = code


class DataError(UserError, ValueError):
    """A file that cannot be used as it is: what it has where, and what it should have."""

    def __init__(self, message: str):
        """The message; the program ends with the code of DATA."""
        super().__init__(message, DATA)


@dataclass(frozen=True)
class Bounds:
    """The values that a number may take: [low, high), or (low, high)."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether the value is inside; NaN and infinity are not."""
        return (value > self.low if self.open_low else value >= self.low) and value < self.high

    def __str__(self) -> str:
        """In words."""
        low = f"{'greater than' if self.open_low else 'at least'} {self.low:g}"
        return low if math.isinf(self.high) else f"{low} and less than {self.high:g}"


@dataclass(frozen=True)
class Flag:
    """What a field's annotation says about its flag."""

    name: str  # as it is typed: --learning-rate
    kind: Any  # int, float, bool (given or not), Path, or a Literal of choices
    many: bool  # whether it takes several values
    empty: bool  # whether several may be none
    optional: bool  # whether None is a value
    bounds: Bounds | None

    @property
    def field(self) -> str:
        """The field's own name."""
        return self.name[2:].replace("-", "_")


def run(
    main: Callable[[T], None],
    config: type[T],
    argv: Sequence[str] | None = None,
    *,
    quick: T | None = None,
    module: str | None = None,
) -> int:
    """Parse the arguments, call `main` with the settings, and return the exit code.

    With --quick the defaults are those of `quick`. `module` is named in --help.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a letter that the terminal cannot show
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != DEBUG]
    name = module or main.__module__
    return exit_code(lambda: main(parse(config, words, name, quick)), debug=words != given)


def exit_code(command: Callable[[], int | None], *, debug: bool = False) -> int:
    """Call `command`; its exit code, or 0, or that of its error, which is printed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the command began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        with traced() if debug else contextlib.nullcontext():
            code = ended(command)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except UserError as error:
        return told(str(error), error.code)
    except OSError as error:
        where = "standard output" if error.filename is None else str(error.filename)
        return told(str(UserError(f"{where}: {error.strerror or error}.")), DATA)
    except FloatingPointError as error:  # of a run that saves itself; so is its interrupt
        return told(str(UserError(f"{error}")), NOT_FINITE)
    except KeyboardInterrupt as error:
        print(f"{error}" or "stopped.", file=sys.stderr)
        return getattr(error, "code", INTERRUPTED)


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Print where an error comes from, and let it through."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        raise


def ended(command: Callable[[], int | None]) -> int:
    """The code that the command returns, or ends with, as tyro does behind --help."""
    try:
        return command() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        return end.code or 0


def told(message: str, code: int) -> int:
    """Print the message of an error, behind what was printed before; returns the code."""
    try:
        sys.stdout.flush()
    except OSError:  # nothing more can go there, at the end of the process neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def parse(
    config: type[T], argv: Sequence[str], module: str = "experiment", quick: T | None = None
) -> T:
    """The settings that these arguments mean.

    Raises:
        UserError: for a flag or a choice that does not exist, with the nearest one that
            does, and for values of the wrong type or out of range.
    """
    flags = {flag.name: flag for flag in flags_of(config)}
    check_letters(argv)
    if not {"-h", "--help"} & set(argv):
        check_arguments(flags, argv)
    default: Any = {"default": quick} if quick is not None and "--quick" in argv else {}
    prog = f"python -m {name_of(module)}"
    about = f"{inspect.getdoc(config)}\n\n{DEBUG} besides: an error shows where it comes from."
    settings = tyro.cli(config, args=list(argv), prog=prog, description=about, **default)
    check_bounds(flags, settings)
    return settings


def name_of(module: str) -> str:
    """The name of a module, as `python -m` takes it, also while it runs as __main__."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if module == "__main__" and spec is not None else module


def flags_of(config: type) -> list[Flag]:
    """One flag for every field."""
    hints, flags = get_type_hints(config, include_extras=True), []
    for field in dataclasses.fields(config):
        kind, bounds, empty = hints[field.name], None, False
        if get_origin(kind) is Annotated:
            empty = OR_NONE in kind.__metadata__
            bounds = next((m for m in kind.__metadata__ if isinstance(m, Bounds)), None)
            kind = get_args(kind)[0]
        optional = type(None) in get_args(kind)
        if optional:
            kind = next(k for k in get_args(kind) if k is not type(None))
        many = get_origin(kind) is tuple
        kind = get_args(kind)[0] if many else kind
        flags.append(Flag("--" + field.name.replace("_", "-"), kind, many, empty, optional, bounds))
    return flags


def check_letters(argv: Sequence[str]) -> None:
    """Raise a UserError for an argument with bytes that are no letters."""
    for word in argv:
        if any("\ud800" <= c <= "\udfff" for c in word):
            raise UserError(f"{word!r} is not UTF-8; write it in UTF-8.")


def check_arguments(flags: dict[str, Flag], argv: Sequence[str]) -> None:
    """Raise a UserError for unknown flags and choices and for values of another type."""
    for name, values in grouped(argv):
        if name not in flags:
            what = "flag" if name.startswith("-") else "argument"
            hint = nearest(name, flags)
            raise UserError(f"unknown {what} {name}.{hint} --help lists the flags.")
        flag = flags[name]
        if flag.kind is bool:
            if values:
                raise UserError(f"{name} takes no value, got {values[0]}.")
        elif not flag.many and len(values) != 1:
            raise UserError(f"{name} takes one value, got {len(values)}.")
        elif flag.many and not flag.empty and not values:
            raise UserError(f"{name} takes at least one value, got 0.")
        for value in values:
            if not (flag.optional and value == "None"):
                check_value(flag, value)


def grouped(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Every flag with the values behind it."""
    groups: list[tuple[str, list[str]]] = []
    for token in argv:
        if token.startswith("--") or (not groups and not token.startswith("--")):
            name, *value = token.split("=", 1)
            groups.append((name.replace("_", "-"), value))
        else:
            groups[-1][1].append(token)
    return groups


def check_value(flag: Flag, text: str) -> None:
    """Raise a UserError unless `text` is a value of this flag."""
    if get_origin(flag.kind) is Literal:
        choices = get_args(flag.kind)
        if text not in choices:
            raise UserError(
                f"{flag.name}: unknown choice {text!r}.{nearest(text, choices)} "
                f"The choices are {', '.join(sorted(choices))}."
            )
    elif flag.kind in (int, float):
        number(flag.name, flag.kind, text)


def number(name: str, kind: type[int | float], text: str) -> int | float:
    """The number that is written there, in the digits 0 to 9; or a UserError."""
    try:
        if not text.isascii() or "_" in text:  # int and float take 1_0 and ٣ too
            raise ValueError
        return kind(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise UserError(f"{name} must be {what}, got {text!r}.") from None


def check_settings(settings: Any) -> None:
    """Raise a UserError unless every field, from a file, is what its flag could have made it."""
    flags = {flag.name: flag for flag in flags_of(type(settings))}
    for flag in flags.values():
        value = getattr(settings, flag.field)
        values = value if flag.many and isinstance(value, tuple) else [value]
        if not (flag.optional and value is None) and not all(fits(flag.kind, v) for v in values):
            kind = getattr(flag.kind, "__name__", flag.kind)
            raise UserError(f"{flag.name} must be of type {kind}, got {value!r}.")
    check_bounds(flags, settings)


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is of this kind; an integer is a float, a bool no number."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    return isinstance(value, int | float if kind is float else kind) and (
        kind is bool or not isinstance(value, bool)
    )


def check_bounds(flags: dict[str, Flag], settings: Any) -> None:
    """Raise a UserError for numbers out of range."""
    for flag in flags.values():
        value = getattr(settings, flag.field)
        for v in value if flag.many else [value]:
            if flag.bounds is not None and v is not None and v not in flag.bounds:
                raise UserError(f"{flag.name} must be {flag.bounds}, got {v}.")


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint at the choice that is nearest to `word`, or nothing where none is near."""
    few = [choice for choice in itertools.islice(choices, 1000) if len(choice) <= 100]
    found = difflib.get_close_matches(word[:100], few, n=1, cutoff=0.6)
    return f" Did you mean {found[0]}?" if found else ""


def listed(names: Sequence[str], between: str = ", ") -> str:
    """The names in a row; of many the first, and how many more there are."""
    shown = between.join(cut(name, 100) for name in names[:FEW])
    return shown + f" and {len(names) - FEW} more" * (len(names) > FEW)


def cut(text: str, longest: int = LONGEST) -> str:
    """A text that is too long for a message without its middle."""
    end = longest // 4
    return text if len(text) <= longest else f"{text[: longest - end]} … {text[-end:]}"


def printable(text: str) -> str:
    r"""As a terminal can show it: what steers it, or is no letter, becomes \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
