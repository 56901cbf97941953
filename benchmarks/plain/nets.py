"""Dense layers, activations and containers as one writes them for autodiff."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.blocks import jax_nn
from fnn.layers.activations import Elementwise
from fnn.layers.softmax import OfRows
from fnn.sequence import renewed, value


@functools.singledispatch
def plain(net: Any, params: Any, x: Any, key: Any) -> Any:
    """y, by the layer's own forward."""
    return net.forward(params, x, key=key)[0]


@plain.register(Elementwise)
@plain.register(OfRows)
def _(net, params, x, key):
    """jax.nn where it has the function, else the layer's own formula."""
    twin = jax_nn(net)
    return twin(x) if twin else net.forward(params, x, key=key)[0]


@plain.register
def _(net: fnn.Dense, params, x, key):
    """x w + b."""
    y = x @ params.w
    return y if params.b is None else y + params.b


@plain.register
def _(net: fnn.WeightNorm, params, x, key):
    """The inner layer with g v/‖v‖ for w."""
    made = {}
    for name, g in params.scale.items():
        v = getattr(params.inner, name)
        made[name] = g * v / jnp.sqrt((v**2).sum(tuple(range(v.ndim - 1))))
    return plain(net.inner, params.inner._replace(**made), x, key)


@plain.register
def _(net: fnn.SpectralNorm, params, x, key):
    """The inner layer with v/σ for w, σ by power iteration."""
    made = {}
    for name in type(params).weights:
        v = getattr(params, name).reshape(-1, getattr(params, name).shape[-1])
        u = jnp.cos(jnp.arange(1.0, v.shape[1] + 1)).astype(v.dtype)
        for _ in range(net.steps):
            u = v.T @ (v @ u)
            u = u / jnp.linalg.norm(u)
        made[name] = getattr(params, name) / jnp.linalg.norm(v @ u)
    return plain(net.inner, params._replace(**made), x, key)


@plain.register
def _(net: fnn.PReLU, params, x, key):
    """x, and a x where that is negative."""
    return jnp.where(x >= 0, x, params.slope * x)


@plain.register
def _(net: fnn.Gaussian, params, x, key):
    """m + ε e^s/2."""
    m, s = jnp.split(x, 2, -1)
    return m + jnp.exp(s / 2) * jax.random.normal(key, m.shape).astype(x.dtype)


@plain.register
def _(net: fnn.GaussianMean, params, x, key):
    """m."""
    return jnp.split(x, 2, -1)[0]


@plain.register
def _(net: fnn.Serial, params, x, key):
    """One layer after another, with the keys that Serial gives them."""
    parts: dict[Any, Any] = net.parts(params)
    keys = net.keys(key)
    for name, layer in net.children.items():
        x = of_steps(layer, parts[name], x, keys[name])
    return x


def of_steps(net: Any, params: Any, x: Any, key: Any) -> Any:
    """plain of what there is at the steps of a Sequence, but for what looks at its memory."""
    if isinstance(x, fnn.Sequence) and not isinstance(net, fnn.Composite | fnn.CrossAttention):
        return x.with_fields(x=plain(net, params, x.x, key))
    return plain(net, params, x, key)


@plain.register
def _(net: fnn.TransformerBlock, params, x, key):
    """x + attention(norm x), then + feed_forward(norm)."""
    parts, keys = net.parts(params), net.keys(key)
    for names in net.branches():
        z = x
        for name in names:
            z = of_steps(net[name], parts[name], z, keys[name])
        x = fnn.lift(jnp.add, x, z)
    return x


@plain.register
def _(net: fnn.EncoderDecoder, params, x, key):
    """The decoder, with what the encoder makes of the source in place of it."""
    parts, keys = net.parts(params), net.keys(key)
    z = plain(net.encoder, parts["encoder"], x.memory, keys["encoder"])
    return value(plain(net.decoder, parts["decoder"], x.with_fields(memory=z), keys["decoder"]))


@plain.register
def _(net: fnn.Residual, params, x, key):
    """x + f(x)."""
    return x + plain(net.inner, params, x, key)


@plain.register
def _(net: fnn.Skip, params, x, key):
    """x and f(x), side by side."""
    return jnp.concatenate([x, plain(net.inner, params, x, key)], -1)


@plain.register
def _(net: fnn.Parallel, params, x, key):
    """Every layer of x, with the keys that Parallel gives them; all, side by side, or the sum."""
    parts: dict[Any, Any] = net.parts(params)
    keys = net.keys(key)
    ys = [plain(layer, parts[name], x, keys[name]) for name, layer in net.children.items()]
    if net.join is None:
        return dict(zip(net.names, ys, strict=True)) if net.names else tuple(ys)
    return functools.reduce(jnp.add, ys) if net.join == "sum" else jnp.concatenate(ys, -1)


@plain.register
def _(net: fnn.Tied, params, x, key):
    """The net with every layer's params, made of those that there are."""
    return plain(net.net, net.untied(params), x, key)


@plain.register
def _(net: fnn.Autodiff, params, x, key):
    """f itself."""
    return net.call(params, x, key)


@plain.register
def _(net: fnn.Recompute, params, x, key):
    """f(x), with everything between kept."""
    return plain(net.inner, params, x, key)


@plain.register
def _(net: fnn.Frozen, params, x, key):
    """f of params without a derivative."""
    return plain(net.inner, jax.lax.stop_gradient(params.inner), x, key)


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

    def body(a, inputs):
        p, k = inputs
        return value(plain(net.inner, p, renewed(x, x=a) if lifted else a, k)), None

    lifted = isinstance(x, fnn.Sequence)  # whose memory is the same in every round
    y, _ = jax.lax.scan(body, value(x), (params, keys))
    return renewed(x, x=y) if lifted else y
