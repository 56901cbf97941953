"""What of an optimizer's state only a step shows, as a text, and back.

A fresh state has () in the places that grow, such as the factors of KFAC. What stands there in a
State that is saved is a list of descriptions, one for each such place:

    tuple                            [...]
    dict                             {"dict": {name: ...}}
    record of the kinds below        {"Blocks": {field: ...}}, static fields as they are
    array                            {"array": ["float32", [3, 4]]}
    None                             null
    anything else                    {"like": [array, ...]}, of the form of the params there

What grows is nested like params. Only these kinds are made from a text.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp

from fnn.files import CheckpointError
from fnn.kronecker import Blocks, Kronecker, Part
from fnn.optim.kfac import Inverse, Inverses
from fnn.records import PyTree

KINDS = {cls.__name__: cls for cls in (Blocks, Kronecker, Inverse, Inverses)}


def grown(fresh: PyTree, state: PyTree) -> str:
    """What stands where a fresh state has (), as a text."""
    leaves, form = jax.tree.flatten(fresh, is_leaf=is_room)
    pairs = zip(leaves, form.flatten_up_to(state), strict=True)
    return json.dumps([described(part) for leaf, part in pairs if is_room(leaf)])


def filled(path: str, fresh: PyTree, said: Any, params: PyTree) -> PyTree:
    """A fresh state with the shapes of what stood where it has (), of a text that is JSON.

    Raises:
        CheckpointError: for a text that describes no such state.
    """
    leaves, form = jax.tree.flatten(fresh, is_leaf=is_room)
    try:
        parts = [made(part, params) for part in said]
        if len(parts) != sum(map(is_room, leaves)):
            raise ValueError(f"{len(parts)} places")
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        told = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: its room describes no optimizer's state: {told:.100}."
        ) from None
    rest = iter(parts)
    return form.unflatten([next(rest) if is_room(leaf) else leaf for leaf in leaves])


def is_room(node: Any) -> bool:
    """Whether `node` is an empty tuple."""
    return type(node) is tuple and not node


def described(node: Any) -> Any:
    """A tree as JSON."""
    if node is None:
        return None
    if type(node) is tuple:
        return [described(v) for v in node]
    if type(node) is dict:
        return {"dict": {name: described(v) for name, v in node.items()}}
    if type(node) in KINDS.values():
        values = {f.name: getattr(node, f.name) for f in fields(node)}
        static = {f.name for f in fields(node) if f.metadata.get("static")}
        inside = {name: v if name in static else described(v) for name, v in values.items()}
        return {type(node).__name__: inside}
    if hasattr(node, "dtype"):
        return {"array": [node.dtype.name, node.shape]}
    return {"like": [described(a) for a in jax.tree.leaves(node)]}


def made(said: Any, params: PyTree) -> PyTree:
    """The tree that is described, of shapes; `params` are those that it is nested like."""
    if said is None:
        return None
    if isinstance(said, list):
        own = params if type(params) is tuple and len(params) == len(said) else [params] * len(said)
        return tuple(made(v, p) for v, p in zip(said, own, strict=True))
    ((name, inside),) = said.items()
    if name == "array":
        dtype, shape = inside
        return jax.ShapeDtypeStruct(tuple(map(int, shape)), jnp.dtype(dtype))
    if name == "dict":
        own = params if type(params) is dict else {}
        return {key: made(v, own.get(key, params)) for key, v in inside.items()}
    if name == "like":
        return jax.tree.unflatten(jax.tree.structure(params), [made(a, ()) for a in inside])
    return record(KINDS[name], inside, params)


def record(kind: type, inside: Mapping[str, Any], params: PyTree) -> Any:
    """The record of these fields."""
    values = {}
    for f in fields(kind):
        value = inside[f.name]
        if f.name == "parts":
            value = tuple(Part(str(n), tuple(map(int, s)), bool(b)) for n, s, b in value)
        elif not f.metadata.get("static"):
            value = made(value, params)
        values[f.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
