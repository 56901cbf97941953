"""A diagnosis as data: what is wrong, with the evidence; report.py puts it into words."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Size(NamedTuple):
    """A size that a wrong factor may be named after."""

    n: int
    array: str = ""  # y, x, params.w, ...; nothing for the number of examples
    axis: int | None = None  # −1 is the last; None for all entries of the array
    positions: str = ""  # instead: "positions" between batch and last axis, "rows" with the batch


class Factor(NamedTuple):
    """A constant, and what it is of a size."""

    value: float
    form: str = ""  # of the size n: n, 1/n, 2/n, n/2, √n, 1/√n, n², 1/n²; nothing: a number
    size: Size | None = None  # n; of a plain number one that happens to be it, or its inverse

    @property
    def is_mean(self) -> bool:
        """Whether it makes a mean where a sum belongs."""
        return self.form == "1/n" and self.value > 0


class Operation(NamedTuple):
    """An operation of the forward."""

    name: str
    line: str = ""  # file:line
    operand: int | None = None


class Diagnosis(NamedTuple):
    """What is wrong, and the evidence; most fields belong to some kinds only."""

    kind: str  # a word or two, of the table in report.py
    form: str = ""  # which of the mistakes of this kind
    factor: Factor | None = None  # the constant, if it is wrong
    axis: int | None = None
    where: tuple[int | None, ...] = ()  # a wrong entry; None stands for a whole axis
    got: float = 0.0  # there, by hand
    want: float = 0.0  # there, by the reference
    number: int = 0  # of entries, steps, digits; or which output
    total: int = 0  # of so many entries or examples
    names: tuple[str, ...] = ()  # of leaves, activations, ways, dtypes
    numbers: tuple[float, ...] = ()
    operation: Operation | None = None
    message: str = ""  # of an error
    sample: int = 0  # entries that were looked at, if not all of them


class Fault(NamedTuple):
    """Something that is wrong."""

    leaf: str  # which gradient, or what the diagnosis is about
    diagnosis: Diagnosis
    case: str
    error: float  # relative to the leaf's own scale; ∞ for what fails to run


class Note(NamedTuple):
    """Something that is good to know, and no fault."""

    kind: str  # of the table in report.py
    names: tuple[Any, ...] = ()


FORMS = {  # of a size n ≥ 2
    "n": lambda n: n,
    "1/n": lambda n: 1 / n,
    "2/n": lambda n: 2 / n,
    "n/2": lambda n: n / 2,
    "√n": lambda n: n**0.5,
    "1/√n": lambda n: n**-0.5,
    "n²": lambda n: n * n,
    "1/n²": lambda n: 1 / (n * n),
}
NUMBERS = (2, 0.5, 1)  # need no size to explain them
EXACT = 1e-6  # of a factor


def factor_of(c: float, sizes: Sequence[Size]) -> Factor:
    """c, and what it is of the first size that explains it."""
    size = abs(c)
    for s in sizes:
        if not s.array and s.n > 1 and abs(size * s.n - 1) < EXACT:
            return Factor(c, "1/n", s)
    if 1e-9 < abs(size - 1) < 1e-5:
        return Factor(c)
    if any(abs(size / number - 1) < EXACT for number in NUMBERS):
        same = (s for s in sizes if s.n > 1 and round(size, 6) in (s.n, 1 / s.n))
        return Factor(c, "", next(same, None))
    for s in sizes:
        for form, of in FORMS.items() if s.n > 1 else ():
            if abs(size / of(s.n) - 1) < EXACT:
                return Factor(c, form, s)
    return Factor(c)
