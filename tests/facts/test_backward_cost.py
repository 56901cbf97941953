"""Facts about what the backward pass costs: every layer once, two products for one."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
import pytest
from contract import noise
from facts.small_nets import drawn

import fnn
from benchmarks.flops import products

N = 7
X, Y = np.asarray(noise(N, 5)), np.asarray(noise(N, 2, seed=2))


@dataclass(frozen=True)
class Told(fnn.Tanh):
    """Tanh that tells when it runs."""

    calls: ClassVar[list[str]] = []
    name: int = 0

    def forward(self, params, x, *, key=None):
        """Note it, then tanh."""
        self.calls.append(f"forward {self.name}")
        return super().forward(params, x)

    def backward(self, params, cache, dy):
        """Note it, then dy f′."""
        self.calls.append(f"backward {self.name}")
        return super().backward(params, cache, dy)


def test_every_layer_runs_once_forward_and_once_backward():
    Told.calls.clear()
    net = fnn.Serial(Told(name=1), Told(name=2), Told(name=3))
    jax.eval_shape(lambda x: fnn.value_and_grad(net, fnn.SquaredError(), ((),) * 3, x, X), X)
    steps = [
        f"{way} {i}" for way, order in (("forward", "123"), ("backward", "321")) for i in order
    ]
    assert Told.calls == steps


@pytest.mark.parametrize("sizes", [(5, 4, 3, 2), (5, 8, 8, 6, 2)], ids=str)
def test_backward_takes_two_products_for_each_of_forward(sizes):
    net, params = fnn.mlp(sizes, fnn.Tanh()), drawn(*sizes)[:-1]
    weights = sum(p.w.size for p in params if p)
    assert products(lambda p: net.forward(p, X)[0], params) == 2 * N * weights
    both = products(lambda p: fnn.value_and_grad(net, fnn.SquaredError(), p, X, Y), params)
    assert both == 6 * N * weights
