"""A trained network in one file: tensors, and all it takes to use them again.

The file is one of `fnn.checkpoints`. Its tensors are named by their path in params, as in errors
and summaries: 0.w, 0.b, 2.w, ..., blocks.attention.wq. Its notes are

    network          the layers: {"Serial": [{"Dense": {"n_in": 64, ...}}, ...]}, with names
                     {"Serial": {"embed": {"Embedding": ...}, ...}}
    preprocessing    mean and std of the training data
    config           the settings of the run

Reading runs no code of the file's; a changed byte, a missing tensor or one of another
shape is an error, never another network. So is a file of fnn 0.4, or of the early 0.5. A file
can name the layers and initializers that fnn exports, and nothing else; what it says may be
anything, and is an error in bounded time and memory.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import fnn
from experiments.common import files, runs, writing
from experiments.common.cli import DataError, UserError
from experiments.common.data import Standardizer
from fnn import checkpoints
from fnn.named import by_name, kind
from fnn.saving import packing

NOTES = ("network", "preprocessing", "config")
DEEPEST, MOST = 100, 5000  # levels and entries of a description, at most
LONGEST = 100_000  # layers that x goes through, at most
LAYERS = {
    name: cls
    for name, cls in vars(fnn).items()
    if isinstance(cls, type) and issubclass(cls, fnn.Layer) and cls is not fnn.Layer
}
INITIALIZERS = {
    name: f
    for name, f in vars(fnn.initializers).items()
    if getattr(f, "__module__", "") == "fnn.initializers" and not name.startswith("_")
}


class Checkpoint(NamedTuple):
    """A network, its parameters, and how its inputs were prepared."""

    net: fnn.Layer[Any, Any]
    params: Any
    standardize: Standardizer
    config: dict[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file; at every moment it is whole or not there."""
    statistics = {name: a.tolist() for name, a in checkpoint.standardize._asdict().items()}
    notes = {
        "network": described(checkpoint.net),
        "preprocessing": statistics,
        "config": checkpoint.config,
    }
    write(path, checkpoint.params, notes)


def load(path: Path) -> Checkpoint:
    """Read the file and check all of it.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, notes = read(path, NOTES)
    network, preprocessing, config = (notes[name] for name in NOTES)
    net = built(path, network)
    if not isinstance(config, dict):
        raise DataError(f"{path}: its config must be names with values, got {config!r}.")
    return Checkpoint(net, of_net(path, net, tensors), statistics(path, preprocessing), config)


def of_net(path: Path, net: fnn.Layer[Any, Any], tensors: dict[str, np.ndarray]) -> Any:
    """The tensors as the params of a net."""
    with understood(path, "describes no network"):
        like = jax.eval_shape(net.init, jax.random.key(0))
    return restored(path, like, tensors)


def statistics(path: Path, preprocessing: Any) -> Standardizer:
    """Mean and std of the training data, as a file has them."""
    with understood(path, "has no mean and std in its preprocessing"):
        mean, std = (np.asarray(preprocessing[name]) for name in ("mean", "std"))
        if mean.shape != std.shape or not {mean.dtype.kind, std.dtype.kind} <= set("fi"):
            raise ValueError(f"they must be numbers in one form, got {kind(mean)} and {kind(std)}")
        with np.errstate(over="ignore"):  # the infinities are told below
            standardize = Standardizer(mean.astype(np.float32), std.astype(np.float32))
        if not (np.isfinite(standardize).all() and (standardize.std > 0).all()):
            raise ValueError("they must be finite, and the std more than 0")
    return standardize


def write(path: Path, tree: Any, notes: dict[str, Any], plan: fnn.Plan | None = None) -> None:
    """Write a tree of arrays, or the State of a plan; the file is whole or not there.

    Raises:
        UserError: where a number is not finite, or the file cannot be written.
    """
    runs.check_finite("when it is saved", {}, by_name(tree))
    with writing.refusals(path), refused():
        plain = json.loads(json.dumps(notes, default=str))
        checkpoints.save(path, tree, plan=plan, notes=plain)


def read(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a file, and its notes of these names.

    Raises:
        UserError: where the file is missing, damaged, of another format, or has no such notes.
    """
    with files.reading(path), refused():
        tensors, texts = packing.opened(files.existing(path))
        notes = packing.parsed(f"{path}", "notes", texts.get("notes", "{}"))
    if "network" in texts:
        version = texts.get("fnn", "0.4").strip('"')
        raise DataError(
            f"{path} is of an older format, that of fnn {version:.20}; train again, or read it "
            f"with fnn {version:.20}."
        )
    if missing := [name for name in names if not isinstance(notes, dict) or name not in notes]:
        raise DataError(f"{path} was not saved here: it has no {', '.join(missing)}.")
    if message := runs.not_finite(tensors):
        raise DataError(f"{path}: {message}; train again, at a lower --learning-rate.")
    return tensors, {name: notes[name] for name in names}


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Tell the user what a file is not."""
    try:
        yield
    except checkpoints.CheckpointError as error:
        raise DataError(str(error)) from None


@contextlib.contextmanager
def understood(path: Path, what: str) -> Iterator[None]:
    """Tell what a file is not, where what it says cannot be worked with, in whatever way."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # also RecursionError, OverflowError, MemoryError
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} {what}: {reason.rstrip('.')}; take another file.") from None


