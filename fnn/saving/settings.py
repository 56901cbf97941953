"""A Plan as texts, one for each part: for people, and to tell two plans apart.

    {"net": "Serial(layers=(Dense(n_in=3, n_out=4, …), …))", "optimizer": "Adam(…)", …}

Each is what fnn/texts.py says of it; two plans of the same texts are one to a file.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from fnn.plan import Plan
from fnn.texts import text

AROUND = 50  # letters of a difference


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
