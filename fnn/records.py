"""Names and node types of the values that flow through fnn.

Three kinds of record, by what JAX's transformations see in them:

    Record       all fields static: what decides a function (layers, losses)
    Data         fields are leaves: what steers training (optimizers, schedules)
    Static(v)    one static value inside a tree of arrays (a shape in a cache)
"""

import contextlib
import functools
import inspect
import math
import operator
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self, SupportsFloat, SupportsIndex, TypeAlias, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array  # a typed PRNG key, from jax.random.key
PyTree: TypeAlias = Any  # nested tuples, lists, dicts and NamedTuples of arrays


class Declared:
    """A base whose subclasses must be dataclasses themselves, each of them.

    An undecorated subclass inherits an `__eq__` and an `__init__` that know nothing of its
    own fields: two different layers would compare equal, an optimizer would lose a number.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse a class whose fields would be ignored."""
        if "__dataclass_params__" not in cls.__dict__:
            raise TypeError(
                f"{cls.__name__}: write @dataclass(frozen=True) above the class; "
                "without it the fields that it adds are ignored."
            )
        return super().__new__(cls)


@dataclass(frozen=True)
class Record(Declared):
    """A frozen record of Python values, compared by value, static under JAX.

    A field annotated `int`, `float` or `bool` holds just that: numpy scalars become
    Python's, a bool is not a number, 2.5 not an int, NaN not a float; arrays and lists are
    refused. A numpy scalar would otherwise lend its dtype to the results.

    Raises:
        TypeError: for a value of another kind, a subclass without @dataclass(frozen=True).
        ValueError: for a float that is not finite.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make every subclass static under JAX's transformations."""
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)
        if cls.__repr__ is Record.__repr__:  # in the class itself, or dataclass writes another
            cls.__repr__ = Record.__repr__

    def __repr__(self) -> str:
        """As dataclass writes it, less the quiet fields that are at their default."""
        told = [
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)
            if f.repr and not (f.metadata.get("quiet") and getattr(self, f.name) == f.default)
        ]  # fmt: skip
        return f"{type(self).__qualname__}({', '.join(told)})"

    def __post_init__(self) -> None:
        """Turn every field into a plain Python value, or refuse it."""
        for f in fields(self):
            kind = _annotation(type(self), f.name)
            value = _plain(f"{type(self).__name__}: {f.name}", kind, getattr(self, f.name))
            object.__setattr__(self, f.name, value)


QUIET = {"quiet": True}  # metadata of a field that says nothing in a text, at its default


def wrap_methods(cls: type, base: type, entrances: dict[str, Callable[..., Any]]) -> None:
    """Put the entrance of a contract in front of each method that this subclass of it adds.

    The method may stand in the class itself or in a class beside the contract, a mixin.
    """
    for name, entrance in entrances.items():
        owner = next(c for c in cls.__mro__ if name in c.__dict__)
        if owner is cls or not issubclass(owner, base):
            setattr(cls, name, entrance(owner.__dict__[name]))


@dataclass(frozen=True)
class Static(Record):
    """A static value inside a tree of arrays: jit and scan leave it as it is."""

    value: Any


_FORMS = ("Optional", "Union", "typing", "None")  # not a kind


@functools.cache
def _annotation(cls: type, name: str) -> tuple[str, bool]:
    """What a field is annotated with: int, float, bool or something else, and whether | None.

    `from __future__ import annotations` makes every annotation a text: it is evaluated
    where its class was written, or read as it stands where names are missing there.
    """
    owner = next(c for c in cls.__mro__ if name in inspect.get_annotations(c))
    kind = inspect.get_annotations(owner)[name]
    if isinstance(kind, str):
        try:
            kind = eval(kind, dict(vars(sys.modules[owner.__module__])))
        except Exception:
            words = re.findall(r"\w+", kind)
            first = next((w for w in words if w not in _FORMS), "")
            return first, "None" in words or "Optional" in words
    kinds = (kind,) if get_origin(kind) is Callable else get_args(kind) or (kind,)
    first = next((k for k in kinds if k is not type(None)), None)
    return getattr(first, "__name__", str(first)), type(None) in kinds


def _plain(name: str, annotation: tuple[str, bool], value: Any) -> Any:
    """`value` as a Python value of the annotated kind."""
    kind, optional = annotation
    if value is None and optional:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, jax.Array | np.ndarray | list | dict | set):
        raise TypeError(f"{name} must be a Python value, got {type(value).__name__}.")
    if kind in ("int", "float") and isinstance(value, bool | str | None):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if kind == "Callable" and not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r:.60}.")
    if kind == "bool" and not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    if kind == "int":
        return integer(name, value)
    if kind == "float":
        if not isinstance(value, SupportsFloat):
            raise TypeError(f"{name} must be a number, got {value!r}.")
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}.")
    return value


def integer(name: str, value: Any) -> int:
    """`value` as an int; 3.0 is one, 2.5 is not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, bool) and isinstance(value, SupportsIndex):
        with contextlib.suppress(TypeError):  # an array that is not one integer
            return operator.index(value)
    raise TypeError(f"{name} must be an integer, got {value!r:.60}.")


def flag(name: str, value: Any) -> bool:
    """`value` as a bool; 0 and 1 are one, what else counts as true is not."""
    if isinstance(value, bool | np.bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {value!r:.60}.")


@dataclass(frozen=True)
class Data(Declared):
    """A frozen record whose fields are leaves, except those marked static.

    JAX rebuilds such a record around tracers, None and shapes, so unflattening does
    not call the constructor: what a constructor checks is what a person wrote.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make every subclass a pytree."""
        super().__init_subclass__(**kwargs)
        rebuild = functools.partial(_rebuild, cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten, rebuild)

    def with_fields(self, **values: Any) -> Self:
        """The record with other field values, without the constructor's checks."""
        data = object.__new__(type(self))
        for f in fields(self):
            object.__setattr__(data, f.name, values.get(f.name, getattr(self, f.name)))
        return data

    def numbers(self, dtype: Any) -> Self:
        """The same record with its leaves as arrays of `dtype`, one number each."""
        for f in fields(self):
            value = getattr(self, f.name)
            shape = () if value is None or f.metadata.get("static") else jnp.shape(value)
            if shape:
                raise ValueError(
                    f"{type(self).__name__}: {f.name} must be one number here, got shape "
                    f"{list(shape)}; sweep several with jax.vmap."
                )
        return jax.tree.map(lambda n: jnp.asarray(n).astype(dtype), self)


def _flatten(data):
    """Leaves with their names; static fields as auxiliary data."""
    leaves, static = [], []
    for f in fields(data):
        value = getattr(data, f.name)
        if f.metadata.get("static", False):
            static.append((f.name, value))
        else:
            leaves.append((jax.tree_util.GetAttrKey(f.name), value))
    return leaves, (tuple(key.name for key, _ in leaves), tuple(static))


def _rebuild(cls, aux, leaves):
    """The record of these leaves, without its constructor."""
    names, static = aux
    data = object.__new__(cls)
    for name, value in (*zip(names, leaves, strict=True), *static):
        object.__setattr__(data, name, value)
    return data
