"""Trees of arrays and a Plan as the tensors and texts of a file, and back.

    tree  →  tensors by name, typed keys as their numbers; texts that say which are keys
    Plan  →  its parts as texts

The texts are those of `fnn.checkpoints`. Nothing that comes back is cast, made up or left out
without being asked for, and whatever a file says is an error or what was saved.
"""

import functools
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_leaves
from fnn.files import CheckpointError, Contents, read
from fnn.named import by_name, differences, of_names, on_jax
from fnn.numerics import concrete
from fnn.plan import Plan, State, check_plan, start
from fnn.records import PyTree
from fnn.saving.growing import filled, grown
from fnn.saving.settings import changes, parts_of_plan, settings
from fnn.saving.sharded import read_manifest, read_shards

FORMAT = "pt"  # without which older readers of Hugging Face's refuse a file
LAYOUT = "1"
TREE, STATE, RUN = "tree", "State", "run"  # what a file may hold
STATE_OF_RUN = "state."


def packed(
    owner: str, tree: PyTree, plan: Plan | None, notes: Any, holds: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the texts of a file."""
    leaves, texts = named(owner, tree, plan, notes, holds)
    return {name: known(name, a) for name, a in leaves.items()}, texts


def named(
    owner: str, tree: PyTree, plan: Plan | None, notes: Any, holds: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays by name, typed keys as their numbers, and the texts."""
    check_leaves(owner, "params" if holds == TREE else holds, tree)
    leaves, keys = by_name(tree), {}
    for name, a in leaves.items():
        if isinstance(a, jax.Array) and is_key(a):
            keys[name] = jax.random.key_impl(a)
            leaves[name] = jax.random.key_data(a)
    texts = {"format": FORMAT, "layout": LAYOUT, "holds": holds, "keys": json.dumps(keys)}
    texts["fnn"] = version()
    if plan is not None:
        check_plan(owner, plan)
        texts["plan"] = json.dumps(settings(plan))
        state = tree["state"] if holds == RUN else tree
        if plan.asks and isinstance(state, State):
            fresh = jax.eval_shape(plan.first_state, state.params)
            texts["room"] = grown(fresh, state.optimizer_state)
    if notes is not None:
        texts["notes"] = json.dumps(notes, allow_nan=False)
    return leaves, texts


@functools.cache
def version() -> str:
    """The version of fnn, which takes a look at the disk."""
    return importlib.metadata.version("fnn")


def opened(path: str | os.PathLike[str], like: PyTree = ()) -> Contents:
    """The tensors, keys among them, and the texts of what `save` wrote, a file or a folder.

    Arrays of a folder are laid out on the devices as those of their names in `like`.
    """
    file = Path(path)
    if not file.is_dir():
        return unpacked(f"{path}", read(file))
    shapes, texts = read_manifest(file)
    return unpacked(f"{path}", Contents(read_shards(file, shapes, by_name(like)), texts))


def unpacked(path: str, contents: Contents) -> Contents:
    """The contents of a file with its typed keys, after a look at who wrote it."""
    tensors: dict[str, Any] = contents.tensors
    texts = contents.texts
    if "sha256" not in texts:
        raise CheckpointError(
            f"{path} was not saved by fnn: it has no SHA-256; fnn.checkpoints.tensors reads it."
        )
    if (layout := texts.get("layout", LAYOUT)) != LAYOUT:
        here = version()
        raise CheckpointError(
            f"{path} has the layout {layout:.20}, written by fnn {texts.get('fnn', '?'):.20}; this "
            f"is fnn {here}, which reads layout {LAYOUT}."
        )
    keys = parsed(path, "keys", texts.get("keys", "{}"))
    if not isinstance(keys, dict):
        raise CheckpointError(f"{path}: its keys must be names, got {keys!r:.60}.")
    return Contents(
        {**tensors, **{n: revived(path, n, tensors, i) for n, i in keys.items()}}, texts
    )


def revived(path: str, name: str, tensors: Mapping[str, np.ndarray], impl: Any) -> jax.Array:
    """The typed key of these numbers."""
    try:
        if not isinstance(impl, str):
            raise TypeError("its name must be a text")
        return jax.random.wrap_key_data(jnp.asarray(tensors[name]), impl=impl)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: {name:.60} is no key of {impl!r:.40}: {reason:.200}"
        ) from None