def restored(path: Path, like: Any, tensors: dict[str, Any]) -> Any:
    """The tensors as a tree like `like`, a tree of shapes; the first differences are listed."""
    with refused():
        return packing.fitted(f"{path}", tensors, like)


def ends(checkpoint: Checkpoint) -> tuple[tuple[int, ...], int]:
    """The shape of an example that the network takes, and how many numbers it gives."""
    shape = checkpoint.standardize.mean.shape
    x = jax.ShapeDtypeStruct((1, *shape), jax.numpy.float32)
    net, params = fnn.inference(checkpoint.net, checkpoint.params)
    return shape, jax.eval_shape(net.forward, params, x)[0].shape[-1]


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
        if callable(v) and INITIALIZERS.get(v.__name__) is not v:
            raise ValueError(
                f"{layer}: {field} must be one of fnn.initializers to be saved, got {v}."
            )
    return {name: values}


def built(path: Path, description: Any) -> fnn.Layer[Any, Any]:
    """The layer that `described` described."""
    with understood(path, "describes no network"):
        check_size(description)
        net = layer_of(description)
        if (n := n_layers(net)) > LONGEST:
            raise ValueError(f"it has {n} layers, more than {LONGEST}")
        return net


def check_size(description: Any) -> None:
    """Raise a ValueError for a description that is too deep or too long to be a net's."""
    level, n = [description], 0
    for _ in range(DEEPEST):
        dicts = [list(v.values()) for v in level if isinstance(v, dict)]
        level = [v for inside in (*dicts, *level) if isinstance(inside, list) for v in inside]
        n += len(level)
        if n > MOST:
            raise ValueError(f"it has more than {MOST} entries")
        if not level:
            return
    raise ValueError(f"it is nested in more than {DEEPEST} levels")


def n_layers(layer: fnn.Layer[Any, Any]) -> int:
    """How many layers it consists of, each counted as often as it is repeated."""
    if not isinstance(layer, fnn.Composite):
        return 1
    n = sum(map(n_layers, layer.children.values()))
    return n * layer.n if isinstance(layer, fnn.Repeat) else n


def layer_of(description: Any) -> fnn.Layer[Any, Any]:
    """The layer of one type name with its fields, or with layers in a list."""
    if not isinstance(description, dict) or len(description) != 1:
        raise ValueError(f"a layer must be one name with its fields, got {description!r}")
    ((name, fields),) = description.items()
    if name not in LAYERS:
        raise ValueError(f"{name!r} is no layer of fnn")
    if isinstance(fields, list):
        return LAYERS[name](*map(layer_of, fields))
    if not isinstance(fields, dict):
        raise ValueError(f"the fields of {name} must be names with values, got {fields!r}")
    return LAYERS[name](**{key: field_of(key, value) for key, value in fields.items()})


def field_of(name: str, value: Any) -> Any:
    """A field's value: a layer, an initializer, or the value itself."""
    if isinstance(value, dict):
        return layer_of(value)
    if name.endswith("init"):
        if value not in INITIALIZERS:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(INITIALIZERS)}")
        return INITIALIZERS[value]
    return tuple(value) if isinstance(value, list) else value
