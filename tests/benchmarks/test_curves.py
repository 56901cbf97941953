import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.case import Case, Pair
from benchmarks.curves import DEPTHS, LINES, MIB, curves, deep, depths, point
from benchmarks.measure import QUICK, difference


def square(a):
    return jnp.sort(a @ a, 0)[0]


def large(a):
    return jnp.sort(jnp.tile(a, (20, 1)) @ a, 0)[0]


PAIR = Pair(square, large, (np.ones((200, 200), np.float32),))


@pytest.mark.long
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.title)
def test_both_programs_of_a_line_agree(line):
    pair = line.build(line.quick[1])
    with jax.numpy_dtype_promotion("standard"):
        hand, reference = (jax.jit(f)(*pair.args) for f in pair[:2])
    difference(Case(line.title, lambda: pair, tolerance=1e-10), hand, reference)


def test_a_point_holds_milliseconds_and_mebibytes():
    size, milliseconds, mebibytes = point(7, PAIR, QUICK)
    assert size == 7
    assert 0 < milliseconds[0] < milliseconds[1]
    assert mebibytes[0] < 1 < mebibytes[1]


def test_what_needs_too_much_memory_is_not_run():
    _, milliseconds, mebibytes = point(7, PAIR, QUICK, limit=2 * MIB)
    assert milliseconds[0] > 0
    assert milliseconds[1] is None
    assert mebibytes[1] > 2
    assert point(7, PAIR, QUICK, limit=-1).milliseconds == (None, None)


@pytest.mark.long
def test_curves_have_a_point_per_size():
    found = curves(QUICK, quick=True)
    assert [c.title for c in found] == [line.title for line in LINES]
    assert [[p.size for p in c.points] for c in found] == [[*line.quick] for line in LINES]


@pytest.mark.long
def test_depths_are_compiled_from_empty_caches():
    one, two = depths(quick=True, rounds=1)
    assert (one.blocks, two.blocks) == (1, 2)
    assert min(*one.seconds, *two.seconds) > 0.01
    assert DEPTHS[0] == 4


@pytest.mark.long
def test_a_deep_net_has_its_blocks_in_one_repeat():
    params, *_ = deep(3).args
    (w,) = (p for p in jax.tree.leaves(params) if p.shape == (3, 64, 256))
    assert w.shape[0] == 3