def parsed(path: str, name: str, text: str) -> Any:
    """The JSON of a text; NaN and the infinities are none."""

    def refused(constant):
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(text, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has no JSON in its {name}: {error}.") from None


def fitted(
    path: str, found: Mapping[str, Any], like: PyTree, partial: bool = False, cast: bool = False
) -> PyTree:
    """The tensors of a file as a tree like `like`, or an error that lists what differs."""
    want, found = by_name(like), dict(found)
    if cast:
        for name, a in found.items():
            if name in want and all(
                jnp.issubdtype(d, jnp.floating) for d in (a.dtype, want[name].dtype)
            ):
                found[name] = np.asarray(a).astype(want[name].dtype)
    if partial:
        found = completed(path, found, want)
    if faults := differences(found, want):
        raise CheckpointError(f"{path} does not fit: {faults}{of_wrappers(found, want)}.")
    return of_names(on_jax(path, found), like)


def of_wrappers(found: Iterable[str], want: Iterable[str]) -> str:
    """What to do where the names differ by a wrapper, such as Frozen, alone; else ""."""

    def bare(names):
        return sorted(".".join(p for p in name.split(".") if p != "inner") for name in names)

    if bare(found) != bare(want) or sorted(found) == sorted(want):
        return ""
    return (
        "; they differ by a wrapper alone: load into params of the net that was saved, then wrap "
        "these, as FrozenParams(params) does for Frozen"
    )


def completed(path: str, found: dict[str, Any], want: dict[str, Any]) -> dict[str, Any]:
    """What the file has of what is wanted, the rest from there; a warning lists both."""
    missing = {name: a for name, a in want.items() if name not in found}
    for name, a in missing.items():
        if isinstance(a, jax.ShapeDtypeStruct):
            raise CheckpointError(
                f"{path}: {name} is missing, and `like` has only its shape; hand in arrays."
            )
    kept = {name: a for name, a in found.items() if name in want}
    if told := differences({**found}, {**kept, **missing}):
        warnings.warn(f"load: {path}: {told}.", stacklevel=4)
    return {**kept, **missing}


def state_in(contents: Contents) -> dict[str, Any]:
    """The tensors of the State, where a file holds a whole run; else all."""
    tensors, texts = contents
    if texts.get("holds") != RUN:
        return tensors
    n = len(STATE_OF_RUN)
    return {name[n:]: a for name, a in tensors.items() if name.startswith(STATE_OF_RUN)}


def state_like(plan: Plan, key: Any, path: str = "", room: str = "") -> State:
    """The shapes of the plan's State, with a key like this one, or without.

    `room` is what the file says of shapes that only a step shows (fnn/saving/growing.py).

    Raises:
        TypeError: for an optimizer with such shapes where the file does not say them.
    """
    if plan.asks and not room:
        raise TypeError(
            f"load: a State of {type(plan.optimizer).__name__} has factors whose shapes a step "
            "shows first; give a State that fnn.step returned, load(path, state), not the Plan."
        )

    def first(seed):
        return start(plan, None, plan.net.init(seed))

    like: State = jax.eval_shape(first, jax.random.key(0))
    if plan.asks:
        said = parsed(path, "room", room)
        like = like._replace(optimizer_state=filled(path, like.optimizer_state, said, like.params))
    return like if key is None else like._replace(key=jax.eval_shape(lambda k: k, key))


def check_settings(path: str, contents: Contents, plan: Plan, changed: Iterable[str]) -> None:
    """Raise a CheckpointError unless the file is of this plan, but for the parts `changed`."""
    if "plan" not in contents.texts:
        raise CheckpointError(
            f"{path} holds no State: it was saved without a Plan; give its shapes."
        )
    was, now = parsed(path, "plan", contents.texts["plan"]), settings(plan)
    if not isinstance(was, dict):
        raise CheckpointError(f"{path}: its plan must be names with texts, got {was!r:.60}.")
    if told := changes(was, now, parts_of_plan("load", changed)):
        raise CheckpointError(
            f"{path} is of another Plan: {told}; changed=(…) names the parts that may differ."
        )


def is_key(a: Any) -> bool:
    """Whether `a` holds typed keys."""
    return jnp.issubdtype(a.dtype, jax.dtypes.prng_key)


def known(name: str, a: Any) -> np.ndarray:
    """An array of params in the host's memory, or an error by its name."""
    if (there := concrete(a)) is None:
        raise ValueError(f"save: {name} is not known yet; save outside jit, not shapes or tracers.")
    return there
