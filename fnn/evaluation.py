"""The evaluation network: another net, not a flag.

Some layers do in training what they must not do at test time. `inference` replaces each
by its test-time form, in two steps:

1. `evaluation_form`, open on the layer's type: (layer, params) → (layer′, params′), from the
   layer alone. Dropout, DropPath → Identity, or Scale in the standard convention; Unembed → Dense;
   Frozen, WeightNorm and SpectralNorm → the inner layer.
2. Where a layer needs statistics of data (`needs_data`), a calibration batch x is sent
   forward once, and the open rule `calibrated` makes (layer′, params′) of every leaf's
   cache.

A composite is followed, whoever wrote it. A layer that holds layers without being a composite
cannot be: it is taken as it is where none of them has a form of its own, else refused.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arrays import as_input, check_arrays
from fnn.composite import Composite, layers_in
from fnn.layer import Layer, check_layer_type
from fnn.layers.activations import Identity
from fnn.layers.affine import Centered, CenteredParams
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.frozen import Frozen
from fnn.layers.normalization import BatchNorm
from fnn.layers.reparametrized import Reparametrized
from fnn.layers.scale import Scale
from fnn.layers.unembed import Unembed
from fnn.numerics import like
from fnn.records import PyTree
from fnn.ruling import rule


def inference(
    net: Layer[Any, Any], params: PyTree, x: PyTree | None = None
) -> tuple[Layer[Any, Any], PyTree]:
    """The net and params to evaluate with.

    Args:
        net: as it is trained.
        params: of the net.
        x: a calibration batch, for layers that mix the examples of a batch; other nets
            need none and ignore it. BatchNorm takes its mean and its biased variance.

    Raises:
        ValueError: if a layer needs x and there is none; it is named by its path.
        NotImplementedError: for a layer that hides another one which has to be replaced.
    """
    check_layer_type("inference", net)
    check_arrays("inference", params)
    x = as_input("inference", x)
    net, params = evaluation_form(net, params)
    if not needs_data(net):
        return net, params
    if x is None:
        _ask_for_data("inference", "a calibration batch x", net)
    y, cache = net.forward(params, x)
    dy = jax.tree.map(jnp.zeros_like, y)
    result, _ = calibrated(net, params, cache, dy)
    return rebuilt(net, result)


@functools.singledispatch
def evaluation_form(layer, params):
    """(layer′, params′) at test time; register a type to give it a form. Most have none."""
    for held in layers_in(layer):
        if changes(held):
            raise NotImplementedError(
                f"inference: {layer} holds {held}, which is another layer at test time, and is not "
                "a Composite; make it one, or register its form with evaluation_form."
            )
    return layer, params


@evaluation_form.register(Composite)
def _(layer, params):
    """The same route over the children's forms."""
    parts, layers, entries = layer.parts(params), {}, {}
    for name, f in layer.children.items():
        with layer.path(name):
            layers[name], entries[name] = evaluation_form(f, parts[name])
    return layer.with_children(layers), layer.joined(entries)


@evaluation_form.register(Frozen)
def _(layer, params):
    """The inner layer: nothing is trained."""
    return evaluation_form(layer.inner, layer.parts(params)["inner"])


@evaluation_form.register(Reparametrized)
def _(layer, params):
    """The inner layer, its weights made once."""
    return evaluation_form(layer.inner, layer.weighted(params))


@evaluation_form.register(Dropout)
def _(layer, params):
    """The mean of the training output: x, or (1 − rate) x."""
    return (Identity() if layer.inverted else Scale(1 - layer.rate)), params


@evaluation_form.register(Unembed)
def _(layer, params):
    """The logits themselves, x w."""
    head = Dense(layer.n_in, layer.n_vocab, layer.w_init, bias=False)
    return head, DenseParams(params.w, None)


def changes(layer: Layer[Any, Any]) -> bool:
    """Whether a layer, or one inside it, is another at test time."""
    registered = evaluation_form.dispatch(type(layer))
    if registered not in (evaluation_form.dispatch(object), evaluation_form.dispatch(Composite)):
        return True
    inside = layer.children.values() if isinstance(layer, Composite) else layers_in(layer)
    return layer.mixes_examples or any(map(changes, inside))


def needs_data(layer: Layer[Any, Any]) -> bool:
    """Whether a leaf mixes examples, so that its test-time form depends on data."""
    if isinstance(layer, Composite):
        return any(map(needs_data, layer.children.values()))
    return layer.mixes_examples


def _ask_for_data(owner: str, what: str, layer: Layer[Any, Any]) -> None:
    """Raise a ValueError for the first leaf that mixes examples, by its path."""
    if isinstance(layer, Composite):
        for name, f in layer.children.items():
            with layer.path(name):
                _ask_for_data(owner, what, f)
    elif layer.mixes_examples:
        raise ValueError(f"{owner}: {layer} mixes examples; give {what}.")


def check_calibration(owner: str, net: Layer[Any, Any], calibration: PyTree) -> None:
    """Raise a ValueError where the evaluation of `net` needs data that are not there."""
    if calibration is None:
        _ask_for_data(owner, "calibration=x, inputs whose statistics it takes", net)


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
    """y = (x − c) (r s) + b + (c − μ) r s, c near μ, with the statistics of the batch."""
    _, dx = layer.backward(params, cache, dy)
    mean, r = cache.mean, cache.r
    s, b = like(tuple(params), (r, r))
    c = like(mean.astype(jnp.bfloat16), mean)  # which Cast leaves as it is
    found = CenteredParams(c, r * s, b + (c - mean) * r * s)
    return (Centered(layer.n), like(found, CenteredParams(params.scale, *params))), dx


def rebuilt(net, result):
    """Net and params from the rule's result, which has the nesting of the net."""
    if not isinstance(net, Composite):
        return result
    parts = {name: rebuilt(net[name], part) for name, part in net.parts(result).items()}
    layers = {name: layer for name, (layer, _) in parts.items()}
    return net.with_children(layers), net.joined({name: p for name, (_, p) in parts.items()})
