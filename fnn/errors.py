"""One voice for complaints about shapes and values.

Every message says who complains, what must hold, what came and, where there is a
remedy, what to do. Shapes are checked always, since they are known under jit too;
values only where they are known.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from fnn.numerics import concrete, is_floating
from fnn.records import PyTree


@contextlib.contextmanager
def at(where: str) -> Iterator[None]:
    """Put `where` in front of the message of an error."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        error.args = (f"{where}, {error.args[0] if error.args else ''}", *error.args[1:])
        raise


FORWARDS = "the cache must be what forward returned, and dy like its y"
VOICE = re.compile(r"layer |[A-Z]\w*(\(.*\))?[:,] |[A-Z]\w* takes |\w+ at [A-Z]")


@contextlib.contextmanager
def speaking(owner: Any, must: str, formula: Any = None) -> Iterator[None]:
    """Errors in which nobody speaks become `owner`'s, and say what must hold.

    They are Python's, numpy's and JAX's own, about what came in a form that nothing could
    know beforehand, such as a cache; the second line has them. Those about tracing pass, and
    those of a formula (owner's, if not given) from elsewhere, which may be what fails.
    """
    module = getattr(owner if formula is None else formula, "__module__", "fnn.")
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        said, ours = str(error), module.startswith("fnn.")
        if not ours or isinstance(error, jax.errors.JAXTypeError) or VOICE.match(said):
            raise
        kind = ValueError if isinstance(error, ValueError | ArithmeticError) else TypeError
        cause = f"{type(error).__name__}: {said.partition(chr(10))[0]:.200}"
        raise kind(f"{who(owner)}: {must}.\n{cause}") from error


def who(owner: Any) -> str:
    """`owner` as it is written, or the name of its class where a message has no room for more."""
    text = str(owner)
    return text if isinstance(owner, str) or len(text) <= 160 else type(owner).__name__


