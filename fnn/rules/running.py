"""Running averages of the statistics of BatchNorm, for test time.

At every step, with the batch's mean μ and its r = 1/√(σ² + ε) over N entries of a channel,

    w  ← m w + 1 − m                       0 before the first step
    a  ← a + (1 − m)/w (μ − a)             the average of μ
    s² ← s² + (1 − m)/w (v − s²)           that of v = N/(N − 1) (1/r² − ε)

After t steps w = 1 − mᵗ: step i has the weight (1 − m) mᵗ⁻ⁱ / w, and no value that the averages
began with has any. Begun with w = 1, a = 0 and s = 1 they are those of torch and Keras, where
early epochs are judged by the 0 and the 1. The variance is the unbiased one, as in the source
and in torch: σ² of a batch is (N − 1)/N of what it estimates. torch calls 1 − m momentum. As in
Adam, s is kept, not its square: it exists where the square is beyond the largest number.

Source: Ioffe & Szegedy (2015), arXiv:1502.03167, Algorithm 2 and the text above it; Kingma & Ba
(2015), arXiv:1412.6980, section 3, for what divides by 1 − mᵗ.
"""

from typing import Any

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.layer import Layer, check_layer_type
from fnn.layers.frozen import Held
from fnn.layers.normalization import BatchNorm, BatchNormAverages, unbiased_std
from fnn.numerics import like
from fnn.records import Array
from fnn.ruling import Given, companion, rule


def running_averages(net: Layer[Any, Any], momentum: float | Array = 0.9) -> Given:
    """The rule that gathers the statistics of every BatchNorm of `net`, before the first step.

    It stands behind the rule that computes gradients and reports nothing:

        rule = fnn.rules.backprop, fnn.rules.running_averages(net)
        plan = fnn.Plan(net, loss, optimizer, rule=rule)

    `fit(validation=…)`, `evaluate` and `predict` take the averages of such a plan from the State,
    where no calibration is given; `fnn.inference(net, params, averages=…)` takes
    state.companion[1].

    Args:
        net: as it is trained.
        momentum: m, the weight of what was; the averages are of the last 1 / (1 − m) steps.

    Raises:
        ValueError: for a known momentum outside [0, 1).
        NotImplementedError: for a layer that mixes examples and is no BatchNorm, by its path.
    """
    check_layer_type("running_averages", net)
    check_number("running_averages", "momentum", momentum, 0, 1)

    def begin(layer):
        if not isinstance(layer, BatchNorm):
            _refuse_others(layer)
            return ()
        none, m = jnp.zeros(layer.n), jnp.asarray(momentum, jnp.zeros(()).dtype)
        return BatchNormAverages(none, none, jnp.zeros_like(m), m)

    return averaged.given(companion(net, begin))


@rule(companion=True, learns=True)
def averaged(layer, params, cache, dy, own):
    """Any other layer: nothing to average."""
    _refuse_others(layer)
    _, dx = layer.backward(params, cache, dy)
    return ((), own), dx


@averaged.register(BatchNorm)
def _(layer, params, cache, dy, own):
    """a ← a + (1 − m)/w (μ − a),  s² ← s² + (1 − m)/w (v − s²),  w ← m w + 1 − m."""
    if not isinstance(own, BatchNormAverages):
        raise ValueError(f"{layer}: its averages are missing; begin with running_averages(net).")
    a, s, m = own.mean, own.std, own.momentum
    mean, std = like((cache.mean, unbiased_std(layer, cache)), (a, s))
    w = m * own.weight + (1 - m)
    a = a + (1 - m) / w * (mean - a)
    s = jnp.hypot(jnp.sqrt(m * own.weight / w) * s, jnp.sqrt((1 - m) / w) * std)
    _, dx = layer.backward(params, cache, dy)
    return ((), BatchNormAverages(a, s, w, m)), dx


@averaged.register(Held)
def _(layer, params, cache, dy, own):
    """Those of the layer that is frozen: statistics are no params."""
    return averaged.formula(layer.inner, params, cache, dy, own)


def _refuse_others(layer: Layer[Any, Any]) -> None:
    """Raise a NotImplementedError for a layer of whose statistics nothing is known here."""
    if layer.mixes_examples:
        raise NotImplementedError(
            f"{layer}: running averages are those of BatchNorm; give calibration=x instead."
        )
