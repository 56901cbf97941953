"""Dense layers, activations and containers as one writes them for autodiff."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

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
    parts, keys = net.parts(params), net.keys(key)
    for name, layer in net.children.items():
        x = plain(layer, parts[name], x, keys[name])
    return x


@plain.register
def _(net: fnn.TransformerBlock, params, x, key):
    """x + attention(norm x), then + feed_forward(norm)."""
    parts, keys = net.parts(params), net.keys(key)
    for names in net.branches():
        z = x
        for name in names:
            z = plain(net[name], parts[name], z, keys[name])
        x = x + z
    return x


@plain.register
def _(net: fnn.Residual, params, x, key):
    """x + f(x)."""
    return x + plain(net.inner, params, x, key)


@plain.register
def _(net: fnn.Recompute, params, x, key):
    """f(x), with everything between kept."""
    return plain(net.inner, params, x, key)


@plain.register
def _(net: fnn.Cast, params, x, key):
    """f in another dtype; integers stay what they are."""

    def cast(a):
        return a.astype(net.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a

    p, x = jax.tree.map(cast, (params, x))
    return plain(net.inner, p, x, key)


@plain.register
def _(net: fnn.Repeat, params, x, key):
    """lax.scan over the stacked params."""
    keys = None if key is None else jax.random.split(key, net.n)

    def body(x, inputs):
        p, k = inputs
        return plain(net.inner, p, x, k), None

    return jax.lax.scan(body, x, (params, keys))[0]
