"""The checker for layers and losses: `fnn.check`."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fnn.checking.explain.verdict import judge
from fnn.checking.functions import check_asked
from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.double import double
from fnn.checking.measure.problem import UNOPTIMIZED, Problem, Tree
from fnn.checking.report import Report, in_words
from fnn.composite import Composite, mixes
from fnn.layer import Layer
from fnn.logits import Logits
from fnn.loss import Loss
from fnn.sequence import state_of, value


def check(
    subject: Layer[Any, Any] | Loss[Any],
    x: Tree,
    target: Array | None = None,
    *,
    params: Tree | None = None,
    key: Array | None = None,
    seed: int = 0,
    quick: bool = False,
) -> Report:
    """Check the hand-written backward of a layer or a loss.

    Args:
        subject: a layer or a loss, the library's or one's own.
        x: its input, [B, ...]; for a loss its predictions y. Choose sizes that differ from
            each other, and values inside the domain.
        target: of a loss.
        params: of a layer; default: layer.init of a key made from seed.
        key: for layers that draw at random (Dropout).
        seed: of the generated cases.
        quick: try fewer cases, in about a third of the time; the report names the others.

    Raises:
        ValueError: for gradients of another tree or other shapes, a forward that is not
            finite or not deterministic.
        TypeError: for what is neither layer nor loss, for inputs without a derivative.
    """
    check_asked("check", seed)
    with double():
        if isinstance(subject, Loss):
            return check_loss(subject, x, target, seed, quick=quick)
        if not isinstance(subject, Layer):
            remedy = f"; build it: {subject.__name__}(...)" if isinstance(subject, type) else ""
            remedy = remedy or "; check_vjp and check_gradient take functions"
            raise TypeError(f"check takes a layer or a loss, got {subject!r:.60}{remedy}.")
        if params is None:
            params = initial(subject, jax.random.key(seed))
        return in_words(judge(layer_problem(subject, params, x, key), seed, quick=quick))


def initial(layer: Layer[Any, Any], key: Array) -> Tree:
    """layer.init(key), in one program rather than many, if it can be."""
    try:
        return jax.jit(layer.init, compiler_options=UNOPTIMIZED)(key)
    except Exception:  # an init of one's own may need the values of its key
        return layer.init(key)


def check_loss(loss: Loss[Any], y: Tree, target: Any, seed: int, *, quick: bool) -> Report:
    """The report on backward and, where a loss has its own, on value_and_backward."""
    if target is None:
        raise TypeError(f"check: {loss!r} needs a target; check(loss, y, target).")
    report = in_words(judge(loss_problem(loss, y, target), seed, quick=quick))
    if type(loss).value_and_backward is Loss.value_and_backward or not report:
        return report
    return in_words(judge(loss_problem(loss, y, target, one_pass=True), seed, quick=quick))


def layer_problem(layer: Layer[Any, Any], params: Tree, x: Tree, key: Any) -> Problem:
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
        batched=inputs if rows_first(layer, x, key) else (),
        inputs=inputs,
        mixes_examples=mixes(layer) or factored(f, params, x),
        widens=plain and not mixes(layer),
        single=not isinstance(layer, Composite),
        square=partial(square_layer, layer, x, key),
    )


def rows_first(layer: Layer[Any, Any], x: Tree, key: Any) -> bool:
    """Whether examples can be cut from x: no draw depends on its shape, no state is stacked."""
    return key is None and not (isinstance(layer, Composite) and jax.tree.leaves(state_of(x)))


def square_layer(layer: Layer[Any, Any], x: Tree, key: Any) -> Problem | None:
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


def factored(f: Callable[..., Tree], params: Tree, x: Tree) -> bool:
    """Whether y is Logits: its w is not one example's own."""
    try:
        return isinstance(value(jax.eval_shape(f, params, x)), Logits)
    except Exception:  # what is wrong with f is said elsewhere
        return False


def loss_problem(loss: Loss[Any], y: Tree, target: Any, *, one_pass: bool = False) -> Problem:
    """The problem of a loss in y: by forward and backward, or by both in one pass."""

    def f(y, target):
        return loss.forward(y, target)[0]

    def backward(y, target, dl):
        if one_pass:
            return loss.value_and_backward(y, target, dl)[1]
        return loss.backward(loss.forward(y, target)[1], dl)

    n_y, n = len(jax.tree.leaves(y)), len(jax.tree.leaves((y, target)))
    shared = (1,) if isinstance(y, Logits) else ()  # w, all examples' own
    return from_vjp(
        f"{loss!r}.value_and_backward" if one_pass else repr(loss),
        f,
        backward,
        (y, target),
        ("y", "target"),
        differentiated=1,
        batched=tuple(i for i in range(n) if i not in shared),
        inputs=tuple(range(n_y)),
        mixes_examples=loss.mixes_examples,
        single=True,
    )
