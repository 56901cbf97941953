"""Tests of benchmarks.blocks."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.blocks import (
    accepts,
    activations,
    descents,
    forms,
    jax_nn,
    losses,
    optax_loss,
    optax_optimizer,
    optimizers,
    public,
    variants,
)
from fnn.layers.activations import Elementwise

X = jnp.array([[-2.0, -0.5, 0.25, 3.0]])


@dataclass(frozen=True)
class Cube(Elementwise):
    """y = x³, which nobody has named."""

    of_y = False

    def f(self, x):
        return x**3

    def df(self, a):
        return 3 * a**2


def test_what_a_module_exports_is_found_in_the_order_of_its_lines():
    module = SimpleNamespace(b=fnn.Tanh, a=fnn.Sigmoid, base=Elementwise, other=fnn.Dense, c=Cube)
    assert public(module, Elementwise) == (fnn.Sigmoid, fnn.Tanh, Cube)


def test_every_flag_makes_a_variant():
    assert variants(fnn.GELU) == {
        "GELU": fnn.GELU(), "GELU, not approximate": fnn.GELU(approximate=False),
    }  # fmt: skip
    assert [*variants(fnn.optim.Momentum, learning_rate=0.1)] == [
        "Momentum", "Momentum, average", "Momentum, nesterov",
    ]  # fmt: skip


def test_activations_begin_with_the_elementwise_and_end_with_those_of_rows():
    first, *_, identity, softmax, log_softmax = activations()
    assert (first, identity, softmax, log_softmax) == (
        "Sigmoid", "Identity", "Softmax", "LogSoftmax",
    )  # fmt: skip


def test_losses_say_by_their_checks_what_they_compare():
    assert forms(fnn.SquaredError()) == [("numbers", "numbers")]
    assert forms(fnn.Hinge()) == [("numbers", "signs")]
    assert forms(fnn.BinaryCrossEntropy()) == [("chances", "chances")]
    assert forms(fnn.CrossEntropy()) == [("rows", "labels"), ("rows", "rows")]
    assert forms(fnn.SoftmaxCrossEntropy()) == [("numbers", "labels"), ("numbers", "rows")]
    assert not accepts(fnn.CrossEntropy(), ("numbers", "labels"))
    assert "LinearSoftmaxCrossEntropy" not in losses()


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        (fnn.KLDivergence(), ("numbers", "rows")),
        (fnn.PoissonNLL(), ("numbers", "counts")),
        (fnn.SigmoidFocal(), ("numbers", "bits")),
        (fnn.GaussianNLL(), ("moments", "numbers")),
        (fnn.CTC(), ("frames", "words")),
        (fnn.InfoNCE(), ("pairs", "examples")),
    ],
    ids=repr,
)
def test_a_loss_has_one_form(loss, form):
    assert forms(loss) == [form]


def test_optimizers_have_the_settings_that_they_know():
    found = optimizers(0.3, rho=0.5, b1=0.25)
    assert found["AdaDelta"] == fnn.optim.AdaDelta(0.3, rho=0.5)
    assert found["Adam"] == fnn.optim.Adam(0.3, b1=0.25)
    assert fnn.optim.Chain not in descents()


def test_functions_of_jax_and_optax_are_found_by_name_with_the_fields_of_ours():
    np.testing.assert_allclose(jax_nn(fnn.LeakyReLU(0.1))(X), [[-0.2, -0.05, 0.25, 3]])
    np.testing.assert_allclose(jax_nn(fnn.HardTanh())(X), [[-1, -0.5, 0.25, 1]])
    np.testing.assert_allclose(
        optax_loss(fnn.Huber(0.5))(X, 0 * X), [[0.875, 0.125, 1 / 32, 1.375]]
    )
    assert jax_nn(Cube()) is None
    assert optax_loss(fnn.AbsoluteError()) is None


@pytest.mark.parametrize(
    ("optimizer", "has"),
    [
        (fnn.optim.Momentum(0.1, nesterov=True), True),
        (fnn.optim.Momentum(0.1, average=True), False),
        (fnn.optim.RMSProp(), True),
        (fnn.optim.AdaGrad(eps=0.0), True),
        (fnn.optim.AdaGrad(eps=0.1), False),
    ],
    ids=repr,
)
def test_optax_has_an_optimizer_or_computes_otherwise(optimizer, has):
    assert (optax_optimizer(optimizer) is not None) == has
