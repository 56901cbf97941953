"""The same nets and losses as one writes them for autodiff.

`plain(net, params, x, key)` is the y of net.forward without caches, in the idiom of the
field: x @ w + b, jax.nn, optax's losses, lax.scan for Repeat. It is what the hand-written
gradients are measured against. A layer without an entry here is run by its own forward.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

import fnn

ACTIVATIONS: dict[type, Any] = {
    fnn.Sigmoid: lambda f, x: jax.nn.sigmoid(x),
    fnn.Tanh: lambda f, x: jnp.tanh(x),
    fnn.ReLU: lambda f, x: jax.nn.relu(x),
    fnn.LeakyReLU: lambda f, x: jax.nn.leaky_relu(x, f.slope),
    fnn.ELU: lambda f, x: jax.nn.elu(x, f.alpha),
    fnn.SELU: lambda f, x: jax.nn.selu(x),
    fnn.Softplus: lambda f, x: jax.nn.softplus(x),
    fnn.Softsign: lambda f, x: jax.nn.soft_sign(x),
    fnn.GELU: lambda f, x: jax.nn.gelu(x, approximate=f.approximate),
    fnn.SiLU: lambda f, x: jax.nn.silu(x),
    fnn.Mish: lambda f, x: jax.nn.mish(x),
    fnn.HardTanh: lambda f, x: jax.nn.hard_tanh(x),
    fnn.Softmax: lambda f, x: jax.nn.softmax(x),
    fnn.LogSoftmax: lambda f, x: jax.nn.log_softmax(x),
}


@functools.singledispatch
def plain(net: Any, params: Any, x: jax.Array, key: Any) -> jax.Array:
    """y, by jax.nn where it has the function, else by the layer's own forward."""
    if type(net) in ACTIVATIONS:
        return ACTIVATIONS[type(net)](net, x)
    return net.forward(params, x, key=key)[0]


@plain.register
def _(net: fnn.Dense, params, x, key):
    """x w + b."""
    return x @ params.w + params.b


@plain.register
def _(net: fnn.Serial, params, x, key):
    """One layer after another, with the keys that Serial gives them."""
    n = len(net.layers)
    keys = [None] * n if key is None else jax.random.split(key, n)
    for layer, p, k in zip(net.layers, params, keys, strict=True):
        x = plain(layer, p, x, k)
    return x


@plain.register
def _(net: fnn.Residual, params, x, key):
    """x + f(x)."""
    return x + plain(net.inner, params[0], x, key)


@plain.register
def _(net: fnn.Recompute, params, x, key):
    """f(x), with everything between kept."""
    return plain(net.inner, params[0], x, key)


@plain.register
def _(net: fnn.Cast, params, x, key):
    """f in another dtype."""
    p, x = jax.tree.map(lambda a: a.astype(net.dtype), (params[0], x))
    return plain(net.inner, p, x, key)


@plain.register
def _(net: fnn.Repeat, params, x, key):
    """lax.scan over the stacked params."""
    keys = None if key is None else jax.random.split(key, net.n)

    def body(x, inputs):
        p, k = inputs
        return plain(net.inner, p, x, k), None

    return jax.lax.scan(body, x, (params[0], keys))[0]


@functools.singledispatch
def plain_losses(loss: Any, y: jax.Array, target: jax.Array) -> jax.Array:
    """One number per row of y, by the loss's own forward."""
    return loss.forward(y, target)[0]


@plain_losses.register
def _(loss: fnn.SquaredError, y, target):
    """Scaled sum of squares."""
    return loss.scale * ((y - target) ** 2).sum(-1)


@plain_losses.register
def _(loss: fnn.AbsoluteError, y, target):
    """Sum of magnitudes."""
    return jnp.abs(y - target).sum(-1)


@plain_losses.register
def _(loss: fnn.Huber, y, target):
    """optax."""
    return optax.huber_loss(y, target, delta=loss.delta).sum(-1)


@plain_losses.register
def _(loss: fnn.Hinge, y, target):
    """optax."""
    return optax.hinge_loss(y, target).sum(-1)


@plain_losses.register
def _(loss: fnn.BinaryCrossEntropy, y, target):
    """As in a textbook."""
    return -(target * jnp.log(y) + (1 - target) * jnp.log1p(-y)).sum(-1)


@plain_losses.register
def _(loss: fnn.SigmoidBinaryCrossEntropy, y, target):
    """optax."""
    return optax.sigmoid_binary_cross_entropy(y, target).sum(-1)


@plain_losses.register
def _(loss: fnn.CrossEntropy, y, target):
    """As in a textbook, for labels or rows of probabilities."""
    if target.ndim == y.ndim:
        return -(target * jnp.log(y)).sum(-1)
    return -jnp.log(jnp.take_along_axis(y, target[..., None], -1)[..., 0])


@plain_losses.register
def _(loss: fnn.SoftmaxCrossEntropy, y, target):
    """optax, in at least float32; smoothed labels as rows."""
    y = y if y.dtype.itemsize >= 4 else y.astype(jnp.float32)
    if target.ndim < y.ndim and loss.label_smoothing == 0:
        return optax.softmax_cross_entropy_with_integer_labels(y, target)
    rows = jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype) if target.ndim < y.ndim else target
    return optax.softmax_cross_entropy(y, optax.smooth_labels(rows, loss.label_smoothing))
