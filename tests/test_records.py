"""Tests of fnn.records."""

import pickle
import sys
import types
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.records import QUIET, Data, Record, Static, flag, integer


@dataclass(frozen=True)
class Block(Record):
    """One field of every kind."""

    n: int = 1
    rate: float = 0.5
    flag: bool = True
    name: str = "block"
    anything: Any = None


@dataclass(frozen=True)
class Rates(Data):
    """Two numbers and a choice."""

    a: Any
    b: Any = 2.0
    choice: bool = field(default=False, metadata={"static": True})

    def __post_init__(self):
        if isinstance(self.a, int | float) and self.a < 0:
            raise ValueError("a must be at least 0.")


@dataclass(frozen=True)
class Noted(Block):
    """Block with a field that is quiet at its default, and one that always is."""

    noted: bool = field(default=True, metadata=QUIET)
    hidden: int = field(default=2, repr=False)


def test_the_text_is_that_of_a_dataclass_without_quiet_fields_at_their_default():
    text = "n=1, rate=0.5, flag=True, name='block', anything=None"
    assert repr(Block()) == f"Block({text})"
    assert repr(Noted(hidden=3)) == f"Noted({text})"
    assert repr(Noted(noted=False)) == f"Noted({text}, noted=False)"


@pytest.mark.parametrize(
    ("name", "given", "held"),
    [
        ("n", np.int64(3), 3),
        ("n", np.uint8(3), 3),
        ("n", np.float32(3), 3),
        ("n", 3.0, 3),
        ("rate", np.float32(0.25), 0.25),
        ("rate", np.int64(2), 2.0),
        ("rate", 2, 2.0),
        ("flag", np.bool_(False), False),
        ("anything", np.float64(0.5), 0.5),
        ("anything", (1, 2), (1, 2)),
    ],
)
def test_numpy_scalars_become_python_values(name, given, held):
    block = Block(**{name: given})
    assert getattr(block, name) == held
    assert type(getattr(block, name)) is type(held)
    assert block == Block(**{name: held})
    assert hash(block) == hash(Block(**{name: held}))


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("n", True, TypeError, r"n must be a number, got True"),
        ("n", np.True_, TypeError, r"n must be a number, got True"),
        ("n", None, TypeError, r"n must be a number, got None"),
        ("n", "3", TypeError, r"n must be a number, got '3'"),
        ("n", 2.5, TypeError, r"n must be an integer, got 2\.5"),
        ("n", float("nan"), TypeError, r"n must be an integer, got nan"),
        ("n", [3], TypeError, r"n must be a Python value, got list"),
        ("n", np.array(3), TypeError, r"n must be a Python value, got ndarray"),
        ("rate", False, TypeError, r"rate must be a number, got False"),
        ("rate", "0.5", TypeError, r"rate must be a number, got '0\.5'"),
        ("rate", float("nan"), ValueError, r"rate must be finite, got nan"),
        ("rate", float("inf"), ValueError, r"rate must be finite, got inf"),
        ("rate", jnp.float32(0.5), TypeError, r"rate must be a Python value, got ArrayImpl"),
        ("flag", 1, TypeError, r"flag must be True or False, got 1"),
        ("flag", "yes", TypeError, r"flag must be True or False, got 'yes'"),
        ("anything", [1, 2], TypeError, r"anything must be a Python value, got list"),
        ("anything", {}, TypeError, r"anything must be a Python value, got dict"),
        ("anything", np.zeros(2), TypeError, r"anything must be a Python value, got ndarray"),
    ],
)
def test_what_is_no_such_value_is_refused(name, value, error, message):
    with pytest.raises(error, match=rf"^Block: {message}"):
        Block(**{name: value})


def test_record_is_static_under_jit_and_traced_once():
    traced = []

    @jax.jit
    def f(block, x):
        traced.append(block)
        return block.rate * x

    assert f(Block(rate=2.0), 3.0) == f(Block(rate=np.float32(2)), 3.0) == 6
    assert len(traced) == 1
    assert f(Block(rate=4.0), 3.0) == 12
    assert jax.tree.leaves(Block()) == []


