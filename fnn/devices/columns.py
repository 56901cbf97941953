"""Which products of a net go in pairs, the first cut by columns and the second by rows.

    a = x w₁  →  φ(a)  →  y = φ(a) w₂          w₁ = [w₁¹ w₁² …],  w₂ = [w₂¹; w₂²; …]
    y = Σ_i φ(x w₁ⁱ) w₂ⁱ                        on device i, but for the sum

Pairs are q, k, v and the output of attention, by heads; both products of a GLU and the one behind;
two Dense layers with nothing but activations and dropout between. A head is cut by columns alone,
a table by rows, where they divide.

Source: Shoeybi et al. (2019), arXiv:1909.08053, section 3.
"""

from typing import Any, NamedTuple

from fnn.composite import Composite, Wrapper
from fnn.layer import Layer
from fnn.layers.activations import Elementwise
from fnn.layers.attention import Heads
from fnn.layers.cast import Cast
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import Embedding
from fnn.layers.glu import GLU
from fnn.layers.recompute import Recompute
from fnn.layers.serial import Serial
from fnn.layers.tied import Tied
from fnn.layers.unembed import Unembed

Path = tuple[str, ...]


class Place(NamedTuple):
    """The axis of an array that is cut, from its end, in units of so many entries."""

    axis: int
    what: str = "the columns"
    size: int = 1
    needed: bool = True  # that it can be cut, or the other half of the pair would not fit

    def units(self, n: int) -> int:
        """How many there are in n entries."""
        return n // self.size


def columns(net: Layer[Any, Any], path: Path = ()) -> dict[Path, Place]:
    """What is cut, by the paths of params."""
    found: dict[Path, Place] = {}
    route = list(route_of(net, path))
    pairs(route, found)
    for at, layer in route:
        if isinstance(layer, Composite):
            for name, child in layer.children.items():
                wrapped = isinstance(layer, Wrapper)
                found |= columns(child, at if wrapped else (*at, str(name)))
        else:
            found |= {(*at, name): place for name, place in alone(layer).items()}
    if isinstance(net, Tied):
        users = [(*path, *tie.user.split(".")) for tie in net.ties]
        found = {at: p for at, p in found.items() if not any(at[: len(u)] == u for u in users)}
    return found


def route_of(net: Layer[Any, Any], path: Path) -> Any:
    """The layers that follow one upon the other, with their paths; other composites as they are."""
    if isinstance(net, Serial | Tied):
        for name, child in net.children.items():
            yield from route_of(child, (*path, str(name)))
    elif isinstance(net, Recompute | Cast):
        yield from route_of(net.inner, path)
    else:
        yield path, net


def pairs(route: list[tuple[Path, Layer[Any, Any]]], found: dict[Path, Place]) -> None:
    """Note all pairs of Dense layers, first to last, every layer in one of them."""
    first = None
    for path, layer in route:
        if isinstance(layer, Dense) and first is not None:
            found |= {(*first, "w"): Place(-1), (*first, "b"): Place(-1)}
            found |= {(*path, "w"): Place(-2, "the rows")}
            first = None
        elif isinstance(layer, Dense):
            first = path
        elif not isinstance(layer, Elementwise | Dropout):
            first = None


def alone(layer: Layer[Any, Any]) -> dict[str, Place]:
    """What is cut of one layer, by the names of its params."""
    if isinstance(layer, Heads):
        d = layer.n // layer.n_heads
        q, kv = Place(-1, "the heads", d), Place(-1, "the key heads", d)
        found = {"wq": q, "bq": q, "wk": kv, "bk": kv, "wv": kv, "bv": kv}
        return found | {"wo": q._replace(axis=-2), "r": Place(-2, "the heads")}
    if isinstance(layer, GLU):
        return {"wg": Place(-1), "wu": Place(-1), "wd": Place(-2, "the rows")}
    if type(layer) is Embedding:
        return {"table": Place(-2, needed=False)}
    return {"w": Place(-1, needed=False)} if isinstance(layer, Unembed) else {}
