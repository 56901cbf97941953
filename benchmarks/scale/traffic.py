"""What the devices send each other in a step, from the text of a compiled program.

Of a collective over groups of g devices that makes s bytes each device sends, in a ring,

    all-gather, all-to-all     s (g − 1)/g
    all-reduce                 2 s (g − 1)/g
    reduce-scatter             s (g − 1)
    collective-permute         s

times the turns of the loops around it.
"""

import math
import re
from collections import defaultdict
from typing import NamedTuple

BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
COLLECTIVE = re.compile(rf" = (.*?) ({KINDS})(?:-start)?\(")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
CALLED = re.compile(
    r"(?:body|to_apply|calls|condition|true_computation|false_computation)=%?([\w.-]+)"
)
TURNS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


class Sent(NamedTuple):
    """A collective: how often it runs, and what a device sends each time."""

    turns: int
    kind: str
    bytes: float


def sent(text: str) -> list[Sent]:
    """All collectives of a program."""
    bodies = computations(text)
    turns: dict[str, int] = defaultdict(int)

    def visit(name: str, n: int) -> None:
        turns[name] += n
        for line in bodies.get(name, ()):
            loop = int(found[1]) if (found := TURNS.search(line)) else 1
            for callee in CALLED.findall(line):
                visit(callee, n * loop)

    visit("ENTRY", 1)
    found = []
    for name, lines in bodies.items():
        for line in lines:
            if (m := COLLECTIVE.search(line)) and turns[name]:
                found.append(Sent(turns[name], m[2], bytes_of(m[1], m[2], group(line))))
    return found


def computations(text: str) -> dict[str, list[str]]:
    """The lines of every computation, by its name; the main one is ENTRY."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            words = line.split()
            lines = found.setdefault("ENTRY" if words[0] == "ENTRY" else words[0].lstrip("%"), [])
        else:
            lines.append(line)
    return found


def group(line: str) -> int:
    """The devices of a group, in any of the three ways in which XLA writes them."""
    if m := re.search(r"replica_groups=mesh\[(.*?)\] ?\{(.*?)\}", line):
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", m[1])}
        parts = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", m[2])
        return math.prod(int(n) if n else sizes[name] for name, n in parts)
    if m := re.search(r"replica_groups=\[(\d+),(\d+)\]", line):
        return int(m[2])
    m = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    return len(m[1].split(",")) if m else 2


def bytes_of(made: str, kind: str, g: int) -> float:
    """What a device sends for a collective that makes these arrays."""
    sizes = [
        BYTES.get(dtype, 1) * math.prod(map(int, filter(None, shape.split(","))))
        for dtype, shape in ARRAY.findall(made)
    ]
    ways = {"all-reduce": 2 * (g - 1) / g, "reduce-scatter": g - 1, "collective-permute": 1}
    return sum(sizes) * ways.get(kind, (g - 1) / g)
