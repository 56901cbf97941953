import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.blocks import public
from benchmarks.case import Case, Pair, draw, gradient, labels, loss_gradient, norms
from benchmarks.cases import TABLES
from benchmarks.measure import QUICK, compare, difference, pairs, ratio
from fnn.layers.activations import Elementwise

NET = fnn.mlp([5, 4, 3])
LOSS = fnn.SoftmaxCrossEntropy()


def tiny(kind):
    x, target = draw(7, 5), labels(7, classes=3)
    return {
        "gradient": lambda: gradient(NET, LOSS, x, target),
        "loss": lambda: loss_gradient(LOSS, draw(7, 3), target),
        "norms": lambda: norms(NET, LOSS, x, target),
    }[kind]


@pytest.mark.parametrize("kind", ["gradient", "loss", "norms"])
def test_every_kind_of_pair_agrees_and_is_measured(kind):
    result = compare(Case(kind, tiny(kind), tolerance=1e-12), QUICK)
    assert QUICK.least <= result.pairs <= QUICK.most
    assert 0 < result.low <= result.time <= result.high
    assert result.memory == ratio(*result.bytes)
    assert result.compile > 0
    assert (result.products is not None) == (kind == "gradient")
    assert result.peak > result.bytes[0]


def test_a_wrong_gradient_is_not_measured():
    pair = tiny("gradient")()

    def wrong(*args):
        loss, grads = pair.hand(*args)
        return loss, jax.tree.map(lambda g: 1.01 * g, grads)

    case = Case("wrong", lambda: Pair(wrong, pair.reference, pair.args))
    with pytest.raises(AssertionError, match="wrong: the gradients differ by"):
        compare(case, QUICK)


def test_nan_is_a_difference():
    case = Case("nan", tiny("gradient"))
    with pytest.raises(AssertionError, match="nan: the gradients differ"):
        difference(case, jnp.full(3, jnp.nan), jnp.ones(3))


def test_time_is_first_over_second():
    def work(n):
        return lambda a: jax.lax.fori_loop(0, n, lambda _, b: jnp.sin(b), a)

    programs = [jax.jit(work(n)) for n in (200, 2000)]
    _, ratios = pairs(programs, (jnp.ones(1000),), QUICK)
    assert np.median(ratios) < 0.6


def test_rows_have_names_of_their_own():
    names = [case.name for table in TABLES for case in table.cases]
    assert len(set(names)) == len(names)


def test_every_activation_and_loss_has_a_row():
    text = " ".join(case.name for table in TABLES for case in table.cases)
    for base in (Elementwise, fnn.Loss):
        assert all(cls.__name__ in text for cls in public(fnn, base))
