"""The nets that the printed formulas speak of.

    z_l = a_{l−1} w_l + b_l        a_l = g_l(z_l)        a_0 = x        L = loss(a_L, y)

`plain` is the forward pass of the texts, in jax.numpy alone: what jax.grad differentiates.
`tape` is one forward and one backward pass by fnn's own blocks: what printed formulas take
their ingredients from, and what their corrections are. Both can put given values in the
place of any quantities, {"w3": ...}, so that L becomes a function of them.

Rows are examples. Texts that write columns, z = W a + b, are read with w = Wᵀ.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

Array = jax.Array
Given = dict[str, Any]  # "w3" → w_3, and so with b, z and a; "e3" → what is added to z_3


class Net(NamedTuple):
    """Layers, data, and a loss of their mean; or a stack of such nets, with one more axis."""

    g: tuple[fnn.Layer[Any, Any], ...]  # g_1, ..., g_L
    loss: fnn.Loss[Any]
    w: Sequence[Any]  # w_1, ..., w_L, each [n_in, n_out]
    b: Sequence[Any]  # b_1, ..., b_L, each [n_out]
    x: Any  # [N, n_0]
    y: Any  # [N, n_L]

    @property
    def stacked(self) -> bool:
        """Whether these are several nets."""
        return self.x.ndim == 3

    def __str__(self) -> str:
        """The sizes, in words."""
        widths = "-".join(str(n) for n in (self.x.shape[-1], *(b.shape[-1] for b in self.b)))
        rows = f"{self.x.shape[-2]} sample{'s' * (self.x.shape[-2] > 1)}"
        stack = f"{self.x.shape[0]} nets of " if self.stacked else ""
        return f"{stack}{rows}, {widths}"


class Tape(NamedTuple):
    """Every quantity of one net and its gradient; layers count from 1, and a[0] is x."""

    w: list[Any]
    b: list[Any]
    z: list[Any]
    a: list[Any]
    dw: list[Any]
    db: list[Any]
    dz: list[Any]  # the δ of the texts
    da: list[Any]
    cost: list[Any]  # [L]
    y: Any  # the target
    n: int  # samples

    @property
    def e(self) -> list[Any]:
        """What is added to z: nothing."""
        return [None, *(jnp.zeros_like(z) for z in self.z[1:])]

    @property
    def de(self) -> list[Any]:
        """The gradient in e is that in z."""
        return self.dz


PLAIN: dict[type, Callable[[Array], Array]] = {
    fnn.Identity: lambda z: z,
    fnn.Sigmoid: lambda z: 1 / (1 + jnp.exp(-z)),
    fnn.Tanh: jnp.tanh,
    fnn.ReLU: lambda z: jnp.where(z > 0, z, 0),
    fnn.Softmax: lambda z: jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True),
}


def cost(loss: fnn.Loss[Any], a: Array, y: Any) -> Array:
    """The loss of the texts, averaged over the samples."""
    match loss:
        case fnn.SquaredError(scale):
            each = scale * (a - y) ** 2
        case fnn.AbsoluteError():
            each = abs(a - y)
        case fnn.BinaryCrossEntropy():
            each = -(y * jnp.log(a) + (1 - y) * jnp.log(1 - a))
        case fnn.CrossEntropy():
            each = -y * jnp.log(a)
        case _:
            raise TypeError(f"no plain form of {loss}")
    return each.sum() / len(a)


def draw(
    seed: int,
    sizes: Sequence[int],
    g: Sequence[fnn.Layer[Any, Any]],
    loss: fnn.Loss[Any],
    n: int,
    nets: int = 0,
    scale: float = 0.8,
) -> Net:
    """A net of these sizes on n random samples; `nets` of them, stacked, unless 0."""
    rng, stack = np.random.default_rng(seed), (nets,) * bool(nets)
    inputs, outputs = sizes[:-1], sizes[1:]
    w = [scale * rng.normal(size=(*stack, i, o)) for i, o in zip(inputs, outputs, strict=True)]
    b = [0.4 * rng.normal(size=(*stack, o)) for o in outputs]
    x, k = rng.normal(size=(*stack, n, sizes[0])), sizes[-1]
    match loss:
        case fnn.BinaryCrossEntropy():
            y = rng.integers(0, 2, size=(*stack, n, k)).astype(float)
        case fnn.CrossEntropy():
            y = np.eye(k)[rng.integers(0, k, size=(*stack, n))]
        case _:
            y = rng.uniform(size=(*stack, n, k))
    return Net(tuple(g), loss, w, b, x, y)


def placed(net: Net, given: Given) -> tuple[Net, Callable[[str, int, Any], Any]]:
    """The net in the dtype of what is given, and what puts that in its place."""
    dtype = jnp.result_type(*given.values()) if given else float
    net = jax.tree.map(lambda a: jnp.asarray(a, dtype), net)
    return net, lambda name, l, usual: given.get(f"{name}{l}", usual)


class Plain(NamedTuple):
    """The forward pass of the texts."""

    z: list[Any]
    a: list[Any]
    cost: list[Any]  # [L]


def plain(net: Net, given: Given) -> Plain:
    """z, a and L, in jax.numpy alone."""
    net, put = placed(net, given)
    z: list[Any] = [None]
    a: list[Any] = [put("a", 0, net.x)]
    for l, (g, w, b) in enumerate(zip(net.g, net.w, net.b, strict=True), 1):
        z.append(put("z", l, a[-1] @ put("w", l, w) + put("b", l, b) + put("e", l, 0)))
        a.append(put("a", l, PLAIN[type(g)](z[-1])))
    return Plain(z, a, [cost(net.loss, a[-1], net.y)])


def tape(net: Net, given: Given) -> Tape:
    """Every quantity and its gradient, by fnn's blocks."""
    net, put = placed(net, given)
    depth, n = len(net.g), net.x.shape[0]
    layers = [fnn.Dense(*w.shape) for w in net.w]
    empty: list[Any] = [None] * (depth + 1)
    w, b, z, a, dw, db, dz, da, affine, elementwise = (empty.copy() for _ in range(10))
    a[0] = put("a", 0, net.x)
    for l in range(1, depth + 1):
        w[l], b[l] = put("w", l, net.w[l - 1]), put("b", l, net.b[l - 1])
        out, affine[l] = layers[l - 1].forward(fnn.DenseParams(w[l], b[l]), a[l - 1])
        z[l] = put("z", l, out + put("e", l, 0))
        out, elementwise[l] = net.g[l - 1].forward((), z[l])
        a[l] = put("a", l, out)
    losses, cache = net.loss.forward(a[depth], net.y)
    da[depth] = net.loss.backward(cache, jnp.full_like(losses, 1 / n))
    for l in range(depth, 0, -1):
        params = fnn.DenseParams(w[l], b[l])
        _, dz[l] = net.g[l - 1].backward((), elementwise[l], da[l])
        (dw[l], db[l]), da[l - 1] = layers[l - 1].backward(params, affine[l], dz[l])
    return Tape(w, b, z, a, dw, db, dz, da, [losses.mean()], net.y, n)