def check_floating(owner: Any, name: str, a: Any) -> None:
    """Raise a TypeError unless `a` is an array of real floating-point numbers."""
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(
            f"{who(owner)}: {name} is a masked array; give weights, 0 where it is masked."
        )
    if not isinstance(a, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        hint = f"; convert it with jnp.asarray({name})" if isinstance(a, list | tuple) else ""
        raise TypeError(f"{who(owner)}: {name} must be an array, got {type(a).__name__}{hint}.")
    if a.dtype.kind == "f" and not a.dtype.isnative:
        raise TypeError(f"{who(owner)}: {name} must be in native byte order, got {a.dtype.str}.")
    if not is_floating(a):
        remedy = "" if a.dtype.kind in "cOUS" else f"; convert it with {name}.astype('float32')"
        raise TypeError(f"{who(owner)}: {name} must be floating, got {a.dtype}{remedy}.")


def check_batch(owner: Any, name: str, x: Any) -> None:
    """Raise unless `x` is a floating-point batch: an axis of examples, then others."""
    check_floating(owner, name, x)
    if x.ndim < 2:
        hint = f"; one example is {name}[None, :]" if x.ndim == 1 else ""
        raise ValueError(f"{owner}: {name} must have shape [B, ...], got {list(x.shape)}{hint}.")


def check_moments(owner: Any, name: str, a: Any) -> None:
    """Raise unless `a` is a floating-point batch of n means and n logarithms of variances."""
    check_floating(owner, name, a)
    if a.ndim < 2 or a.shape[-1] % 2 or not a.shape[-1]:
        raise ValueError(
            f"{owner}: {name} must have shape [B, ..., 2 n], n means and n logarithms of "
            f"variances, got {list(a.shape)}."
        )


def check_last_axis(owner: Any, name: str, x: Any, size: int) -> None:
    """Raise unless `x` is a floating-point batch whose last axis has `size` entries."""
    check_floating(owner, name, x)
    if x.ndim < 2 or x.shape[-1] != size:
        hint = f"; one example is {name}[None, :]" if x.shape == (size,) else ""
        raise ValueError(
            f"{owner}: {name} must have shape [B, ..., {size}], got {list(x.shape)}{hint}."
        )


def check_steps(owner: Any, name: str, x: Any, n: int | None = None) -> None:
    """Raise unless `x` is a floating-point batch of sequences, of n features where n is known."""
    check_floating(owner, name, x)
    if x.ndim != 3 or n not in (None, x.shape[-1]):
        hint = f"; one sequence is {name}[None]" if x.ndim == 2 and n in (None, x.shape[-1]) else ""
        raise ValueError(
            f"{owner}: {name} must have shape [B, T, {'n' if n is None else n}], "
            f"got {list(x.shape)}{hint}."
        )


def check_params(owner: Any, params: Any, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    """Raise unless `params` has the fields of `shapes`, floating arrays of those, or None."""
    for name, shape in shapes.items():
        if not hasattr(params, name):
            raise TypeError(f"{who(owner)}: params must have a field {name}, got {shown(params)}.")
        a = getattr(params, name)
        if shape is None:
            if a is not None:
                got = f"{a.dtype}{list(a.shape)}" if is_array(a) else shown(a)
                raise TypeError(f"{who(owner)}: params.{name} must be None, got {got}.")
            continue
        check_floating(owner, f"params.{name}", a)
        if a.shape != shape:
            raise ValueError(
                f"{who(owner)}: params.{name} must have shape {list(shape)}, got {list(a.shape)}."
            )


def check_shape(
    owner: Any, name: str, a: Any, shape: tuple[int, ...], *, like: str = "", hint: str = ""
) -> None:
    """Raise a ValueError unless `a` has this shape, that of `like`."""
    if tuple(a.shape) != tuple(shape):
        whose = f"{like}'s shape" if like else "shape"
        raise ValueError(
            f"{owner}: {name} must have {whose} {list(shape)}, got {list(a.shape)}{hint}."
        )


def check_number(
    owner: str,
    name: str,
    value: Any,
    low: float,
    high: float = float("inf"),
    *,
    open_low: bool = False,
    closed_high: bool = False,
) -> None:
    """Raise unless every known entry of `value` is finite and in [low, high)."""
    try:
        known = concrete(value)
    except ValueError:  # a ragged list
        known = np.asarray(None)
    if known is None:
        return
    if known.dtype.kind not in "fiuV":
        raise TypeError(f"{owner}: {name} must be a number, got {value!r:.60}.")
    known = known.astype(np.float64)
    inside = known > low if open_low else known >= low
    inside &= known <= high if closed_high else known < high
    if not (np.isfinite(known) & inside).all():
        span = f"{'(' if open_low else '['}{low}, {high}{']' if closed_high else ')'}"
        raise ValueError(f"{owner}: {name} must be in {span}, got {value}.")


def check_interval(owner: str, name: str, value: Any) -> None:
    """Raise unless every known entry of `value` is a whole number of steps, at least 1."""
    check_number(owner, name, value, 1)
    known = concrete(value)
    if known is not None and (known != np.floor(known)).any():
        raise TypeError(f"{owner}: {name} must be a whole number of steps, got {value!r:.60}.")


def check_one(owner: str, name: str, value: Any, low: float, *high: float, **ends: bool) -> None:
    """Raise unless `value` is one number, and as check_number wants it."""
    check_number(owner, name, value, low, *high, **ends)
    if jnp.shape(value) != ():
        raise ValueError(f"{owner}: {name} must be one number, got shape {list(jnp.shape(value))}.")


def check_key(owner: Any, key: Any) -> None:
    """Raise a TypeError unless `key` is one typed PRNG key."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape != ():
            raise TypeError(f"{who(owner)}: key must be one key, got an array of {key.shape}.")
        return
    got = f"{key.dtype}{list(key.shape)}" if hasattr(key, "dtype") else shown(key)
    raise TypeError(f"{who(owner)}: key must be a typed key, got {got}; use jax.random.key(0).")


def check_known(owner: Any, name: str, a: Any, valid: Any, must: str, hint: str = "") -> None:
    """Raise a ValueError for the entries of the known array `a` that are not `valid`."""
    if not np.all(valid):
        bad = np.argwhere(~np.asarray(valid))
        where = bad[0].tolist()
        first = np.asarray(a)[tuple(where)]
        place = where[0] if len(where) == 1 else where
        raise ValueError(
            f"{owner}: {name} must {must}, got {first} at index {place} "
            f"({len(bad)} of {np.size(valid)} are wrong){hint}."
        )


def check_like(owner: Any, name: str, tree: PyTree, like_name: str, like: PyTree) -> None:
    """Raise unless `tree` has the structure and the shapes of `like`; name the first path."""
    got, want = by_path(name, tree), by_path(name, like)
    if len(got) == len(want) and list(got) != list(want) and (node := other_node(name, tree, like)):
        raise TypeError(f"{owner}: {node} as in {like_name}.")
    for path, leaf in want.items():
        if path not in got:
            raise ValueError(f"{owner}: {path} is missing; {like_name} has it.")
        if np.shape(got[path]) != np.shape(leaf):
            raise ValueError(
                f"{owner}: {path} must have shape {list(np.shape(leaf))} "
                f"as in {like_name}, got {list(np.shape(got[path]))}."
            )
    for path in got:
        if path not in want:
            raise ValueError(f"{owner}: {path} is unexpected; {like_name} has none.")
    if jax.tree.structure(tree) != jax.tree.structure(like):
        raise ValueError(f"{owner}: {name} must have the node types of {like_name}.")


def other_node(name: str, tree: PyTree, like: PyTree) -> str:
    """The first place where the types of nodes differ, in words; "" where none does."""
    below, like_below = _below(tree), _below(like)
    if type(tree) is not type(like) and below and like_below:
        return f"{name} must be a {type(like).__name__}, got a {type(tree).__name__},"
    pairs = zip(below, like_below, strict=False)
    found = (other_node(dotted(name, path), a, b) for (_, a), (path, b) in pairs)
    return next(filter(None, found), "")


def _below(tree: PyTree) -> list[tuple[Any, PyTree]]:
    """The nodes one level down, with the key of each; none of a leaf."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    return [(path, node) for path, node in nodes if path]


def by_path(name: str, tree: PyTree) -> dict[str, Any]:
    """Every leaf by its written-out path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {dotted(name, path): leaf for path, leaf in leaves}


def dotted(name: str, path: tuple[Any, ...]) -> str:
    """`name` and a key path of JAX's as one path: params.blocks.attention.wq."""
    inside = jax.tree_util.keystr(path, simple=True, separator=".")
    return ".".join(filter(None, (name, inside)))


def check_leaves(owner: Any, name: str, tree: PyTree) -> None:
    """Raise a TypeError for a leaf of `tree` that is no array of numbers, by its path."""
    if all(map(is_array, jax.tree.leaves(tree))):  # paths take longer
        return
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not is_array(leaf):
            got = leaf.dtype if isinstance(leaf, np.ndarray) else type(leaf).__name__
            raise TypeError(f"{who(owner)}: {dotted(name, path)} must be an array, got {got}.")


def type_of(a: Any) -> str:
    """The name of a's type, "an array" where it is an array under jit."""
    return "an array" if isinstance(a, jax.core.Tracer) else type(a).__name__


def shown(tree: PyTree) -> str:
    """How a message shows what came: as it is written, and under jit its type."""
    traced = any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(tree))
    return type_of(tree) if traced else f"{tree!r:.80}"


def is_array(a: Any) -> bool:
    """Whether `a` is an array of JAX's, the shape of one, or numpy's with numbers in it."""
    if isinstance(a, np.ndarray):
        return a.dtype.kind not in "OUS"
    return isinstance(a, jax.Array | jax.ShapeDtypeStruct)


def pair(owner: str, form: str, returned: Any) -> tuple[Any, Any]:
    """`returned`, or a TypeError unless it is a tuple of two: an array of two rows unpacks, too."""
    if type(returned) is tuple and len(returned) == 2:
        return returned
    got = f"a tuple of {len(returned)}" if type(returned) is tuple else type(returned).__name__
    raise TypeError(f"{owner} must return the tuple {form}, got {got}.")
