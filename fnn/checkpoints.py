"""Params, or a whole State, in one file and back, bit for bit; and folders of such files.

    fnn.checkpoints.save("net.safetensors", params)
    params = fnn.checkpoints.load("net.safetensors", like=jax.eval_shape(net.init, key))

    fnn.checkpoints.save("run.safetensors", state, plan=plan)
    state = fnn.checkpoints.load("run.safetensors", plan)

What is loaded is always said by what the program has: a tree of shapes, or a Plan, for its State.
The file runs no code and makes no net. It is a safetensors file, whose tensors have the names of
errors and summaries, blocks.attention.wq. Its texts are

    fnn, layout    the version of fnn that wrote it, the number of this format
    keys           name of a typed key → how it draws; the tensor has its numbers
    plan           the parts of the Plan, as texts
    room           of an optimizer whose state grows in the first step, its form
    notes          what you want to remember, as JSON
    sha256         of everything

It is written beside its place and moved there once it is on the disk: at every moment there
is the old file or the new one. Nothing is cast, nothing left out, unless that is asked for; what
does not fit is an error, and listed.

It needs safetensors: pip install 'fnn[checkpoints]'. `import fnn` leaves it alone. One process
writes a file; a State that lies on several devices is gathered for it. With sharded=True it is a
folder, into which every process puts what it has (fnn/saving/sharded.py).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fnn.errors import at, check_leaves
from fnn.files import CheckpointError as CheckpointError
from fnn.files import read, write
from fnn.plan import Plan, State
from fnn.records import PyTree, flag, integer
from fnn.saving.folders import newest, pruned
from fnn.saving.folders import numbered as numbered
from fnn.saving.packing import (
    STATE,
    TREE,
    check_settings,
    fitted,
    named,
    opened,
    packed,
    parsed,
    state_in,
    state_like,
)
from fnn.saving.sharded import write_shards


def save(
    path: str | os.PathLike[str],
    tree: PyTree,
    *,
    plan: Plan | None = None,
    notes: Any = None,
    sharded: bool = False,
) -> None:
    """Write params, a State, or any tree of arrays; at every moment the file is whole or not there.

    A dict of names, as `fnn.to_gpt2` makes it, keeps these names.

    Args:
        path: the file.
        tree: arrays, typed keys among them.
        plan: of a State, the Plan that it was made for, which stands in the file as text.
        notes: anything that JSON can say; `notes(path)` returns it.
        sharded: write a folder, into which every process puts the shards that it has; all of them
            call. It needs orbax-checkpoint, and a path that is not there yet.

    Raises:
        TypeError: for a leaf that is no array, by its name; a State without its plan; notes
            that are no JSON.
        ValueError: for two arrays of one name, and under jit, where nothing can be written.
        OSError: where the file cannot be written; the old one is as it was.
    """
    if isinstance(tree, State) and plan is None:
        raise TypeError("save: a State is saved with its Plan; write save(path, state, plan=plan).")
    with at("save"):
        holds = STATE if isinstance(tree, State) else TREE
        if flag("save: sharded", sharded):
            write_shards(Path(path), *named("save", tree, plan, notes, holds))
        else:
            write(Path(path), *packed("save", tree, plan, notes, holds))


def load(
    path: str | os.PathLike[str],
    like: PyTree,
    *,
    partial: bool = False,
    cast: bool = False,
    changed: Iterable[str] = (),
) -> PyTree:
    """What `save` wrote, bit for bit: a tree like `like`, or of a Plan the State.

    Args:
        path: the file; of a run that `fit` saved, too, whose State comes.
        like: a tree of the shapes and dtypes that there must be: params, or
            jax.eval_shape(net.init, key); or the Plan of the State. Of a folder of shards arrays
            come as those of this tree lie on the devices.
        partial: take what the file has not from `like`, and leave out what `like` has not; a
            warning lists them.
        cast: make of floating-point tensors of other dtypes those of `like`.
        changed: the parts of the Plan that may differ from those in the file, ("optimizer",).

    Raises:
        CheckpointError: a ValueError, for a file that is damaged or that `save` did not write; for
            tensors that are missing, unexpected, or of another shape or dtype, by name; for a
            Plan that is not the one in the file, part by part.
        TypeError: for 64 bits where JAX would make 32 of them.
        OSError: for a file that is not there.
    """
    how = {"partial": flag("load: partial", partial), "cast": flag("load: cast", cast)}
    if not isinstance(like, Plan):
        check_leaves("load", "like", like)
    contents, file = opened(path, () if isinstance(like, Plan) else like), f"{path}"
    found = state_in(contents)
    if isinstance(like, Plan):
        check_settings(file, contents, like, changed)
        like = state_like(like, found.get("key"), file, contents.texts.get("room", ""))
    return fitted(file, found, like, **how)


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of any safetensors file by name, as `fnn.from_gpt2` and its kin take them.

    Of several files, {**tensors(a), **tensors(b)}.

    Raises:
        CheckpointError: a ValueError, for a file that is damaged or of another kind.
        OSError: for a file that is not there.
    """
    return read(Path(path)).tensors


def notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says besides: {"fnn": version, "plan": its parts as texts, "notes": yours}.

    Raises:
        CheckpointError: a ValueError, for a file that is damaged or that `save` did not write.
        OSError: for a file that is not there.
    """
    texts = opened(path).texts
    said = {name: parsed(f"{path}", name, texts.get(name, "null")) for name in ("plan", "notes")}
    return {"fnn": texts.get("fnn"), **said}


def latest(directory: str | os.PathLike[str]) -> Path | None:
    """The newest whole file of a folder of numbered ones; None where it has none.

    A warning names those that are newer and not whole.

    Raises:
        CheckpointError: a ValueError, where there are files and none is whole.
    """
    found = newest("latest", directory)
    return None if found is None else found.path


def keep(directory: str | os.PathLike[str], n: int) -> list[Path]:
    """Remove the numbered files that are older than the n newest whole ones; those removed.

    Every file that counts is read first: what is damaged counts for nothing.

    Raises:
        ValueError: for n below 1.
        OSError: for a file that cannot be removed.
    """
    if integer("keep: n", n) < 1:
        raise ValueError(f"keep: n must be at least 1, got {n}.")
    return pruned(directory, n, set())
