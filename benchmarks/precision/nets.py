"""What half precision costs: loss and gradient against the same in float64.

The truth is jax.value_and_grad of the plain net in float64. Compared with it are float32
and `Cast(net, "bfloat16")`, float32 masters and bfloat16 compute, each hand-written and by
autodiff of the plain net under the same cast.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.case import draw, labels
from benchmarks.cases.nets import classifier, cnn
from benchmarks.plain import plain, plain_losses
from fnn.errors import dotted

Net = fnn.Layer[Any, Any]
WAYS = ("float32", "float32, autodiff", "bfloat16", "bfloat16, autodiff")


class Task(NamedTuple):
    """A net with its loss and data."""

    name: str
    net: Net
    loss: fnn.Loss[Any]
    x: jax.Array
    target: jax.Array


class Error(NamedTuple):
    """How far one way is from float64, relative."""

    net: str
    way: str
    loss: float
    gradient: float  # ‖g − g64‖ / ‖g64‖ of all leaves together
    worst: float  # the same of the leaf where it is largest
    leaf: str


def images() -> Task:
    """The convolutional net."""
    x, target = draw(32, 8, 8, 1), labels(32, classes=10)
    return Task("CNN, 8 × 8, batch 32", cnn(16), fnn.SoftmaxCrossEntropy(), x, target)


def series() -> Task:
    """The recurrent classifier."""
    x, target = draw(16, 64, 16), labels(16, classes=10)
    return Task("LSTM, T 64, batch 16", classifier(16, 32), fnn.SoftmaxCrossEntropy(), x, target)


def language() -> Task:
    """The language model."""
    x, net = labels(4, 64, classes=96), fnn.gpt(96, 64, 4, 4, 64)
    loss = fnn.LinearSoftmaxCrossEntropy()
    return Task("GPT, 4 blocks of 64, T 64, batch 4", net, loss, x, jnp.roll(x, -1, 1))


TASKS: tuple[Callable[[], Task], ...] = (images, series, language)


def precision(*, quick: bool = False) -> list[Error]:
    """Every way of every task."""
    return [error for task in (TASKS[:1] if quick else TASKS) for error in errors(task())]


def errors(task: Task) -> list[Error]:
    """One task, in all ways."""
    single = cast((task.net.init(jax.random.key(0)), task.x), jnp.float32)
    with jax.enable_x64(True):
        truth = on_host(by_autodiff(task.net, task, *cast(single, jnp.float64)))
    half, params, x = fnn.Cast(task.net, "bfloat16"), single[0], single[1]
    found = (
        by_hand(task.net, task, params, x),
        by_autodiff(task.net, task, params, x),
        by_hand(half, task, params, x),
        by_autodiff(half, task, params, x),
    )
    return [
        error(task, way, on_host(result), truth) for way, result in zip(WAYS, found, strict=True)
    ]


def by_hand(net: Net, task: Task, params: Any, x: jax.Array) -> Any:
    """Loss and gradient by fnn."""
    return jax.jit(fnn.value_and_grad)(net, task.loss, params, x, task.target)


def by_autodiff(net: Net, task: Task, params: Any, x: jax.Array) -> Any:
    """Loss and gradient of the plain net by jax."""

    def value(params):
        return plain_losses(task.loss, plain(net, params, x, None), task.target).mean()

    return jax.jit(jax.value_and_grad(value))(params)


def error(task: Task, way: str, result: Any, truth: Any) -> Error:
    """Relative differences of loss, of the whole gradient, of the worst leaf."""
    (loss, grads), (loss64, grads64) = result, truth
    leaves = jax.tree_util.tree_flatten_with_path(grads64)[0]
    others = jax.tree.leaves(grads)
    squares = [
        (float(((a - b) ** 2).sum()), float((b**2).sum()), path)
        for a, (path, b) in zip(others, leaves, strict=True)
    ]
    whole = np.sqrt(sum(d for d, _, _ in squares) / sum(s for _, s, _ in squares))
    worst, leaf = max((np.sqrt(d / s), name(task.net, path)) for d, s, path in squares if s)
    off = abs(float(loss) - float(loss64)) / abs(float(loss64))
    return Error(task.name, way, off, float(whole), float(worst), leaf)


def name(net: Any, path: tuple[Any, ...]) -> str:
    """A leaf of params by its place and the layer that it belongs to."""
    places = iter(path)
    while isinstance(net, fnn.Composite):
        if isinstance(net, fnn.Wrapper):
            net = net.inner
        else:
            key: Any = next(places)
            net = net[getattr(key, "key", getattr(key, "idx", None))]
    return f"{dotted('params', path)} of {type(net).__name__}"


def cast(tree: Any, dtype: Any) -> Any:
    """Floating-point arrays in another dtype."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


def on_host(tree: Any) -> Any:
    """numpy arrays in float64."""
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
