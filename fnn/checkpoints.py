"""Params in one file and back, bit for bit; and the tensors of files that others wrote.

    fnn.checkpoints.save("net.safetensors", params)
    params = fnn.checkpoints.load("net.safetensors", like=jax.eval_shape(net.init, key))

The file is a safetensors file. Its tensors have the names of errors and summaries,
blocks.attention.wq, its texts are the version of fnn and a SHA-256 of everything. It is written
beside its place and moved there once it is on the disk: at every moment there is the old file
or the new one. Nothing is cast, nothing is left out: what does not fit is an error, and listed.

It needs safetensors: pip install 'fnn[checkpoints]'. `import fnn` leaves it alone.
"""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import at, check_leaves
from fnn.files import CheckpointError as CheckpointError
from fnn.files import read, write
from fnn.named import by_name, differences, of_names, on_jax
from fnn.numerics import concrete
from fnn.records import PyTree

FORMAT = "pt"  # without which older readers of Hugging Face's refuse a file


def save(path: str | os.PathLike[str], params: PyTree) -> None:
    """Write params, or any tree of arrays, to a file; at every moment it is whole or not there.

    A dict of names, as `fnn.to_gpt2` makes it, keeps these names.

    Raises:
        TypeError: for a leaf that is no array of numbers, by its name: typed keys are
            jax.random.key_data(key) here.
        ValueError: for two arrays of one name, and under jit, where nothing can be written.
        OSError: where the file cannot be written; the old one is as it was.
    """
    check_leaves("save", "params", params)
    tensors = {name: known(name, a) for name, a in by_name(params).items()}
    version = importlib.metadata.version("fnn")
    with at("save"):
        write(Path(path), tensors, {"format": FORMAT, "fnn": version})


def load(path: str | os.PathLike[str], like: PyTree) -> PyTree:
    """The params of a file that `save` wrote, bit for bit, as a tree like `like`.

    Args:
        path: the file.
        like: a tree of the shapes and dtypes that there must be: params, or
            jax.eval_shape(net.init, key).

    Raises:
        CheckpointError: a ValueError, for a file that is damaged or that `save` did not write;
            for tensors that are missing, unexpected, or of another shape or dtype, by name.
        TypeError: for 64 bits where JAX would make 32 of them.
        OSError: for a file that is not there.
    """
    check_leaves("load", "like", like)
    tensors, texts = read(Path(path))
    if "sha256" not in texts:
        raise CheckpointError(
            f"{path} was not saved by fnn: it has no SHA-256; fnn.checkpoints.tensors reads it."
        )
    if faults := differences(tensors, by_name(like)):
        raise CheckpointError(f"{path} does not fit: {faults}.")
    return of_names(on_jax(f"{path}", tensors), like)


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of any safetensors file by name, as `fnn.from_gpt2` and its kin take them.

    Of several files, {**tensors(a), **tensors(b)}.

    Raises:
        CheckpointError: a ValueError, for a file that is damaged or of another kind.
        OSError: for a file that is not there.
    """
    return read(Path(path)).tensors


def known(name: str, a: Any) -> np.ndarray:
    """An array of params in the host's memory, or an error by its name."""
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        raise TypeError(f"save: {name} is a typed key; save jax.random.key_data of it.")
    if (there := concrete(a)) is None:
        raise ValueError(f"save: {name} is not known yet; save outside jit, not shapes or tracers.")
    return there
