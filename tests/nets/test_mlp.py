"""Tests of fnn.nets.mlp."""

import jax
import numpy as np
import pytest
from contract import noise

from fnn.initializers import glorot_uniform, he_normal, zeros
from fnn.layers.activations import (
    ELU,
    GELU,
    SELU,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.prelu import PReLU
from fnn.layers.serial import Serial
from fnn.layers.softmax import Softmax
from fnn.nets.mlp import mlp


def test_forward_by_hand():
    net, x = mlp([3, 5, 4, 2], activation=Tanh(), output=Sigmoid()), noise(7, 3)
    params = net.init(jax.random.key(0))
    (w1, b1), _, (w2, b2), _, (w3, b3), _ = params
    z = np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3
    np.testing.assert_allclose(net.forward(params, x)[0], 1 / (1 + np.exp(-z)), rtol=1e-12)


def test_layers_by_default():
    assert mlp([4, 3, 2]) == Serial(Dense(4, 3, he_normal), ReLU(), Dense(3, 2, glorot_uniform))


def test_output_and_dropout_are_layers_where_they_do_something():
    net = mlp([4, 3, 2], activation=Tanh(), output=Softmax(), dropout=0.25)
    assert net == Serial(Dense(4, 3), Tanh(), Dropout(0.25), Dense(3, 2), Softmax())
    assert mlp([4, 2], output=Identity()) == Serial(Dense(4, 2))


def test_an_activation_that_is_the_identity_stays():
    assert mlp([4, 3, 2], Identity()) == Serial(Dense(4, 3), Identity(), Dense(3, 2))


@pytest.mark.parametrize(
    "activation", [ReLU(), LeakyReLU(), PReLU(), ELU(), GELU(), SiLU(), Mish()], ids=repr
)
def test_weights_in_front_of_a_rectifier_are_drawn_by_he(activation):
    assert mlp([4, 3, 2], activation).layers[0].w_init is he_normal
    assert mlp([4, 2], output=activation).layers[0].w_init is he_normal


@pytest.mark.parametrize("activation", [Tanh(), Sigmoid(), SELU(), Identity()], ids=repr)
def test_weights_elsewhere_are_drawn_by_glorot(activation):
    assert mlp([4, 3, 2], activation).layers[0].w_init is glorot_uniform


def test_w_init_draws_all_weights():
    params = mlp([4, 3, 2], w_init=zeros).init(jax.random.key(0))
    assert not any(np.any(a) for a in jax.tree.leaves(params))


def test_number_of_parameters():
    params = jax.eval_shape(mlp([784, 30, 10]).init, jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(params)) == 784 * 30 + 30 + 30 * 10 + 10


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([], ValueError, r"sizes must be n_0, \.\.\., n_L, at least two, got \[\]"),
        ([4], ValueError, r"sizes must be n_0, \.\.\., n_L, at least two, got \[4\]"),
        ([4, 0, 2], ValueError, r"sizes \[4, 0, 2\], layer 0: Dense\(.*must be at least 1"),
        ([4, 3, -1], ValueError, r"sizes \[4, 3, -1\], layer 1: Dense\(.*must be at least 1"),
        ([4, 2.5, 2], TypeError, r"sizes \[4, 2\.5, 2\], layer 0: Dense: n_out must be an int"),
        ([4, 3, True], TypeError, r"sizes \[4, 3, True\], layer 1: Dense: n_out must be a num"),
    ],
    ids=str,
)
def test_sizes_that_make_no_net_are_refused(sizes, error, message):
    with pytest.raises(error, match="^mlp: " + message):
        mlp(sizes)


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=r"^mlp, Dropout: rate must be (in \[0, 1\)|finite), got"):
        mlp([4, 3, 2], dropout=rate)


def test_class_in_place_of_a_layer_is_refused():
    with pytest.raises(TypeError, match=r"takes layers, got .*ReLU.*; build it: ReLU\(\.\.\.\)"):
        mlp([4, 3, 2], activation=ReLU)
