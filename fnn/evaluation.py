"""The evaluation network: another net, not a flag.

Some layers do in training what they must not do at test time. `inference` replaces each
by its test-time form, in two steps:

1. `evaluation_form`, open on the layer's type: (layer, params) → (layer′, params′), from the
   layer alone. Dropout, DropPath → Identity, or Scale in the standard convention; Gaussian →
   GaussianMean; Unembed → Dense; Frozen, WeightNorm and SpectralNorm → the inner layer.
2. Where a layer needs statistics of data (`needs_data`), a calibration batch x is sent
   forward once, and the open rule `calibrated` makes (layer′, params′) of every leaf's
   cache. BatchNorm may have running averages instead, which training gathered: it takes them
   first of all, in its place in the net.

A composite is followed, whoever wrote it. A layer that holds layers without being a composite
cannot be: it is taken as it is where none of them has a form of its own, else refused.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arrays import as_input, check_arrays
from fnn.composite import Composite, inside
from fnn.layer import Layer, check_layer_type, layers_in
from fnn.layers.activations import Identity
from fnn.layers.affine import Centered, CenteredParams
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.frozen import Frozen
from fnn.layers.gaussian import Gaussian, GaussianMean
from fnn.layers.normalization import BatchNorm, BatchNormAverages
from fnn.layers.reparametrized import Reparametrized
from fnn.layers.scale import Scale
from fnn.layers.tied import Tied
from fnn.layers.unembed import Unembed
from fnn.numerics import concrete, like
from fnn.records import PyTree
from fnn.ruling import companion, rule


def inference(
    net: Layer[Any, Any],
    params: PyTree,
    x: PyTree | None = None,
    *,
    averages: PyTree | None = None,
) -> tuple[Layer[Any, Any], PyTree]:
    """The net and params to evaluate with.

    Args:
        net: as it is trained.
        params: of the net.
        x: a calibration batch, for layers that mix the examples of a batch; other nets
            need none and ignore it. BatchNorm takes its mean and its biased variance.
        averages: the running averages of every BatchNorm, nested like params: the companion of
            fnn.rules.running_averages in a State. Where x is given they are not looked at.

    Raises:
        ValueError: if a layer needs x and there is none, it is named by its path; for averages
            without an entry for a BatchNorm, and for those of no step yet.
        NotImplementedError: for a layer that hides another one which has to be replaced.
    """
    check_layer_type("inference", net)
    check_arrays("inference", params)
    x = as_input("inference", x)
    check_averages("inference", x, averages)
    return evaluated(net, params, x, averages)


def evaluated(
    net: Layer[Any, Any], params: PyTree, x: PyTree | None, averages: PyTree | None
) -> tuple[Layer[Any, Any], PyTree]:
    """`inference`, without checks."""
    if x is None and averages is not None:
        net, params = rebuilt(net, companion(net, averaged_form, params, averages))
    net, params = evaluation_form(net, params)
    if not needs_data(net):
        return net, params
    if x is None:
        _ask_for_data("inference", "a calibration batch x, or averages=…", net)
    y, cache = net.forward(params, x)
    dy = jax.tree.map(jnp.zeros_like, y)
    result, _ = calibrated(net, params, cache, dy)
    return rebuilt(net, result)


def averaged_form(layer: Layer[Any, Any], params: PyTree, own: PyTree) -> Any:
    """(layer′, params′) of a BatchNorm with its running averages; of another layer, itself."""
    if not isinstance(layer, BatchNorm):
        return layer, params
    if not isinstance(own, BatchNormAverages):
        raise ValueError(
            f"inference: {layer} has no entry in averages; give those of "
            "fnn.rules.running_averages(net) in a State of this net."
        )
    r = 1 / jnp.hypot(own.std, layer.eps**0.5)
    return centered_form(layer, params, own.mean, jnp.where(own.weight == 0, jnp.nan, r))


def centered_form(layer: BatchNorm, params: PyTree, mean: Any, r: Any) -> Any:
    """y = (x − c) (r s) + b + (c − μ) r s, c near μ."""
    s, b = like(tuple(params), (r, r))
    c = like(mean.astype(jnp.bfloat16), mean)  # which Cast leaves as it is
    found = CenteredParams(c, r * s, b + (c - mean) * r * s)
    return Centered(layer.n), like(found, CenteredParams(params.scale, *params))


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


@evaluation_form.register(Tied)
def _(layer, params):
    """The net, each layer with params of its own: nothing is tied where nothing is learned."""
    return evaluation_form(layer.net, layer.untied(params))


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


@evaluation_form.register(Gaussian)
def _(layer, params):
    """The mean of what it draws."""
    return GaussianMean(), params


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
    return layer.mixes_examples or any(map(changes, inside(layer)))


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


def check_calibration(
    owner: str, net: Layer[Any, Any], calibration: PyTree, averages: PyTree
) -> None:
    """Raise a ValueError where the evaluation of `net` needs data that are not there."""
    if calibration is None and averages is None:
        what = "calibration=x, inputs whose statistics it takes, or put "
        _ask_for_data(owner, what + "fnn.rules.running_averages(net) behind the plan's rule", net)


def check_averages(owner: str, calibration: PyTree, averages: PyTree) -> None:
    """Raise a ValueError for averages that serve, and are known to be of no step yet."""

    def is_entry(a):
        return isinstance(a, BatchNormAverages)

    for own in jax.tree.leaves(averages if calibration is None else None, is_leaf=is_entry):
        known = concrete(own.weight) if is_entry(own) else None
        if known is not None and (known == 0).any():
            raise ValueError(
                f"{owner}: the running averages are of no step yet; train first, or give a "
                "calibration batch."
            )


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
    """y = (x − μ) r s + b, with the statistics of the batch."""
    _, dx = layer.backward(params, cache, dy)
    return centered_form(layer, params, cache.mean, cache.r), dx


def rebuilt(net, result):
    """Net and params from the rule's result, which has the nesting of the net."""
    if isinstance(net, Tied):
        bare, params = rebuilt(net.bare(), result)
        return net.around(bare), params
    if not isinstance(net, Composite):
        return result
    parts = {name: rebuilt(net[name], part) for name, part in net.parts(result).items()}
    layers = {name: layer for name, (layer, _) in parts.items()}
    return net.with_children(layers), net.joined({name: p for name, (_, p) in parts.items()})
