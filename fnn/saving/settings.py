"""A Plan as texts, one for each part: for people, and to tell two plans apart.

    {"net": "Serial(layers=(Dense(n_in=3, n_out=4, …), …))", "optimizer": "Adam(…)", …}

A text has every field of every record. A function is its module and name, with what it has
closed over, so that optax.adam(0.1) is not optax.adam(0.2); an array of several numbers is its
dtype, shape and the beginning of its SHA-256. Two functions of one name and without such values
have one text: what a body computes is not looked at.
"""

import dataclasses
import difflib
import functools
import hashlib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fnn.errors import is_array
from fnn.named import kind
from fnn.plan import Plan
from fnn.records import Record
from fnn.ruling import Rule

DEEPEST, AROUND = 12, 50  # levels of a text, letters of a difference
PLAIN = bool, int, float, complex, str, bytes, type(None)


def settings(plan: Plan) -> dict[str, str]:
    """Every part of a plan as a text: net, loss, optimizer and so on."""
    return {f.name: text(getattr(plan, f.name)) for f in dataclasses.fields(plan)}


def parts_of_plan(owner: str, changed: Any) -> tuple[str, ...]:
    """The names of parts of a Plan, or an error that suggests one."""
    given: Any = (changed,) if isinstance(changed, str) else changed
    given = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(name, str) for name in given):
        raise TypeError(f"{owner}: changed must be names of parts of a Plan, got {changed!r:.60}.")
    names = [f.name for f in dataclasses.fields(Plan)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name[:60], names, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            parts = ", ".join(names)
            raise ValueError(
                f"{owner}: changed must be parts of a Plan, {parts}; got {name!r:.60}{hint}"
            )
    return given


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


def changes(was: Mapping[str, Any], now: Mapping[str, str], allowed: Iterable[str] = ()) -> str:
    """Which settings differ, and where; "" where none does but those that are `allowed` to."""
    told = [
        f"{name} was {apart(str(was.get(name)), str(now.get(name)))}"
        for name in {**was, **now}  # a part that is not there is None
        if str(was.get(name)) != str(now.get(name)) and name not in allowed
    ]  # fmt: skip
    return "; ".join(told[:2]) + f" and {len(told) - 2} more" * (len(told) > 2)


def apart(was: str, now: str) -> str:
    """'…rate=0.1' and is '…rate=0.2': two texts from a little before they part."""
    same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 10**9)
    begin = max(min(same, len(was), len(now)) - AROUND // 2, 0)
    short = ["…" * (begin > 0) + t[begin : begin + AROUND] for t in (was, now)]
    return " and is now ".join(short)
