"""Places inside a net: layers, and entries of trees nested like the net, by their paths.

    layer_at(net, "decoder.head")              the layer
    replaced(net, {"decoder.head": layer})     the net with another layer there
    entry(net, tree, "decoder.head")           what a tree has there
    placed(net, tree, {"decoder.head": p})     the tree with something else there

A path is that of error messages and summaries, in which Wrappers have no name. It leads through
those that hand params on as they are, Residual and Skip, and through nothing whose way back is
its own.
"""

from collections.abc import Mapping
from typing import Any

from fnn.composite import Composite, Wrapper
from fnn.layer import Layer
from fnn.records import PyTree
from fnn.ruling import Results


def layer_at(net: Any, path: str) -> Layer[Any, Any]:
    """The layer at this path, inside of what only hands on."""
    net = within(net)
    for name in path.split("."):
        if not isinstance(net, Composite):
            raise ValueError(f"Tied: no layer {path!r}: {net} has none inside.")
        if isinstance(net, Wrapper) or type(net).backward is not Composite.backward:
            raise TypeError(
                f"Tied: {path!r} lies in a {type(net).__name__}, whose way back is its "
                "own; put that around Tied, or around a part without tied layers."
            )
        children = {str(n): f for n, f in net.children.items()}
        if name not in children:
            raise ValueError(f"Tied: no layer {path!r}; there are {', '.join(children)}.")
        net = within(children[name])
    return net


def within(layer: Any) -> Any:
    """The layer inside of the Wrappers that hand its params on."""
    return within(layer.inner) if isinstance(layer, Wrapper) and layer.hands_on else layer


def around(layer: Any, inner: Layer[Any, Any]) -> Layer[Any, Any]:
    """The same Wrappers around another layer."""
    if isinstance(layer, Wrapper) and layer.hands_on:
        return layer.with_children({"inner": around(layer.inner, inner)})
    return inner


def inside(name: Any, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries below this name, by the rest of their paths."""
    start = f"{name}."
    return {p.removeprefix(start): e for p, e in entries.items() if p.startswith(start)}


def replaced(net: Any, layers: Mapping[str, Layer[Any, Any]]) -> Composite[Any]:
    """The net with other layers at these paths."""
    bare = within(net)
    children: dict[Any, Any] = dict(bare.children)
    for name, layer in bare.children.items():
        if str(name) in layers:
            children[name] = around(layer, layers[str(name)])
        elif below := inside(name, layers):
            children[name] = replaced(layer, below)
    made: Any = around(net, bare.with_children(children))
    return made


def entry(net: Any, tree: PyTree, path: str) -> PyTree:
    """The entry of the layer at this path in a tree nested like the net."""
    net, (first, _, rest) = within(net), path.partition(".")
    name = next(n for n in net.children if str(n) == first)
    own = net.parts(tree)[name]
    return entry(net.children[name], own, rest) if rest else own


def placed(net: Any, tree: PyTree, entries: Mapping[str, PyTree]) -> PyTree:
    """The tree with other entries at these paths; of several rules, in each of its trees."""
    if isinstance(tree, Results):
        each = enumerate(tree.each)
        parts = [placed(net, t, {p: e.each[i] for p, e in entries.items()}) for i, t in each]
        return tree.of(parts)
    net = within(net)
    parts = net.parts(tree)
    for name, layer in net.children.items():
        if str(name) in entries:
            parts[name] = entries[str(name)]
        elif below := inside(name, entries):
            parts[name] = placed(layer, parts[name], below)
    return net.joined(parts)
