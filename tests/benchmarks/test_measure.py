import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.case import Case, Pair, draw, gradient, labels, loss_gradient, norms
from benchmarks.cases import TABLES
from benchmarks.measure import QUICK, compare, difference, pairs, ratio
from benchmarks.plain import ACTIVATIONS, plain, plain_losses

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


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.__name__)
def test_plain_activation_is_the_layer(activation):
    x = 3 * draw(6, 5)
    y, _ = activation().forward((), x)
    np.testing.assert_allclose(plain(activation(), (), x, None), y, atol=1e-12)


@pytest.mark.parametrize(
    "net",
    [
        fnn.Residual(fnn.Dense(5, 5)),
        fnn.Repeat(3, fnn.Recompute(fnn.Serial(fnn.Dense(5, 5), fnn.Tanh()))),
        fnn.Serial(fnn.Dense(5, 4), fnn.Dropout(0.5), fnn.Repeat(2, fnn.Dropout(0.5))),
        fnn.Cast(fnn.Dense(5, 4), "float32"),
    ],
    ids=lambda net: f"{net}"[:20],
)
def test_plain_net_is_the_net_with_the_same_keys(net):
    params, key = net.init(jax.random.key(0)), jax.random.key(3)
    y, _ = net.forward(params, draw(6, 5), key=key)
    np.testing.assert_allclose(plain(net, params, draw(6, 5), key), y, rtol=1e-6)


def test_plain_losses_are_the_losses():
    y, t, k = draw(6, 4), draw(6, 4, seed=3), labels(6, classes=4)
    p, q = jax.nn.softmax(y), jax.nn.softmax(t)
    for loss, y_, t_ in (
        (fnn.SquaredError(scale=0.5), y, t),
        (fnn.AbsoluteError(), y, t),
        (fnn.Huber(delta=0.7), y, t),
        (fnn.Hinge(), y, jnp.sign(t)),
        (fnn.BinaryCrossEntropy(), p, q),
        (fnn.SigmoidBinaryCrossEntropy(), y, q),
        (fnn.CrossEntropy(), p, q),
        (fnn.CrossEntropy(), p, k),
        (fnn.SoftmaxCrossEntropy(), y, q),
        (fnn.SoftmaxCrossEntropy(), y, k),
        (fnn.SoftmaxCrossEntropy(label_smoothing=0.2), y, k),
    ):
        losses, _ = loss.forward(y_, t_)
        np.testing.assert_allclose(plain_losses(loss, y_, t_), losses, rtol=1e-12)


def test_rows_have_names_of_their_own():
    names = [case.name for table in TABLES for case in table.cases]
    assert len(set(names)) == len(names)


def test_every_activation_and_loss_has_a_row():
    text = " ".join(case.name for table in TABLES for case in table.cases)
    for name, value in vars(fnn).items():
        if isinstance(value, type) and issubclass(value, fnn.Loss) and value is not fnn.Loss:
            assert name in text
    for activation in ACTIVATIONS:
        assert activation.__name__ in text
