"""Where the time of a training step goes on a CPU: a row per product, and one per kind of the rest.

A few steps run under jax.profiler, which times every operation of the compiled program by name.
The program's own text says what an operation is: the sizes of a product, and which file of fnn
asked for it. Loops and branches are left out, for what is in them counts. Operations on two cores
at once count twice, and the profiler itself slows down the small ones.
"""

import gzip
import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnn
from benchmarks.peers.steps import RATE, hand_written
from benchmarks.steps import TASKS

NETS = "gpt", "lstm", "cnn", "gpt, bfloat16"
# of one array; the results of loops and branches are tuples
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.-]+) = (\w+)\[([\d,]*)\]\S* ([\w-]+)\((.*)")
COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.-]+) \(.*\{$")
KINDS = {  # of what is no product, by the names that XLA gives
    "slices": "dynamic|slice|gather|scatter|concatenate|pad",
    "copies": "copy|transpose",
    "fills": "broadcast",
    "elementwise": "",
}
HELPERS = "numerics.py", "loops.py", "columns.py", "sharding.py", "composite.py"
MANY = 8  # rows of a net


class Operation(NamedTuple):
    """One of a compiled program."""

    kind: str  # the sizes of a product, or the name of what it is
    where: str  # the file of fnn that asked for it
    flops: int = 0


class Cost(NamedTuple):
    """Operations of one kind from one file, in one step."""

    net: str
    kind: str
    where: str
    times: float
    milliseconds: float
    share: float
    gigaflops: float | None  # a second


def profiles(*, quick: bool = False) -> list[Cost]:
    """Every net; `quick`: the first, tiny."""
    return [c for net in (NETS[:1] if quick else NETS) for c in costs(net, quick=quick)]


def costs(net: str, *, quick: bool = False, n: int = 5) -> list[Cost]:
    """The costs of one net, the largest first."""
    task = TASKS[net]
    arrays = task.arrays(**(task.tiny if quick else task.sizes))
    batch = arrays.pop("x"), arrays.pop("target")
    built, loss, params = hand_written.built(net, arrays)
    plan = fnn.Plan(built, loss, fnn.optim.Adam(RATE))
    state = fnn.start(plan, None, params)
    program = jax.jit(lambda s, batch: fnn.step(plan, s, batch)).lower(state, batch).compile()
    known = operations(program.as_text() or "")
    spent, times = defaultdict[Operation, float](float), Counter[Operation]()
    for name, microseconds in events(program, (state, batch), n):
        if name in known:
            spent[known[name]] += microseconds / 1e3 / n
            times[known[name]] += 1
    whole = sum(spent.values())
    return [
        Cost(
            net, op.kind, op.where, times[op] / n, ms, ms / whole,
            op.flops * times[op] / n / ms / 1e6 if op.flops else None,
        )
        for op, ms in sorted(spent.items(), key=lambda item: -item[1])[:MANY]
    ]  # fmt: skip


def events(program: Any, args: tuple[Any, ...], n: int) -> Iterator[tuple[str, float]]:
    """The name and the microseconds of everything that `n` runs do."""
    jax.block_until_ready(program(*args))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(n):
                jax.block_until_ready(program(*args))
        (path,) = Path(folder).rglob("*.trace.json.gz")
        found = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    for event in found:
        if event.get("ph") == "X":
            yield event["name"], event.get("dur", 0)


def operations(text: str) -> dict[str, Operation]:
    """Those of a compiled program by their names, but for loops and branches."""
    lines, files = list(instructions(text)), sources(text)
    shapes = {name: shape for _, name, shape, *_ in lines}
    inside: dict[str, tuple[str, int]] = {}  # computation → the product in it
    for computation, _, shape, opcode, rest in lines:
        if opcode in ("dot", "convolution"):
            inside[computation] = product(shape, opcode, rest, shapes)
    found = {}
    for _, name, shape, opcode, rest in lines:
        kind, flops = next(k for k, words in KINDS.items() if re.search(words, name)), 0
        called = re.search(r"calls=%([\w.-]+)", rest)
        if opcode in ("dot", "convolution"):
            kind, flops = product(shape, opcode, rest, shapes)
        elif called and called[1] in inside:
            kind, flops = inside[called[1]]
        frame = re.search(r"stack_frame_id=(\d+)", rest)
        found[name] = Operation(kind, files.get(frame[1], "") if frame else "", flops)
    return found


def instructions(text: str) -> Iterator[tuple[str, str, tuple[int, ...], str, str]]:
    """(computation, name, shape, opcode, the rest of the line) of every instruction."""
    computation = ""
    for line in text.splitlines():
        if header := COMPUTATION.match(line):
            computation = header[1]
        elif match := INSTRUCTION.match(line):
            name, _, sizes, opcode, rest = match.groups()
            yield computation, name, tuple(int(s) for s in sizes.split(",") if s), opcode, rest


def product(shape: tuple[int, ...], opcode: str, rest: str, shapes: Any) -> tuple[str, int]:
    """What a product is called, and its operations."""
    left, right = (shapes.get(name, ()) for name in re.findall(r"%([\w.-]+)", rest)[:2])
    if opcode == "convolution":
        summed = math.prod(right[:-1])
    else:
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
        summed = math.prod(left[int(i)] for i in axes[1].split(",") if i) if axes else 1
    sizes = " × ".join(map(str, shape))
    return f"{opcode} {sizes}, sums of {summed}", 2 * math.prod(shape) * summed


def sources(text: str) -> dict[str, str]:
    """The file of fnn that every stack frame is of, the innermost that is no helper."""
    tables = {
        name: dict(re.findall(r"^(\d+) (.*)$", block, re.MULTILINE))
        for name, block in re.findall(r"^(\w+)\n((?:\d+ .*\n)+)", text, re.MULTILINE)
    }

    def file_of(frame: int) -> str:
        if frame not in frames:
            return ""
        place, parent = frames[frame]
        number = re.findall(r"file_name_id=(\d+)", tables["FileLocations"][place])[0]
        _, of_fnn, name = tables["FileNames"][number].strip('"').rpartition("/fnn/")
        if of_fnn and name not in HELPERS:
            return name
        return file_of(parent)

    frames = {
        int(frame): (place, int(parent) - 1)  # 0 is the outermost
        for frame, values in tables.get("StackFrames", {}).items()
        for place, parent in [re.findall(r"=(\d+)", values)]
    }
    return {str(frame): file_of(frame) for frame in frames}
