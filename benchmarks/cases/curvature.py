"""Products with the Hessian and the Gauss–Newton matrix, against the same by jax of plain nets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.case import Case, Net, Pair, Table, draw, labels
from benchmarks.cases import algorithms
from benchmarks.plain import best, plain, plain_losses
from benchmarks.plain.sequences import heads

QUERIES = 128  # of a chunk

Task = tuple[Net, Net, fnn.Loss[Any], Any, jax.Array]  # net, as it is written plainly, loss, x, t


@dataclass(frozen=True)
class Mapped(fnn.Attention):
    """Causal attention whose plain form makes the probabilities of a chunk of queries again."""


@plain.register
def _(net: Mapped, params, x, key):
    """lax.map over chunks of queries, each in jax.checkpoint."""
    q, k, v = (heads(x, w, net.n_heads) for w in (params.wq, params.wk, params.wv))
    n, t = x.shape[:2]
    chunks = q.reshape(n, t // QUERIES, QUERIES, *q.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def chunk(inputs):
        i, q = inputs
        s = jnp.einsum("bqhn,bkhn->bhqk", q, k) / q.shape[-1] ** 0.5
        first = jnp.arange(t) <= i * QUERIES + jnp.arange(QUERIES)[:, None]
        return jnp.einsum("bhqk,bkhn->bqhn", jax.nn.softmax(jnp.where(first, s, -jnp.inf)), v)

    o = jax.lax.map(chunk, (jnp.arange(t // QUERIES), chunks))
    return o.swapaxes(0, 1).reshape(x.shape) @ params.wo


def pair(task: Task, *, gauss_newton: bool = False) -> Pair:
    """A product along one direction."""
    net, written, loss, x, target = task
    product = fnn.curvature.gauss_newton_product if gauss_newton else fnn.curvature.hessian_product
    params = net.init(jax.random.key(0))
    v = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)

    def hand(params, v, x, target):
        return product(net, loss, params, x, target, v)

    def forward(params, x):
        return plain(written, params, x, None)

    def value(y, target):
        return plain_losses(loss, y, target).mean()

    def hessian(params, v, x, target):
        slopes = jax.grad(lambda params: value(forward(params, x), target))
        return jax.jvp(slopes, (params,), (v,))[1]

    def of_gauss_newton(params, v, x, target):
        y, u = jax.jvp(lambda params: forward(params, x), (params,), (v,))
        c = jax.jvp(jax.grad(value), (y, target), (u, zeros(target)))[1]
        return jax.vjp(lambda params: forward(params, x), params)[1](c)[0]

    return Pair(hand, of_gauss_newton if gauss_newton else hessian, (params, v, x, target))


def zeros(target: jax.Array) -> Any:
    """The tangent of what does not move; labels have none."""
    if jnp.issubdtype(target.dtype, jnp.integer):
        return np.zeros(target.shape, jax.dtypes.float0)
    return jnp.zeros_like(target)


def perceptron(width: int = 512, depth: int = 6, batch: int = 256) -> Task:
    """A deep multilayer perceptron."""
    net = fnn.mlp([width] * depth + [10], fnn.Tanh())
    return net, net, fnn.SoftmaxCrossEntropy(), draw(batch, width), labels(batch, classes=10)


def attention(t: int, batch: int, kind: str) -> Task:
    """x s + b, then 4 heads of 64."""
    layer = fnn.Attention(256, 4)
    written = {"einsum": layer, "jax.nn": best(layer), "chunks": Mapped(**vars(layer))}[kind]
    net, plainly = (fnn.Serial(fnn.Affine(256), f) for f in (layer, written))
    x, target = draw(batch, t, 256), draw(batch, t, 256, seed=3)
    return net, plainly, fnn.SquaredError(), x, target


def language() -> Task:
    """A small GPT."""
    tokens, net = labels(4, 129, classes=256), fnn.gpt(256, 128, 4, 2, 128)
    loss = fnn.LinearSoftmaxCrossEntropy()
    return net, best(net), loss, tokens[:, :-1], tokens[:, 1:]


def of(task: Callable[[], algorithms.Task]) -> Task:
    """The same net and data, with the loss that its labels are for."""
    net, x, target = task()
    return net, net, fnn.SoftmaxCrossEntropy(), x, target


TASKS: dict[str, Callable[[], Task]] = {
    "MLP 6 × 512, batch 256": perceptron,
    "CNN, digits, batch 64": lambda: of(algorithms.images),
    "LSTM 64 → 128, 32 × T 64": lambda: of(algorithms.reader),
    "GPT, 2 blocks of 128, 4 × T 128": language,
    "attention, T 1024, against jax.nn": lambda: attention(1024, 2, "jax.nn"),
    "attention, T 1024, against chunks in jax.checkpoint": lambda: attention(1024, 2, "chunks"),
    "attention, T 2048, against chunks in jax.checkpoint": lambda: attention(2048, 1, "chunks"),
}


def row(kind: str, name: str, *, gauss_newton: bool) -> Case:
    """One product of one net."""
    return Case(f"{kind}, {name}", lambda: pair(TASKS[name](), gauss_newton=gauss_newton))


CURVATURE = Table(
    "Curvature",
    "Products with a direction: the Hessian against jax.jvp of jax.grad of the plain net, the "
    "Gauss–Newton matrix against jax.jvp and jax.vjp of it.",
    (
        *[row("Hessian", name, gauss_newton=False) for name in TASKS],
        *[row("Gauss–Newton", name, gauss_newton=True) for name in TASKS],
    ),
)
