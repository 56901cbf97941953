"""Params ↔ the tensors of another library: a table of places, read in both directions.

    "h.{}.attn.c_attn.bias": "blocks.attention.bq blocks.attention.bk blocks.attention.bv"
    "lm_head.weight": "head.w.T"

say that in every block the tensor of this name has the three arrays side by side, on its last
axis, and that the other is the transpose of head.w. What a tensor must be called and which
shape it must have follows from the table and the net's own shapes; what does not fit is listed
by name.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.composite import Composite, Wrapper
from fnn.errors import check_floating, type_of
from fnn.layer import Layer
from fnn.layers.attention import Attention
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.tied import Tied
from fnn.layers.transformer_block import TransformerBlock
from fnn.named import by_name, differences, of_names, on_jax
from fnn.numerics import concrete
from fnn.records import PyTree

Weights = Mapping[str, Any] | str | os.PathLike[str]
Tensors = dict[str, np.ndarray]
HEAD = "lm_head.weight"


class Place(NamedTuple):
    """Where params stand among the tensors."""

    name: str  # of the tensor, {} for the number of a block
    paths: tuple[str, ...]  # of the arrays that it holds side by side
    turned: bool  # whether it is their transpose


def table(rows: Mapping[str, str], prefix: str, tied: bool) -> list[Place]:
    """The rows as places, their names behind `prefix`, but for that of the head.

    A head that is tied has none.
    """
    return [
        Place(
            name if name == HEAD else prefix + name,
            tuple(path.removesuffix(".T") for path in paths.split()),
            paths.endswith(".T"),
        )
        for name, paths in rows.items()
        if not (tied and name == HEAD)
    ]


def tensors_of(owner: str, weights: Weights, ignored: str) -> dict[str, np.ndarray]:
    """The tensors of a dict or a file, but for names that match `ignored`."""
    if isinstance(weights, str | os.PathLike):
        from fnn.files import read  # needs safetensors

        weights = read(Path(weights)).tensors
    if not isinstance(weights, Mapping):
        got = type(weights).__name__
        raise TypeError(f"{owner}: weights must be a dict of arrays or a file's path, got {got}.")
    tensors = {name: a for name, a in weights.items() if not re.fullmatch(ignored, name)}
    for name, a in tensors.items():
        if not isinstance(a, np.ndarray | jax.Array) or concrete(a) is None:
            raise TypeError(
                f"{owner}: {name} must be a numpy array, got {type_of(a)}; of a tensor of torch's "
                "that is a.detach().numpy()."
            )
        check_floating(owner, name, a)
    return {name: np.asarray(a) for name, a in tensors.items()}


def prefix_of(tensors: Tensors, prefix: str, first: str) -> str:
    """`prefix` where the tensors' names begin with it, else nothing."""
    return "" if first in tensors else prefix


def tied_head(tensors: Tensors, table: str) -> tuple[Tensors, bool]:
    """The tensors, and whether the head is tied: missing, or the table itself, then left out."""
    w = tensors.get(HEAD, a := tensors.get(table))
    if w is None or a is None or w.dtype != a.dtype or not np.array_equal(w, a):
        return tensors, False
    return {name: a for name, a in tensors.items() if name != HEAD}, True


def size(owner: str, tensors: Tensors, name: str) -> tuple[int, int]:
    """The shape of a tensor by which the net is built."""
    if name not in tensors:
        near = ", ".join(list(tensors)[:3]) or "nothing"
        raise ValueError(f"{owner}: {name} is missing; there are {near}, ….")
    if len(shape := tensors[name].shape) != 2:
        raise ValueError(f"{owner}: {name} must have two axes, got shape {list(shape)}.")
    return shape


def n_blocks(owner: str, tensors: Tensors, stem: str) -> int:
    """How many numbers there are behind `stem` at the beginning of a name."""
    found = {m[1] for m in (re.match(re.escape(stem) + r"(\d+)\.", name) for name in tensors) if m}
    if not found:
        raise ValueError(f"{owner}: no name begins with {stem}0.")
    return len(found)


def parts(
    place: Place, named: Mapping[str, Any], join: Callable[..., Any] = np.concatenate
) -> list[Any]:
    """The tensors of one place, one per block, of params by name."""
    a = join([named[path] for path in place.paths], -1)
    a = a.swapaxes(-1, -2) if place.turned else a
    return list(a) if "{}" in place.name else [a]


