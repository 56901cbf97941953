"""The readers of what users hand in, each with examples that it reads."""

import contextlib
import csv
import gzip
import io
import json
import math
import re
import shlex
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import fnn
from benchmarks.faults import task
from benchmarks.faults.resumes import stopped_at
from experiments import digits, gpt
from experiments.common import checkpoints, cli, idx, tables
from experiments.common.cli import UserError
from experiments.gpt import corpus, states
from fnn.checkpoints import CheckpointError
from fnn.files import read, write
from fnn.saving.folders import files_in

NUMBERS = (
    b"0 -1 1 3.5 1e400 -1e999 nan inf NaN Infinity 1_000 1,5 99999999999999999999 1e-400".split()
)
JSON = b'{ } [ ] : , " null true false -0 1e30 1e400 NaN 1000000 "n_in" "Dense" "Repeat"'.split()

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Reader(NamedTuple):
    """A way to read bytes: what is wrong with what came, "" or None for nothing; or an error."""

    name: str
    examples: Sequence[bytes]
    words: Sequence[bytes]
    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...] = (UserError,)
    share: int = 1  # of the inputs, the so-manieth part: a net is described, or trained, for each


def readers(folder: Path, names: Sequence[str] = ()) -> list[Reader]:
    """Those of these names, or all; their files are in this folder."""
    folder.mkdir(exist_ok=True)
    return [make(folder / name) for name, make in READERS.items() if name in (names or READERS)]


def table(path: Path) -> Reader:
    """CSV."""
    rows = [f"{i / 7:.3f},{-i},{'ab'[i % 2]}" for i in range(30)]
    plain = "x,y,kind\n" + "\n".join(rows)
    quoted = 'x,y,kind\r\n"' + '"\r\n"'.join(r.replace(",", '","') for r in rows) + '"\r\n'
    words = [*NUMBERS, b",", b",,", b"\n", b"\r\n", b'"', b'""', b"\xef\xbb\xbf", b"\xff", b"\0",
             "٣".encode(), b"\n\n", b";", b"kind", b"x,x", b" \t"]  # fmt: skip

    def parse(data):
        path.write_bytes(data)
        for missing in ("error", "mean"):
            found = tables.csv(path, "kind", missing)
            for part in found.parts().values():
                if not np.isfinite(part.x).all() or not (part.label < len(found.classes)).all():
                    return "what is not finite, or no class"
            if missing == "error" and not np.array_equal(
                np.sort(np.concatenate([part.x.ravel() for part in found.parts().values()])),
                numbers(data),
            ):
                return "other numbers than are written there"
        return None

    return Reader(path.name, [plain.encode(), quoted.encode()], words, parse)


def numbers(data: bytes) -> Any:
    """The numbers of a table without those in the column `kind`, sorted, by other means."""
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
    names, *rows = [[c.strip(" \t") for c in row] for row in lines if row not in ([], [""])]
    at = names.index("kind")
    cells = [cell for row in rows for cell in row[:at] + row[at + 1 :]]
    if not all(map(NUMBER.fullmatch, cells)):
        return None
    return np.sort(np.array([float(cell) for cell in cells], np.float32))


def images(path: Path, n_axes: int = 3) -> Reader:
    """IDX, plain and compressed."""

    def parse(data):
        path.write_bytes(data)
        found = idx.read(path, n_axes)
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return raw[4 + 4 * n_axes :] != found.tobytes() and "other bytes than in the file"

    sizes = (2, 3, 4)[:n_axes]
    plain = bytes([0, 0, 8, n_axes]) + struct.pack(f">{n_axes}I", *sizes)
    plain += bytes(range(math.prod(sizes)))
    words = [b"\0\0\x08\x01", b"\0\0\x08\x03", b"\xff" * 4, b"\0" * 4, b"\x80\0\0\0"]
    examples = [plain, gzip.compress(plain, mtime=0)]
    return Reader(path.name, examples, [*words, b"\x1f\x8b\x08"], parse)


def text(path: Path) -> Reader:
    """A text of one's own, which is bytes."""

    def parse(data):
        path.write_bytes(data)
        found = corpus.read(path, 8)
        return np.concatenate((found.train, found.held_out)).tobytes() != data and "other bytes"

    return Reader(
        path.name, ["Ein schöner Text.\n".encode() * 20], [b"\0", b"\xff", b"\r\n"], parse
    )


