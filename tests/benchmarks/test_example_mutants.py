"""Tests of benchmarks.mutations.examples."""

import jax
import pytest

from benchmarks.mutations import examples
from fnn.factors import Outer


def test_every_function_has_mutants_with_names_of_their_own():
    found = examples.mutants()
    names = [m.name for m in found]
    assert len(found) > 150
    assert {n.split(".")[0] for n in names} >= {
        "Outer",
        "Kernel",
        "Columnwise",
        "gradient_noise",
        "example_sums",
    }
    assert examples.mutants(("clipping",)) == [m for m in found if m.name.startswith("clipping")]


def test_the_library_is_itself_again_behind_a_mutant():
    mutant = next(m for m in examples.mutants(("factors",)) if m.name.startswith("Outer.size"))
    f = Outer(*(jax.random.normal(jax.random.key(i), (2, 3, 4)) for i in (0, 1)))
    before = f.size()
    with examples.made(mutant):
        assert not examples.close(f.size(), before)
    assert examples.close(f.size(), before)


@pytest.mark.long
def test_the_library_is_right_and_a_mistake_is_not():
    assert examples.right(1)
    noise = examples.mutants(("gradient_noise",))
    assert examples.killed(noise[0], 1)