def test_record_is_a_frozen_value():
    assert pickle.loads(pickle.dumps(Block(3))) == Block(3)
    with pytest.raises(FrozenInstanceError):
        Block().n = 2


UNDECORATED = r"^Plain: write @dataclass\(frozen=True\) above .*fields that it adds are ignored"


def test_undecorated_record_is_refused():
    class Plain(Block):
        pass

    with pytest.raises(TypeError, match=UNDECORATED):
        Plain()


@pytest.mark.parametrize(
    ("base", "args"),
    [
        (Rates, (1.0,)),
        (fnn.optim.SGD, (0.1,)),
        (fnn.optim.Adam, ()),
        (fnn.optim.Constant, (0.1,)),
        (fnn.L2, (0.1,)),
        (fnn.Dense, (2, 3)),
        (fnn.SquaredError, ()),
        (fnn.Sequence, (jnp.ones((2, 3, 4)),)),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_an_undecorated_subclass_whose_fields_would_be_ignored_is_refused(base, args):
    class Plain(base):
        clip: float = 1.0

    with pytest.raises(TypeError, match=UNDECORATED):
        Plain(*args)

    @dataclass(frozen=True)
    class Decorated(base):
        clip: float = 1.0

    assert Decorated(*args, clip=2.0).clip == 2.0


OPTIONAL = """
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Union
from fnn.records import Record
{names}

@dataclass(frozen=True)
class Block(Record):
    n: int | None = None
    m: Optional[int] = None
    k: Union[None, int] = None
    rate: float = 0.5
    bound: float | None = None
    flag: bool = True
    size: int = 3
    name: str = "a"
    dtype: {unknown} = None
"""
WAYS = {
    "as it is": OPTIONAL.format(names="", unknown="object"),
    "as text": "from __future__ import annotations" + OPTIONAL.format(names="", unknown="object"),
    "as text with names for checkers only": "from __future__ import annotations"
    + OPTIONAL.format(names="del Optional, Union", unknown="Elsewhere | None"),
}


@pytest.fixture(params=WAYS)
def written(request, monkeypatch):
    """Block, written in a module of its own with annotations in one of the ways."""
    module = types.ModuleType("written")
    monkeypatch.setitem(sys.modules, "written", module)
    exec(WAYS[request.param], vars(module))
    return module.Block


@pytest.mark.parametrize("name", ["n", "m", "k", "size"])
def test_an_integer_is_one_however_the_annotation_is_written(written, name):
    held = getattr(written(**{name: np.int64(4)}), name)
    assert (held, type(held)) == (4, int)
    assert getattr(written(**{name: 4.0}), name) == 4
    for bad, message in (
        (2.5, "an integer, got 2.5"),
        (True, "a number, got True"),
        ("4", "a num"),
    ):
        with pytest.raises(TypeError, match=f"^Block: {name} must be {message}"):
            written(**{name: bad})


@pytest.mark.parametrize("name", ["n", "m", "k", "bound", "dtype"])
def test_none_is_for_fields_that_say_so_however_it_is_written(written, name):
    assert getattr(written(**{name: None}), name) is None
    for required in ("size", "rate"):
        with pytest.raises(TypeError, match=f"^Block: {required} must be a number, got None"):
            written(**{required: None})
    with pytest.raises(TypeError, match="^Block: flag must be True or False, got None"):
        written(flag=None)


def test_floats_and_booleans_are_what_they_are_however_it_is_written(written):
    block = written(rate=np.float32(0.25), bound=2, flag=np.bool_(False), name="b", dtype="any")
    assert [type(v) for v in (block.rate, block.bound, block.flag)] == [float, float, bool]
    assert (block.rate, block.bound, block.flag, block.name, block.dtype) == (
        0.25,
        2,
        0,
        "b",
        "any",
    )
    for bad in (True, "0.5"):
        with pytest.raises(TypeError, match="^Block: rate must be a number, got"):
            written(rate=bad)
        with pytest.raises(TypeError, match="^Block: bound must be a number, got"):
            written(bound=bad)
    with pytest.raises(ValueError, match="^Block: bound must be finite, got nan"):
        written(bound=float("nan"))
    with pytest.raises(TypeError, match="^Block: flag must be True or False, got 1"):
        written(flag=1)


def test_a_field_of_a_base_is_read_where_the_base_was_written(written):
    @dataclass(frozen=True)
    class Heir(written):
        more: int = 1

    assert Heir(n=np.int64(2), more=np.int64(3)) == Heir(n=2, more=3)
    with pytest.raises(TypeError, match="^Heir: n must be an integer, got 2.5"):
        Heir(n=2.5)


def test_static_passes_through_jit_and_scan_as_it_is():
    def step(carry, x):
        return carry, (x, Static(("a", 2)))

    _, (_, held) = jax.jit(lambda xs: jax.lax.scan(step, 0, xs))(jnp.arange(3))
    assert held == Static(("a", 2))


def test_data_has_its_unmarked_fields_as_named_leaves():
    paths, _ = jax.tree_util.tree_flatten_with_path(Rates(1.0, 3.0, choice=True))
    assert [(jax.tree_util.keystr(path), leaf) for path, leaf in paths] == [(".a", 1), (".b", 3)]


def test_data_survives_a_round_trip():
    rates = Rates(1.0, 3.0, choice=True)
    assert jax.tree.map(lambda a: a, rates) == rates
    leaves, tree = jax.tree.flatten(rates)
    assert jax.tree.unflatten(tree, leaves) == rates
    assert pickle.loads(pickle.dumps(rates)) == rates


def test_data_is_rebuilt_around_anything_without_its_constructor():
    with pytest.raises(ValueError, match="a must be at least 0"):
        Rates(-1)
    assert jax.tree.map(lambda a: -a, Rates(1)).a == -1
    assert jax.tree.map(lambda a: None, Rates(1)).a is None
    assert jax.eval_shape(lambda r: r, Rates(1.0)).a.shape == ()


def test_static_fields_of_data_decide_the_trace_and_leaves_do_not():
    traced = []

    @jax.jit
    def f(rates):
        traced.append(rates)
        return rates.a if rates.choice else rates.b

    assert [f(Rates(1.0)), f(Rates(5.0, 6.0)), f(Rates(7.0, choice=True))] == [2, 6, 7]
    assert len(traced) == 2


def test_data_is_vmapped_over_its_leaves():
    product = jax.vmap(lambda r: r.a * r.b)(Rates(jnp.arange(3.0), jnp.arange(3.0) + 1))
    np.testing.assert_array_equal(product, [0, 2, 6])


def test_with_fields_replaces_without_the_constructor():
    rates = Rates(1.0, 3.0, choice=True)
    assert rates.with_fields(b=4.0) == Rates(1.0, 4.0, choice=True)
    assert rates.with_fields(a=-1).a == -1
    assert rates == Rates(1.0, 3.0, choice=True)


def test_numbers_are_the_leaves_in_one_dtype():
    numbers = Rates(1, jnp.float32(3.0), choice=True).numbers("bfloat16")
    assert {numbers.a.dtype.name, numbers.b.dtype.name} == {"bfloat16"}
    assert numbers.choice is True


def test_a_field_that_is_a_function_holds_one():
    with pytest.raises(TypeError, match="^Dense: w_init must be a function, got 'zeros'"):
        fnn.Dense(3, 4, "zeros")
    assert fnn.Dense(3, 4, fnn.initializers.zeros) != fnn.Dense(3, 4)


def test_flags_and_integers_are_refused_by_name():
    assert [flag("f: a", v) for v in (True, np.False_, 1, 0)] == [True, False, True, False]
    for wrong in ("no", None, 2, np.ones(3)):
        with pytest.raises(TypeError, match=r"^f: a must be True or False, got"):
            flag("f: a", wrong)
    with pytest.raises(TypeError, match=r"^f: n must be an integer, got array\(\[1, 2\]\)"):
        integer("f: n", np.array([1, 2]))