def command_line(path: Path) -> Reader:
    """The words of a command."""
    kinds = {b"digits": (digits.Config, None), b"gpt": (gpt.Config, gpt.QUICK)}
    examples = [
        b"digits --hidden 8 4 --epochs=2 --optimizer sgd --learning-rate 0.01 --out a --dropout 0",
        b"gpt --quick --steps 30 --n 16 --heads 2 --top-k None --precision bfloat16 --prompt 'a b'",
    ]
    flags = [f"--{name}".encode() for cls, _ in kinds.values() for name in cls.__dataclass_fields__]
    words = [
        *NUMBERS,
        *flags,
        b" ",
        b"=",
        b" -- ",
        b" - ",
        b"None",
        b"''",
        b"--",
        b" --help",
        b"\xff",
    ]

    def parse(data):
        name, _, rest = data.partition(b" ")
        config, quick = kinds.get(name, (digits.Config, None))
        try:
            argv = shlex.split(rest.decode("utf-8", "surrogateescape"))
        except ValueError:  # no shell would make words of it
            return None
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                settings = cli.parse(config, argv, quick=quick)
        except SystemExit as end:
            helped = {"-h", "--help"} & {*argv} and end.code == 0
            return None if helped else f"the code {end.code}, {said.getvalue()!r:.200}"
        return cli.check_settings(settings)

    return Reader(path.name, examples, words, parse)


def file(path: Path) -> Reader:
    """Files of tensors, the header of which says where they are."""
    fnn.checkpoints.save(
        path, {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "é": np.ones(2, bool)}, notes="a"
    )
    good = path.read_bytes()
    tensors = read(path).tensors
    words = b'"F32" "U8" "dtype" "shape" "data_offsets" [0,24] "__metadata__" "sha256"'.split()
    words += [*JSON, *NUMBERS, b"\xff" * 8, b"\0" * 8]

    def parse(data):
        path.write_bytes(data)
        found = fnn.checkpoints.load(path, tensors)
        return task.sha(found) != want and "other numbers"

    want = task.sha(fnn.checkpoints.load(path, tensors))
    return Reader(path.name, [good], words, parse, (CheckpointError,))


def said(path: Path, name: str) -> tuple[bytes, Callable[[bytes], None]]:
    """What a file says under this name, and how to have it say something else, digest included."""
    tensors, texts = read(path)
    del texts["sha256"]

    def say(data):
        write(path, tensors, texts | {name: data.decode("utf-8", "replace")})

    return texts[name].encode(), say


def net(path: Path) -> Reader:
    """What the file of a network says of it, with a digest that is right."""
    net = fnn.Serial(fnn.Dense(2, 3), fnn.Repeat(2, fnn.Residual(fnn.Dense(3, 3))), fnn.Tanh())
    standardize = checkpoints.Standardizer(np.zeros(2, np.float32), np.ones(2, np.float32))
    saved = checkpoints.Checkpoint(net, net.init(jax.random.key(0)), standardize, {"seed": 0})
    checkpoints.save(path, saved)
    good, say = said(path, "notes")

    def parse(data):
        say(data)
        loaded = checkpoints.load(path)
        with checkpoints.understood(path, "has no network of numbers to classes"):  # as a command
            checkpoints.ends(loaded)

    return Reader(path.name, [good], [*JSON, *NUMBERS], parse, share=10)


def run_of_gpt(path: Path) -> Reader:
    """What the file of a run says of its settings and its history, likewise."""
    config = gpt.Config(n=8, heads=2, layers=1, context=4, steps=2, evaluate_every=1)
    values: Any = gpt.asdict(config) | {"sha256": ""}
    plan = gpt.plan_of(gpt.network(config), values)
    state = fnn.start(plan, jax.random.key(0))
    notes = {"network": checkpoints.described(plan.net), "config": values, "history": []}
    checkpoints.write(path, state, notes, plan)
    good, say = said(path, "notes")

    def parse(data):
        say(data)
        saved = states.load(path, gpt.plan_of)
        gpt.settings(path, saved)

    words = [*JSON, *NUMBERS, b'"step"', b'"sample"']
    return Reader(path.name, [good], words, parse, share=10)


def run_of_fit(folder: Path) -> Reader:
    """What the file of a run of `fit` says of where it is, likewise."""
    with stopped_at(20):
        task.run(folder, every=20)
    (path,) = files_in(folder)
    good, say = said(path, "run")
    json.loads(good)

    def parse(data):
        say(data)
        for newer in files_in(folder)[:-1]:
            newer.unlink()
        return task.sha(task.run(folder, every=10**6)) != task.straight() and "another end"

    words = [*JSON, *NUMBERS, b'"epochs"', b'"batch"']
    return Reader(folder.name, [good], words, parse, (CheckpointError, ValueError), share=20)


READERS: dict[str, Callable[[Path], Reader]] = {
    "tables": table,
    "images": images,
    "labels": partial(images, n_axes=1),
    "texts": text,
    "commands": command_line,
    "files of tensors": file,
    "networks": net,
    "settings of a run": run_of_gpt,
    "places of a run": run_of_fit,
}
