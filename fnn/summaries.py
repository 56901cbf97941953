"""The table of a net: every leaf with its output shape and number of parameters."""

from typing import Any

import jax

from fnn.arrays import as_input, check_arrays
from fnn.composite import Composite, Wrapper
from fnn.layer import Layer, check_layer_type
from fnn.layers.repeat import Repeat
from fnn.layers.shared import Shared, Uses
from fnn.records import PyTree, Static
from fnn.ruling import rule
from fnn.sequence import value


@rule
def described(layer, params, cache, dy):
    """Any leaf: itself, its params and y, as the shapes that jax.eval_shape makes of them."""
    _, dx = layer.backward(params, cache, dy)
    return (Static(layer), params, dy), dx


@described.register(Shared)
def _(layer, params, cache, dy):
    """Every use: its layer and y, and params at the one whose they are."""
    _, dx = layer.backward(params, cache, dy)
    rows = zip(layer.uses, dy.each, strict=True)
    return Uses(
        tuple((Static(u.layer), params if u.name == u.source else (), d) for u, d in rows)
    ), dx


def summary(net: Layer[Any, Any], params: PyTree, x: PyTree) -> str:
    """A table of path, layer, shape of y and number of parameters, for print.

    Nothing is computed: params and x may be arrays or `jax.ShapeDtypeStruct`s, as from
    jax.eval_shape(net.init, key). A block under Repeat stands once, as n × its shape.

    Raises:
        ValueError, TypeError: for params and x that do not fit the net, as its forward does.
    """
    check_layer_type("summary", net)
    check_arrays("summary", params)
    if not any(isinstance(a, jax.ShapeDtypeStruct) for a in jax.tree.leaves(x)):
        x = as_input("summary", x)

    def fold(params, x):
        y, cache = net.forward(params, x, key=jax.random.key(0))
        return described(net, params, cache, y)[0]

    rows = list(_rows(net, jax.eval_shape(fold, params, x), (), 0))
    total = sum(p.size for p in jax.tree.leaves(params))
    table = [("path", "layer", "y", "parameters"), *rows, ("", "total", "", f"{total:,}")]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines = [
        f"{p:<{widths[0]}}  {f:<{widths[1]}}  {y:<{widths[2]}}  {n:>{widths[3]}}".rstrip()
        for p, f, y, n in table
    ]
    rule_line = "─" * max(map(len, lines))
    return "\n".join([lines[0], rule_line, *lines[1:-1], rule_line, lines[-1]])


def _rows(net, result, path, depth):
    """One row per leaf; `depth` counts the Repeats around it."""
    if not isinstance(net, Composite):
        _, params, y = result
        shapes = [_shape(a, depth) for a in jax.tree.leaves(value(y))]
        size = sum(p.size for p in jax.tree.leaves(params))
        yield ".".join(map(str, path)), repr(net), ", ".join(shapes), f"{size:,}"
        return
    parts = net.parts(result)
    for name, layer in net.children.items():
        place = path if isinstance(net, Wrapper) else (*path, name)
        yield from _rows(layer, parts[name], place, depth + isinstance(net, Repeat))


def _shape(y, depth):
    """The shape of y, with the leading axes of Repeats set apart."""
    times = "".join(f"{n} × " for n in y.shape[:depth])
    return f"{times}{list(y.shape[depth:])}"
