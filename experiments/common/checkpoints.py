"""A trained network in one file: tensors, and all it takes to use them again.

The file is a safetensors file. Its tensors are named by their path in params, as in errors
and summaries: 0.w, 0.b, 2.w, ..., blocks.attention.wq. Its metadata are JSON texts:

    network          the layers: {"Serial": [{"Dense": {"n_in": 64, ...}}, ...]}, with names
                     {"Serial": {"embed": {"Embedding": ...}, ...}}
    preprocessing    mean and std of the training data
    config           the settings of the run
    format, fnn      the number of this format, and the version of fnn that wrote the file
    sha256           of all tensors and of the texts above

Reading runs no code of the file's; a changed byte, a missing tensor or one of another
shape is an error, never another network. So is another format: fnn 0.4 wrote the first.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as written

import fnn
from experiments.common.cli import DATA, UserError, nearest
from experiments.common.data import Standardizer

TEXTS = ("network", "preprocessing", "config")
FORMAT = 2
FIRST = {"format": "1", "fnn": '"0.4"'}  # what files of the first format do not say themselves


class Checkpoint(NamedTuple):
    """A network, its parameters, and how its inputs were prepared."""

    net: fnn.Layer[Any, Any]
    params: Any
    standardize: Standardizer
    config: dict[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file; at every moment it is whole or not there."""
    statistics = {name: a.tolist() for name, a in checkpoint.standardize._asdict().items()}
    texts = {
        "network": described(checkpoint.net),
        "preprocessing": statistics,
        "config": checkpoint.config,
    }
    write(path, by_name(checkpoint.params), texts)


def load(path: Path) -> Checkpoint:
    """Read the file and check all of it.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, texts = read(path, TEXTS)
    network, preprocessing, config = (texts[name] for name in TEXTS)
    net = built(path, network)
    mean, std = (np.asarray(preprocessing[name], np.float32) for name in ("mean", "std"))
    params = restored(path, jax.eval_shape(net.init, jax.random.key(0)), tensors)
    return Checkpoint(net, params, Standardizer(mean, std), config)


def write(path: Path, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Write tensors and JSON values; at every moment the file is whole or not there.

    It is on the disk before it takes the old one's name, and the name before this returns. What
    a kill leaves behind is one file NAME.partial, which the next save writes over.
    """
    values = {"format": FORMAT, "fnn": importlib.metadata.version("fnn"), **values}
    texts = {name: json.dumps(value, default=str) for name, value in values.items()}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(written(tensors, metadata=texts | {"sha256": digest(tensors, texts)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    with contextlib.suppress(OSError):  # where folders cannot be opened
        handle = os.open(path.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def read(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a file, and its values of these names.

    Raises:
        UserError: where the file is missing, damaged, of another format, or has no such values.
    """
    if not path.is_file():
        near = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"there is no file {path}.{nearest(str(path), near)}", DATA)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}.", DATA) from None
    missing = [name for name in (*names, "sha256") if name not in metadata]
    if missing:
        raise UserError(f"{path} was not saved here: it has no {', '.join(missing)}.", DATA)
    metadata = FIRST | metadata
    check_format(path, metadata)
    texts = {name: metadata[name] for name in ("format", "fnn", *names)}
    if digest(tensors, texts) != metadata["sha256"]:
        raise UserError(f"{path} is damaged: its SHA-256 differs from the recorded one.", DATA)
    return tensors, {name: json.loads(metadata[name]) for name in names}


def check_format(path: Path, metadata: dict[str, str]) -> None:
    """Raise a UserError for a file of another format, whose parameters have other paths."""
    found, version = metadata["format"], metadata["fnn"].strip('"')
    if found != str(FORMAT):
        raise UserError(
            f"{path} must be of format {FORMAT}, got format {found}, which fnn {version} wrote and "
            f"which nests parameters otherwise; train again, or read it with fnn {version}.",
            DATA,
        )


def restored(path: Path, like: Any, tensors: dict[str, np.ndarray]) -> Any:
    """The tensors as a tree like `like`, a tree of shapes; every difference is listed."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [dotted(p) for p, _ in leaves]
    faults = [f"{name} is unexpected" for name in tensors if name not in names]
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if name not in tensors:
            faults.append(f"{name} is missing")
        elif (got := kind(tensors[name])) != (want := kind(leaf)):
            faults.append(f"{name} must be {want}, got {got}")
    if faults:
        raise UserError(f"{path} does not fit its network: {'; '.join(faults)}.", DATA)
    return tree.unflatten([jax.numpy.asarray(tensors[name]) for name in names])


def ends(checkpoint: Checkpoint) -> tuple[tuple[int, ...], int]:
    """The shape of an example that the network takes, and how many numbers it gives."""
    shape = checkpoint.standardize.mean.shape
    x = jax.ShapeDtypeStruct((1, *shape), jax.numpy.float32)
    net, params = fnn.inference(checkpoint.net, checkpoint.params)
    return shape, jax.eval_shape(net.forward, params, x)[0].shape[-1]


def kind(a: Any) -> str:
    """Dtype and shape: float32[64, 10]."""
    return f"{a.dtype}{list(a.shape)}"


def digest(tensors: dict[str, np.ndarray], texts: dict[str, str]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes, and of the texts."""
    sha = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, a in sorted(tensors.items()):
        sha.update(f"{name} {kind(a)}".encode())
        sha.update(np.ascontiguousarray(a).tobytes())
    return sha.hexdigest()


def described(layer: fnn.Layer[Any, Any]) -> dict[str, Any]:
    """A layer as JSON: its type's name and its fields; initializers by their names."""
    name = type(layer).__name__
    if isinstance(layer, fnn.Serial):
        inside = {key: described(f) for key, f in layer.children.items()}
        return {name: inside if layer.names else list(inside.values())}
    values = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    for field, v in values.items():
        if isinstance(v, fnn.Layer):
            values[field] = described(v)
        elif callable(v):
            values[field] = v.__name__
        if callable(v) and getattr(fnn.initializers, v.__name__, None) is not v:
            raise ValueError(
                f"{layer}: {field} must be one of fnn.initializers to be saved, got {v}."
            )
    return {name: values}


def built(path: Path, description: Any) -> fnn.Layer[Any, Any]:
    """The layer that `described` described."""
    try:
        ((name, fields),) = description.items()
        make = getattr(fnn, name, None)
        if not (isinstance(make, type) and issubclass(make, fnn.Layer)):
            raise ValueError(f"{name!r} is no layer of fnn")
        if isinstance(fields, list):
            return make(*(built(path, f) for f in fields))
        return make(**{key: restored_field(path, key, v) for key, v in fields.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} describes no network: {error}.", DATA) from None


def restored_field(path: Path, field: str, value: Any) -> Any:
    """A field's value: a layer, an initializer, or the value itself."""
    if isinstance(value, dict):
        return built(path, value)
    if isinstance(value, str) and field.endswith("init"):
        return getattr(fnn.initializers, value)
    return tuple(value) if isinstance(value, list) else value


def by_name(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf of a tree by its path: 0.w, 0.b, blocks.attention.wq, ..."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {dotted(path): np.asarray(leaf) for path, leaf in leaves}


def dotted(path: Any) -> str:
    """A path of JAX's as one text."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
