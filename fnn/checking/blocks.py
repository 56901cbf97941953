"""The checker for layers and losses: `fnn.check`."""

from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp

from fnn.checking.double import double
from fnn.checking.judge import judge
from fnn.checking.problem import Problem, from_vjp
from fnn.checking.report import Report
from fnn.composite import Composite
from fnn.layer import Layer
from fnn.loss import Loss
from fnn.records import Array, Key, PyTree


def check(
    block: Layer[Any, Any] | Loss[Any],
    x: PyTree,
    target: Array | None = None,
    *,
    params: PyTree | None = None,
    key: Key | None = None,
    seed: int = 0,
) -> Report:
    """Check the hand-written backward of a layer or a loss.

    Args:
        block: a layer or a loss, the library's or one's own.
        x: its input, [B, ...]; for a loss its predictions y. Choose sizes that differ from
            each other, and values inside the domain.
        target: of a loss.
        params: of a layer; default: block.init of a key made from seed.
        key: for layers that draw at random (Dropout).
        seed: of the generated cases.

    Raises:
        ValueError: for gradients of another tree or other shapes, a forward that is not
            finite or not deterministic.
        TypeError: for what is neither layer nor loss, for inputs without a derivative.
    """
    with double():
        if isinstance(block, Loss):
            return loss_report(block, x, target, seed)
        if not isinstance(block, Layer):
            remedy = f"; build it: {block.__name__}(...)" if isinstance(block, type) else ""
            remedy = remedy or "; check_vjp and check_gradient take functions"
            raise TypeError(f"check takes a layer or a loss, got {block!r:.60}{remedy}.")
        if params is None:
            params = block.init(jax.random.key(seed))
        return judge(layer_problem(block, params, x, key), seed)


def loss_report(loss: Loss[Any], y: Array, target: Any, seed: int) -> Report:
    """The report on backward and, where a loss has its own, on value_and_backward."""
    report = judge(loss_problem(loss, y, target, at_once=False), seed)
    if type(loss).value_and_backward is Loss.value_and_backward or not report:
        return report
    return judge(loss_problem(loss, y, target, at_once=True), seed)


def layer_problem(layer: Layer[Any, Any], params: PyTree, x: PyTree, key: Any) -> Problem:
    """The problem of a layer: y = f(params, x), and its backward."""

    def f(params, x):
        return layer.forward(params, x, key=key)[0]

    def backward(params, x, dy):
        _, cache = layer.forward(params, x, key=key)
        return layer.backward(params, cache, dy)

    n = len(jax.tree.leaves(params))
    inputs = tuple(range(n, n + len(jax.tree.leaves(x))))
    plain = len(inputs) == 1 and jnp.ndim(jax.tree.leaves(x)[0]) == 2
    return from_vjp(
        repr(layer),
        f,
        backward,
        (params, x),
        ("params", "x"),
        batched=inputs if key is None else (),  # a random draw depends on the shape
        inputs=inputs,
        mixes_examples=mixes(layer),
        widens=plain and not mixes(layer),
        single=not isinstance(layer, Composite),
        square=lambda: square_layer(layer, x, key),
    )


def square_layer(layer: Layer[Any, Any], x: PyTree, key: Any) -> Problem | None:
    """The problem of a layer all of whose sizes are 3, if it has sizes."""
    sizes = {f.name: 3 for f in fields(layer) if f.init and f.name.startswith("n_")}
    if not sizes or len(jax.tree.leaves(x)) != 1 or isinstance(layer, Composite):
        return None
    try:
        other = replace(layer, **sizes)
        x = jax.tree.map(lambda a: jnp.resize(a, (3,) * a.ndim), x)
        return layer_problem(other, other.init(jax.random.key(0)), x, key)
    except (TypeError, ValueError):  # not every layer can be square
        return None


def mixes(layer: Layer[Any, Any]) -> bool:
    """Whether a layer, or one inside it, makes rows of y depend on other rows of x."""
    inside = tuple(layer.children.values()) if isinstance(layer, Composite) else ()
    return layer.mixes_examples or any(map(mixes, inside))


def loss_problem(loss: Loss[Any], y: Array, target: Any, *, at_once: bool) -> Problem:
    """The problem of a loss in y: by forward and backward, or by both at once."""
    if target is None:
        raise TypeError(f"check: {loss!r} needs a target; check(loss, y, target).")

    def f(y, target):
        return loss.forward(y, target)[0]

    def backward(y, target, dl):
        if at_once:
            return loss.value_and_backward(y, target, dl)[1]
        return loss.backward(loss.forward(y, target)[1], dl)

    n_y, n = len(jax.tree.leaves(y)), len(jax.tree.leaves((y, target)))
    shared = loss.shared if n_y > 1 else ()
    return from_vjp(
        f"{loss!r}.value_and_backward" if at_once else repr(loss),
        f,
        backward,
        (y, target),
        ("y", "target"),
        moving=1,
        batched=tuple(i for i in range(n) if i not in shared),
        inputs=tuple(range(n_y)),
        single=True,
    )