def outgoing(
    owner: str, places: Sequence[Place], net: Layer[Any, Any], params: PyTree
) -> dict[str, np.ndarray]:
    """The tensors of the params of `net`, as numpy arrays of their own.

    Raises:
        ValueError: for params of another net, by name.
    """
    named = {name: np.asarray(a) for name, a in by_name(params).items()}
    paths = {path for place in places for path in place.paths}
    faults = [f"{path} is missing" for path in sorted(paths - {*named})]
    faults += [f"{path} is unexpected" for path in named if path not in paths]
    if faults:
        told = "; ".join(faults[:4]) + f" and {len(faults) - 4} more" * (len(faults) > 4)
        raise ValueError(f"{owner}: net must have the params of such a net: {told}.")
    like = by_name(jax.eval_shape(net.init, jax.random.key(0)))
    dtypes = {path: named[place.paths[0]].dtype for place in places for path in place.paths}
    if faults := differences(named, {path: of(a, dtypes[path]) for path, a in like.items()}):
        raise ValueError(f"{owner}: params do not fit the net: {faults}.")
    return {
        place.name.format(i): np.array(a, order="C")
        for place in places
        for i, a in enumerate(parts(place, named))
    }


def incoming(owner: str, places: Sequence[Place], tensors: Tensors, net: Layer[Any, Any]) -> PyTree:
    """The params of `net` that these tensors are, in their own dtypes.

    Raises:
        ValueError: for tensors that are missing, unexpected, or of another shape, or dtype than
            in another block, by name.
    """
    like = jax.eval_shape(net.init, jax.random.key(0))
    shapes, wanted, named = by_name(like), {}, {}
    for place in places:
        want = jax.eval_shape(lambda a, p=place: parts(p, a, jnp.concatenate), shapes)
        names = [place.name.format(i) for i in range(len(want))]
        dtype = next((tensors[n].dtype for n in names if n in tensors), want[0].dtype)
        wanted[place] = {n: of(a, dtype) for n, a in zip(names, want, strict=True)}
    if faults := differences(tensors, {n: a for each in wanted.values() for n, a in each.items()}):
        raise ValueError(f"{owner}: {faults}.")
    for place, names in wanted.items():
        a = np.stack([tensors[name] for name in names])
        a = a if "{}" in place.name else a[0]
        a = a.swapaxes(-1, -2) if place.turned else a
        ends = np.cumsum([shapes[path].shape[-1] for path in place.paths])[:-1]
        named |= zip(place.paths, np.split(a, ends, -1), strict=True)
    return of_names(on_jax(owner, named), like)


def of(a: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array with another dtype."""
    return jax.ShapeDtypeStruct(a.shape, dtype)


def options_of(owner: str, net: Layer[Any, Any]) -> tuple[Attention, dict[str, Any]]:
    """The attention of a net like those of fnn.gpt, and how it was built.

    Raises:
        TypeError: for another net.
    """
    blocks = net.children.get("blocks") if isinstance(net, Composite) else None
    block = blocks.inner if isinstance(blocks, Repeat) else None
    again = isinstance(block, Recompute)
    block = block.inner if isinstance(block, Recompute) else block
    if not isinstance(block, TransformerBlock) or not isinstance(block.attention, Attention):
        raise TypeError(f"{owner}: net must be made like those of fnn.gpt, got {net!r:.80}.")
    options = {name: getattr(block.attention, name) for name in ("chunk", "implementation")}
    options |= {"tied": isinstance(net, Tied), "recompute": again}
    options |= {"dropout": getattr(block.attention_dropout, "rate", 0.0)}
    return block.attention, options


def check_net(owner: str, net: Layer[Any, Any], want: Layer[Any, Any], path: str = "") -> None:
    """Raise a ValueError unless both compute the same, by the first layer that does not."""
    inside, must = (getattr(layer, "children", {}) for layer in (net, want))
    if type(net) is type(want) and [*inside] == [*must]:
        for name, layer in inside.items():
            below = path if isinstance(net, Wrapper) else f"{path}.{name}".strip(".")
            check_net(owner, layer, must[name], below)
    if repr(net) != repr(want):
        where = f"layer {path}" if path else "net"
        raise ValueError(f"{owner}: {where} must be {want!r}, got {net!r}.")
