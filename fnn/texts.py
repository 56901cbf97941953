"""Any value as a text that tells it from another one, for people too.

    Serial(layers=(Dense(n_in=3, n_out=4, …), …))        Adam(learning_rate=0.1, …)

A text has every field of every record. A function is its module and name, with what it has
closed over, so that optax.adam(0.1) is not optax.adam(0.2); an array of several numbers is its
dtype, shape and the beginning of its SHA-256. Two functions of one name and without such values
have one text: what a body computes is not looked at.
"""

import dataclasses
import functools
import hashlib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fnn.errors import is_array
from fnn.named import kind
from fnn.records import Record
from fnn.ruling import Rule

DEEPEST = 12  # levels of a text
PLAIN = bool, int, float, complex, str, bytes, type(None)


def text(value: Any, level: int = 0) -> str:
    """What decides what `value` does, as far as that can be written down."""
    inside = functools.partial(text, level=level + 1)
    if level > DEEPEST:
        return "…"
    if isinstance(value, PLAIN):
        return repr(value)
    if is_array(value) or isinstance(value, np.generic):
        return text_of_array(np.asarray(value))
    if isinstance(value, Rule):
        return repr(value)
    name = type(value).__qualname__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{name}({named(fields_of(value), inside)})"
    if isinstance(value, tuple) and (fields := getattr(value, "_fields", None)):
        return f"{name}({named(zip(fields, value, strict=True), inside)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(inside, value))})"
    if isinstance(value, Mapping):
        return f"{{{named(value.items(), inside)}}}"
    if isinstance(value, functools.partial):
        return f"partial({', '.join(map(inside, (value.func, *value.args, value.keywords)))})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}{closed_over(value, inside)}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:1000]


def text_of_array(a: np.ndarray) -> str:
    """One number as it is, more of them by their SHA-256."""
    if a.ndim == 0:
        return f"{a.dtype}({a.item()!r})"
    return f"{kind(a)} {hashlib.sha256(np.ascontiguousarray(a).data.tobytes()).hexdigest()[:16]}"


def fields_of(record: Any) -> Iterable[tuple[str, Any]]:
    """The fields of a record with their values, but for the quiet ones at their default."""
    quiet = [
        f.name for f in dataclasses.fields(record)
        if isinstance(record, Record) and f.metadata.get("quiet")
        and getattr(record, f.name) == f.default
    ]  # fmt: skip
    pairs = ((f.name, getattr(record, f.name)) for f in dataclasses.fields(record))
    return [(name, value) for name, value in pairs if name not in quiet]


def named(pairs: Iterable[tuple[Any, Any]], inside: Any) -> str:
    """a=1, b=2."""
    return ", ".join(f"{name}={inside(value)}" for name, value in pairs)


def closed_over(f: Any, inside: Any) -> str:
    """What a function has of the one around it, and its own default values."""
    if not isinstance(f, types.FunctionType) or "<" not in f.__qualname__:
        return ""
    cells = [c.cell_contents for c in f.__closure__ or () if holds(c)]
    values = [*cells, *(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()]
    return f"({', '.join(map(inside, values))})" if values else ""


def holds(cell: Any) -> bool:
    """Whether a variable of a function around has a value yet."""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
