"""The table of a net: every leaf with its y, its number of parameters, and what it keeps."""

from typing import Any

import jax

from fnn.arrays import as_input, check_arrays
from fnn.caches import kept, savings, size_in_words
from fnn.composite import Composite, Wrapper
from fnn.layer import Layer, check_layer_type
from fnn.layers.repeat import Repeat
from fnn.layers.shared import Shared, Uses
from fnn.records import PyTree, Static, flag
from fnn.ruling import rule
from fnn.sequence import value

HEAD = ("path", "layer", "y", "parameters")


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


def summary(net: Layer[Any, Any], params: PyTree, x: PyTree, *, cache: bool = False) -> str:
    """A table of path, layer, shape of y and number of parameters, for print.

    Nothing is computed: params and x may be arrays or `jax.ShapeDtypeStruct`s, as from
    jax.eval_shape(net.init, key). A block under Repeat stands once, as n × its shape.

    Args:
        net: the net.
        params: of the net.
        x: what it is given, [B, ...].
        cache: whether to say what each layer keeps for its backward, of all copies under Repeat,
            and what Recompute or Cast around the repeated blocks would keep. A buffer that several
            layers keep counts for the first; x and params count for none. XLA may keep more: on
            CPU, outside of Repeat, what goes into a ReLU beside what comes out.

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
    if not flag("summary: cache", cache):
        table = [(dotted_path(path), *row) for path, *row in rows]
        return "\n".join(lines([HEAD, *table, ("", "total", "", f"{total:,}")]))
    now = kept(net, params, x)
    foot = "", "total", "", f"{total:,}", size_in_words(now.total)
    table = lines([(*HEAD, "cache"), *_kept_rows(rows, now), foot])
    return "\n".join([*table, *(f"with {note}" for note in savings(net, params, x, now))])


def _kept_rows(rows, now):
    """The rows with what each layer keeps; what Repeat and Recompute keep stands before theirs."""
    routes = {key: size for key, size in now.routes.items() if size}
    for path, *row in rows:
        for at, kind in [key for key in routes if key[0] == path[: len(key[0])]]:
            yield dotted_path(at), kind, "", "", size_in_words(routes.pop((at, kind)))
        yield dotted_path(path), *row, size_in_words(now.leaves[path])
    if now.rest:
        yield "", "other routes", "", "", size_in_words(now.rest)


def dotted_path(path: tuple[Any, ...]) -> str:
    """A path as errors write it."""
    return ".".join(map(str, path))


def lines(table: list[tuple[str, ...]]) -> list[str]:
    """The rows in columns, head and foot behind rules; text to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    sides = "<<<" + ">" * (len(widths) - 3)
    text = [
        "  ".join(f"{cell:{side}{n}}" for cell, side, n in zip(row, sides, widths, strict=True))
        for row in table
    ]
    text = [line.rstrip() for line in text]
    rule_line = "─" * max(map(len, text))
    return [text[0], rule_line, *text[1:-1], rule_line, text[-1]]


def _rows(net, result, path, depth):
    """One row per leaf; `depth` counts the Repeats around it."""
    if not isinstance(net, Composite):
        _, params, y = result
        shapes = [_shape(a, depth) for a in jax.tree.leaves(value(y))]
        size = sum(p.size for p in jax.tree.leaves(params))
        yield path, repr(net), ", ".join(shapes), f"{size:,}"
        return
    parts = net.parts(result)
    for name, layer in net.children.items():
        place = path if isinstance(net, Wrapper) else (*path, name)
        yield from _rows(layer, parts[name], place, depth + isinstance(net, Repeat))


def _shape(y, depth):
    """The shape of y, with the leading axes of Repeats set apart."""
    times = "".join(f"{n} × " for n in y.shape[:depth])
    return f"{times}{list(y.shape[depth:])}"
