"""A tree whose arrays lie on several devices, of several processes too, as one folder.

    NAME/arrays/         what orbax-checkpoint writes: every process the shards that it has
    NAME/manifest.json   names, dtypes and shapes, the texts of fnn.checkpoints, and the SHA-256 of
                         every file; written last, with one of its own

The folder is written beside its place, as NAME.partial, and takes the name once everything is on
the disk; a folder of that name is never written over. Reading checks every file against the
manifest first; then each process reads the shards that it is to have. All processes call, with one
path, on a disk that they share; what waits for others waits a limited time.

It needs orbax-checkpoint: pip install 'fnn[checkpoints,sharded]'.
"""

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fnn.files import PARTIAL, CheckpointError, Contents, replace, synced

ARRAYS, MANIFEST = "arrays", "manifest.json"
PATIENCE = 600  # seconds that a process waits for the others
CHUNK, LARGEST = 2**20, 2**28  # bytes that are read at once, of a manifest at most


def orbax() -> Any:
    """orbax.checkpoint, or an ImportError that says what to install."""
    try:
        return importlib.import_module("orbax.checkpoint")
    except ImportError as error:
        raise ImportError(
            "fnn.checkpoints: sharded=True needs orbax-checkpoint; "
            "pip install 'fnn[checkpoints,sharded]'."
        ) from error


def write_shards(path: Path, arrays: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Write the arrays, every process its shards.

    Raises:
        FileExistsError: where the path is taken.
        OSError: where it cannot be written.
    """
    ocp, first = orbax(), jax.process_index() == 0
    partial = path.absolute().with_name(path.name + PARTIAL)
    if path.exists():
        raise FileExistsError(17, "this folder is there already; name another one", f"{path}")
    if first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    meet(ocp, "begin", path)
    numbers = {f"{i}": a for i, a in enumerate(arrays.values())}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(partial / ARRAYS, args=ocp.args.PyTreeSave(numbers))
    meet(ocp, "written", path)
    if first:
        kinds = {name: [a.dtype.name, list(a.shape)] for name, a in arrays.items()}
        files = {name: sha_of(partial / name, sync=True) for name in names_in(partial)}
        said = {"arrays": kinds, "texts": dict(texts), "files": files}
        replace(partial / MANIFEST, json.dumps(said | {"sha256": digest(said)}).encode())
        os.rename(partial, path)
        synced(path.parent)
    meet(ocp, "ended", path)


def read_manifest(path: Path) -> Contents:
    """The shapes of the arrays by name, and the texts, of a folder whose every file is right.

    Raises:
        CheckpointError: for a folder that is damaged or of another kind.
        OSError: for one that cannot be read.
    """
    file = path / MANIFEST
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise CheckpointError(f"{path} has no {MANIFEST} that can be read; take another folder.")
    try:
        said = json.loads(file.read_bytes())
        sha = said.pop("sha256")
        if sha != digest(said):
            raise ValueError("its SHA-256 differs from the recorded one")
        shapes = {n: jax.ShapeDtypeStruct(tuple(s), d) for n, (d, s) in said["arrays"].items()}
        texts, files = dict(said["texts"]), dict(said["files"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged: {error!s:.100}; take another folder.") from None
    here = [name for name in names_in(path) if name != MANIFEST]
    if wrong := sorted(set(here) ^ set(files)):
        what = "missing" if wrong[0] in files else "no part of it"
        raise CheckpointError(f"{path} is damaged: {wrong[0]} is {what}; take another folder.")
    for name in here:
        if sha_of(path / name) != files[name]:
            raise CheckpointError(
                f"{path} is damaged: the SHA-256 of {name} differs from the recorded one; take "
                "another folder."
            )
    return Contents(shapes, texts | {"sha256": sha})


def read_shards(path: Path, shapes: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of these shapes by name, laid out as those of `like` are."""
    ocp = orbax()
    wanted = {
        f"{i}": jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=layout(a, like.get(name)))
        for i, (name, a) in enumerate(shapes.items())
    }
    how = ocp.checkpoint_utils.construct_restore_args(wanted)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        args = ocp.args.PyTreeRestore(item=wanted, restore_args=how)
        found = checkpointer.restore(path.absolute() / ARRAYS, args=args)
    return {name: found[f"{i}"] for i, name in enumerate(shapes)}


def layout(a: Any, like: Any) -> Any:
    """How an array lies on the devices: as one that is like it, else as a new one does."""
    sharding = getattr(like, "sharding", None)
    known = sharding is not None and (like.dtype, like.shape) == (a.dtype, a.shape)
    return sharding if known else jnp.zeros(()).sharding


def names_in(path: Path) -> list[str]:
    """All files below a folder; a link counts as one."""
    found = (Path(root) / name for root, _, names in os.walk(path) for name in names)
    return sorted(p.relative_to(path).as_posix() for p in found)


def sha_of(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file, which may be brought onto the disk besides."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            sha.update(data)
        if sync:
            os.fsync(file.fileno())
    return sha.hexdigest()


def digest(said: Mapping[str, Any]) -> str:
    """SHA-256 of what a manifest says."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def meet(ocp: Any, what: str, path: Path) -> None:
    """Wait for all processes."""
    if jax.process_count() > 1:
        ocp.multihost.sync_global_processes(f"fnn {what} {path}", timeout=PATIENCE)
