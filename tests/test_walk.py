"""Every error of the public API speaks in the name of who was called: a walk with wrong arguments.

From a right call of each public function, class and method, one argument at a time becomes
something wrong: of another type, shape or dtype. Then the call works, or it raises a TypeError
or a ValueError whose first line begins with the function's name, or that of a record that was
handed in, and is not JAX's, numpy's or Python's own. All checks are static: nothing is computed,
but by the checker.
"""

import dataclasses
import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls import CALLS, DRAWS, Call

import fnn
from fnn import checking

WRONG = {
    "None": None, "text": "text", "ragged": [[1.0], [1.0, 2.0]], "dict": {"a": 1.0}, "2.5": 2.5,
    "-1": -1, "()": (), "array": np.ones(3),
}  # fmt: skip
RAW = re.compile(
    "Tracer|no attribute|dot_general|ncompatible shapes|broadcasting|abstract array|not callable|"
    "not iterable|unpack|subscriptable|unsupported operand|truth value|data type|valid JAX type"
)
GIVEN = {  # they call what they are given, or are made by functions that are walked
    "Record", "Report", "Forth", "Back", "Rule", "rule", "lift", "child",
    "Interrupted", "NotFinite",
}  # fmt: skip


def wrong_arrays(right):
    """The argument with its first array of another shape or dtype, or something else there."""
    leaves, tree = jax.tree.flatten(right)
    a = leaves[0] if leaves else None
    if not isinstance(a, jax.Array) or jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return {}
    a = np.asarray(a)  # which compiles nothing
    found = {
        "deeper": a[None], "one number": a.reshape(-1)[0], "longer": np.append(a, a),
        "empty": a[:0] if a.ndim else a[None][:0], "booleans": a != 0, "complex": a + 0j,
        "objects": a.astype(object), "a text": "text",
    }  # fmt: skip
    if a.ndim > 1:
        found["wider"] = np.concatenate([a, a], -1)
    found = {n: w if n in ("objects", "a text") else jnp.asarray(w) for n, w in found.items()}
    return {f"first {name}": tree.unflatten([w, *leaves[1:]]) for name, w in found.items()}


def names_in(value):
    """The classes of the records in a value, at any depth."""
    if isinstance(value, tuple | list):
        return {name for part in value for name in names_in(part)}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return set()
    inside = [getattr(value, f.name) for f in dataclasses.fields(value)]
    return {type(value).__name__} | names_in(tuple(inside))


def ill_spoken(call, **wrong):
    """What came instead of a message in somebody's name; "" where one did, or where it works."""
    given = call.args | wrong
    try:
        if call.eager:
            call.f(**given)
        else:
            jax.eval_shape(lambda: (call.f(**given), None)[1])
    except Exception as error:
        first = str(error).partition("\n")[0]
        held = (getattr(call.f, "__self__", call.f), *call.args.values())
        voice = re.match(r"(layer )?(\w+)", first)
        speaks = voice and (voice[1] or voice[2] in {call.name} | names_in(held))
        kind = isinstance(error, TypeError | ValueError | NotImplementedError)
        if not (kind and speaks) or RAW.search(first) or len(first) > 400:
            return f"{type(error).__name__}: {first}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_errors_speak_in_the_name_of_who_was_called(name):
    warnings.simplefilter("ignore")
    found = {}
    for call in CALLS[name]():
        assert ill_spoken(call) == ""
        for arg, right in call.args.items():
            for what, wrong in (WRONG | wrong_arrays(right)).items():
                if said := ill_spoken(call, **{arg: wrong}):
                    found[f"{getattr(call.f, '__name__', call.name)}, {arg}: {what}"] = said
    assert not found


def raw(x):
    return x.shape


def foreign(x):
    raise ValueError("other: x must be an array.")


def long(x):
    raise ValueError(f"long: x must be an array, got {'x' * 400}.")


def other(x):
    raise KeyError("other: x")


@pytest.mark.parametrize("f", [raw, foreign, long, other])
def test_the_walk_hears_what_speaks_in_nobodys_name(f):
    assert ill_spoken(Call(f.__name__, f, {"x": "text"}))


@pytest.mark.slow
def test_the_walk_comes_by_every_public_name():
    walked = {call.name for make in CALLS.values() for call in make()}
    homes = (fnn, fnn.optim, fnn.rules, fnn.curvature, fnn.devices)
    public = {n: v for home in homes for n, v in vars(home).items() if n[0] != "_" and callable(v)}
    own = {n for n, v in public.items() if str(getattr(v, "__module__", "fnn")).startswith("fnn")}
    own |= {f.__name__ for f in DRAWS} | checking.EXPORTS
    data = {n for n, v in public.items() if inspect.isclass(v) and issubclass(v, tuple)}
    bases = {n for n, v in public.items() if inspect.isabstract(v)}
    assert own - data - bases - GIVEN == walked & own
    assert not GIVEN & walked
