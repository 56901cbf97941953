"""The evaluation network: another net, not a flag.

Some layers do in training what they must not do at test time. `inference` replaces each
by its test-time form, in two steps:

1. `test_time`, open on the layer's type: (layer, params) → (layer′, params′), from
   the layer alone. Dropout → Identity, or Scale in the standard convention; Unembed → Dense.
2. Where a layer needs statistics of data (`needs_data`), a calibration batch x is sent
   forward once, and the open rule `calibrated` makes (layer′, params′) of every leaf's
   cache.

Equations: reg.dropout-standard, reg.dropout-inverted.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.errors import at
from fnn.layer import Composite, Layer, rule
from fnn.layers.activations import Identity
from fnn.layers.affine import Affine, AffineParams
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.normalization import BatchNorm
from fnn.layers.scale import Scale
from fnn.layers.unembed import Unembed
from fnn.types import PyTree


def inference(
    net: Layer[Any, Any], params: PyTree, x: PyTree | None = None
) -> tuple[Layer[Any, Any], PyTree]:
    """The net and params to evaluate with.

    Args:
        net: as it is trained.
        params: of the net.
        x: a calibration batch, for layers that mix the examples of a batch; other nets
            need none and ignore it.

    Raises:
        ValueError: if a layer needs x and there is none; it is named by its path.
    """
    net, params = test_time(net, params)
    if not needs_data(net):
        return net, params
    if x is None:
        raise ValueError(f"inference: {net} mixes examples; give a calibration batch x.")
    y, cache = net.forward(params, x)
    dy = jax.tree.map(jnp.zeros_like, y)
    result, _ = calibrated(net, params, cache, dy)
    return rebuilt(net, result)


@functools.singledispatch
def test_time(layer, params):
    """(layer′, params′) at test time; register a type to give it a form. Most have none."""
    return layer, params


@test_time.register(Composite)
def _(layer, params):
    """The same route over the children's forms."""
    parts = layer.parts(params)
    pairs = [test_time(f, p) for f, p in zip(layer.children, parts, strict=True)]
    layers, params = zip(*pairs, strict=True) if pairs else ((), ())
    return layer.with_children(layers), params


@test_time.register(Dropout)
def _(layer, params):
    """The mean of the training output: x, or (1 − rate) x."""
    return (Identity() if layer.inverted else Scale(1 - layer.rate)), params


@test_time.register(Unembed)
def _(layer, params):
    """The logits themselves, x w."""
    b = jnp.zeros(layer.n_vocab, params.w.dtype)
    return Dense(layer.n_in, layer.n_vocab, layer.w_init), DenseParams(params.w, b)


def needs_data(layer: Layer[Any, Any]) -> bool:
    """Whether a leaf mixes examples, so that its test-time form depends on data."""
    if isinstance(layer, Composite):
        return any(needs_data(f) for f in layer.children)
    return layer.mixes_examples


@rule
def calibrated(layer, params, cache, dy):
    """(layer′, params′) of a leaf, from the cache of a calibration batch.

    Register a layer type that mixes examples to give it a test-time form.
    """
    if layer.mixes_examples:
        raise NotImplementedError(f"{layer}: no test-time form is registered for its type.")
    _, dx = layer.backward(params, cache, dy)
    return (layer, params), dx


@calibrated.register(BatchNorm)
def _(layer, params, cache, dy):
    """y = x (r s) + (b − μ r s), with the statistics of the batch."""
    _, dx = layer.backward(params, cache, dy)
    scale = cache.r * params.scale
    b = params.b - cache.mean * scale
    dtype = params.scale.dtype
    return (Affine(layer.n), AffineParams(scale.astype(dtype), b.astype(dtype))), dx


def rebuilt(net, result):
    """Net and params from the rule's result, which has the nesting of the net."""
    if not isinstance(net, Composite):
        return result
    parts = []
    for i, (layer, part) in enumerate(zip(net.children, result, strict=True)):
        with at(f"layer {i}"):
            parts.append(rebuilt(layer, part))
    layers, params = zip(*parts, strict=True) if parts else ((), ())
    return net.with_children(layers), params
