"""What a forward keeps for its backward: the bytes of every layer's cache.

Every leaf puts its path around its cache, and so do Repeat and Recompute around what they keep
themselves. Where all that was kept has come out at the end of one forward under jax.eval_shape, an
array is its tracer: the same one in two caches is one buffer, and counts for the first layer that
keeps it. What is x or params itself is there anyway, and counts for nobody.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import Composite, Wrapper
from fnn.layer import Around, Layer
from fnn.layers.cast import Cast
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.records import Data, PyTree

Path = tuple[Any, ...]


class Kept(NamedTuple):
    """Bytes by path."""

    leaves: dict[Path, int]
    routes: dict[tuple[Path, str], int]  # of Repeat and Recompute, with their name
    rest: int  # what other composites keep themselves

    @property
    def total(self) -> int:
        """All of it."""
        return self.under(()) + self.rest

    def under(self, path: Path) -> int:
        """What the layers at and below a path keep."""
        pairs = [*self.leaves.items(), *((at, size) for (at, _), size in self.routes.items())]
        return sum(size for at, size in pairs if at[: len(path)] == path)


@dataclass(frozen=True)
class Own(Data):
    """What the layer at a path keeps."""

    cache: Any
    path: Path = field(metadata={"static": True})
    route: str = field(metadata={"static": True})  # "" of a leaf


@dataclass(frozen=True)
class Leaf(Around[Any, Any]):
    """A leaf that puts its path around its cache."""

    at: Path

    def init(self, key):
        """Those of the leaf."""
        return self.inner.init(key)

    def forward(self, params, x, *, key=None):
        """y = f(p, x)."""
        y, cache = self.inner.forward(params, x, key=key)
        return y, Own(cache, self.at, "")

    def backward(self, params, cache, dy):
        """Those of the leaf."""
        return self.inner.backward(params, cache.cache, dy)


@dataclass(frozen=True)
class Route(Wrapper[Any]):
    """A Repeat or a Recompute that puts its path around what it keeps."""

    at: Path

    def forward(self, params, x, *, key=None):
        """y = inner(x)."""
        y, cache = self.inner.forward(params, x, key=key)
        return y, Own(cache, self.at, type(self.inner).__name__)

    def backward_with(self, rule, params, cache, dy):
        """dx ← inner ← dy."""
        return rule(self.inner, params, cache.cache, dy)


def marked(net: Layer[Any, Any], path: Path = ()) -> Layer[Any, Any]:
    """The net whose layers put their paths around their caches."""
    if not isinstance(net, Composite):
        return Leaf(net, path)
    children = {name: marked(layer, below(net, path, name)) for name, layer in net.children.items()}
    route = net.with_children(children)
    return Route(route, path) if isinstance(net, Repeat | Recompute) else route


def below(net: Composite[Any], path: Path, name: Any) -> Path:
    """The path of a child."""
    return path if isinstance(net, Wrapper) else (*path, name)


def leaves_of(net: Layer[Any, Any], path: Path = ()) -> Iterator[Path]:
    """The paths of all leaves, in the order of forward."""
    if not isinstance(net, Composite):
        yield path
        return
    for name, layer in net.children.items():
        yield from leaves_of(layer, below(net, path, name))


def kept(net: Layer[Any, Any], params: PyTree, x: PyTree) -> Kept:
    """What a forward keeps; params and x are arrays or their shapes."""
    order = {path: i for i, path in enumerate(leaves_of(net))}
    found = []

    def run(params, x):
        seen = {id(a) for a in jax.tree.leaves((params, x))}
        _, cache = marked(net).forward(params, x, key=jax.random.key(0))
        owns = sorted(inside(cache), key=lambda own: order.get(own.path, len(order)))
        last = Own(cache, (), "rest")
        for own in (*(o for o in owns if not o.route), *(o for o in owns if o.route), last):
            found.append((own, new_bytes(own.cache, seen)))

    jax.eval_shape(run, params, x)
    leaves, routes = dict.fromkeys(order, 0), {}
    for own, size in found[:-1]:
        place, key = (routes, (own.path, own.route)) if own.route else (leaves, own.path)
        place[key] = place.get(key, 0) + size
    return Kept(leaves, routes, found[-1][1])


def inside(cache: Any) -> Iterator[Own]:
    """All Owns in a cache, those inside of others first."""
    for node in jax.tree.leaves(cache, is_leaf=lambda node: isinstance(node, Own)):
        if isinstance(node, Own):
            yield from inside(node.cache)
            yield node


def new_bytes(cache: Any, seen: set[int]) -> int:
    """The bytes of the arrays that were not seen yet, and are from now on."""
    size = 0
    for a in jax.tree.leaves(cache):
        if id(a) not in seen:
            seen.add(id(a))
            data = jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
            size += data.size * data.dtype.itemsize
    return size


def outermost(net: Layer[Any, Any]) -> list[tuple[Path, Repeat]]:
    """Every Repeat that lies in no other, behind the names of the children that lead to it."""
    if isinstance(net, Repeat):
        return [((), net)]
    children = net.children.items() if isinstance(net, Composite) else ()
    return [((name, *way), found) for name, layer in children for way, found in outermost(layer)]


def altered(net: Any, way: Path, f: Callable[[Any], Layer[Any, Any]]) -> Layer[Any, Any]:
    """The net with f(layer) for the layer to which these names lead."""
    if not way:
        return f(net)
    children = dict(net.children)
    return net.with_children(children | {way[0]: altered(children[way[0]], way[1:], f)})


def savings(net: Layer[Any, Any], params: PyTree, x: PyTree, now: Kept) -> Iterator[str]:
    """What would be kept with Recompute or Cast around every Repeat, in words.

    Without one Recompute is around the child that keeps most, Cast around the net. Where one of
    them cannot stand, or would save nothing, nothing is said.
    """
    repeats = outermost(net)
    for way, layer in repeats or [largest_child(net, now, ())]:
        path = place(net, way)
        again = now.under(path) / (layer.n if isinstance(layer, Repeat) else 1)
        more = f", and {size_in_words(again)} made again at a time"
        yield from told("Recompute", path, kept_with(net, way, recomputed, params, x), now, more)
    for way in [way for way, _ in repeats] or [()]:
        then = kept_with(net, way, lambda layer: Cast(layer, "bfloat16"), params, x)
        yield from told('Cast(…, "bfloat16")', place(net, way), then, now, "")


def told(what: str, path: Path, then: int | None, now: Kept, more: str) -> Iterator[str]:
    """One way in words, if it saves anything."""
    if then is not None and then < now.total:
        where = ".".join(map(str, path)) or "the net"
        yield f"{what} around {where}: {size_in_words(then)} kept{more}"


def kept_with(
    net: Layer[Any, Any], way: Path, f: Callable[[Any], Layer[Any, Any]], params: PyTree, x: PyTree
) -> int | None:
    """What is kept in all with f(layer) for one layer; None where it cannot stand there."""
    with contextlib.suppress(TypeError, ValueError):
        return kept(altered(net, way, f), params, x).total
    return None


def recomputed(layer: Layer[Any, Any]) -> Layer[Any, Any]:
    """Recompute around the layer, around every copy of a Repeat."""
    if isinstance(layer, Repeat):
        return Repeat(layer.n, Recompute(layer.inner))
    return Recompute(layer)


def largest_child(net: Layer[Any, Any], now: Kept, way: Path) -> tuple[Path, Layer[Any, Any]]:
    """The child that keeps most, of the first composite that has several; a leaf itself."""
    if not isinstance(net, Composite):
        return way, net
    sizes = {name: now.under(place(net, (name,))) for name in net.children}
    name = max(sizes, key=lambda name: sizes[name])
    way = (*way, name)
    return largest_child(net[name], now, way) if isinstance(net, Wrapper) else (way, net[name])


def place(net: Layer[Any, Any], way: Path) -> Path:
    """The path of the layer to which the names lead: those of wrappers are none."""
    path: Path = ()
    for name in way:
        assert isinstance(net, Composite)
        path, net = below(net, path, name), net.children[name]
    return path


def size_in_words(n: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n:,.0f} B"
