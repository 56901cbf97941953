"""Composites: layers made of layers, and the names of what is inside.

A composite says how values travel forth between its children and how cotangents travel
back. What a child does with its cotangent is up to the rule. Its children have names, and
everything nested like the net (params, gradients, results of rules, companions, states) has
one entry per child under that name:

    parts(tree)      → {name: entry}     () where there is none; unknown names are an error
    joined(entries)  → tree              an entry that holds nothing is left out

These two are all that knows of the nesting. A composite has no params of its own: a number
that is learned stands in a leaf among its children. A composite of one child, a `Wrapper`, adds
no level to it. Params are dicts, whose keys JAX sorts: go through `children` for the order.

`Forth` and `Back` call the children, one by one, and deal each its params, key, state and
place in error messages. A composite of one's own is then its equations:

    def forward(self, params, x, *, key=None):
        f = Forth(self, params, x, key)
        (a, ca), (b, cb) = f("a", x), f("b", x)
        return f.end(lift(jnp.multiply, a, b)), (a, b, ca, cb)

    def backward_with(self, rule, params, cache, dy):
        f, (a, b, ca, cb) = Back(self, rule, params, dy), cache
        da = f("a", ca, lift(jnp.multiply, dy, b))
        db = f("b", cb, lift(jnp.multiply, dy, a))
        return f.end(lift(jnp.add, da, db))
"""

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax

from fnn.errors import check_key, type_of
from fnn.layer import C, Layer, check_layer_type, layers_in
from fnn.records import Key, PyTree
from fnn.sequence import add, memory_of, renewed, state_of

Rule = Callable[[Layer[Any, Any], Any, Any, Any], tuple[PyTree, Any]]


class With(NamedTuple):
    """Params and a companion of theirs, side by side in the params slot of a fold."""

    params: PyTree
    own: PyTree
    masters: PyTree = None  # of a rule in place: the params that it replaces, never rounded


def plain(params: PyTree) -> PyTree:
    """The params alone, without companions."""
    return plain(params.params) if isinstance(params, With) else params


def on_params(f: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """f of the params, the companions beside them as they are."""
    if isinstance(params, With):
        return params._replace(params=on_params(f, params.params))
    return f(params)


def empty(entry: PyTree) -> bool:
    """Whether an entry holds nothing, however deep: None, (), {"a": ()}."""
    if type(entry) is dict:
        return all(map(empty, entry.values()))
    return entry is None or (type(entry) is tuple and all(map(empty, entry)))


@dataclass(frozen=True)
class Composite(Layer[Any, C]):
    """A layer made of layers, with one entry of params per child.

    Raises:
        TypeError: for a layer that a field holds and `children` does not; for params that are
            not nested like the net.
        ValueError: for params of a layer that is not there.
    """

    sequences: ClassVar[Literal["refused", "positions", "own"]] = "own"
    backward_is_route: ClassVar[bool] = False  # of a backward of its own: that of backward_with

    def __post_init__(self):
        """Refuse a composite some of whose layers are nobody's children."""
        super().__post_init__()
        held, known = layers_in(self), list(self.children.values())
        if lost := [layer for layer in held if layer not in known]:
            raise TypeError(
                f"{type(self).__name__}: {lost[0]} is no child: fields that are layers are, layers "
                "in a tuple are not; give the class `children` and `with_children` of its own."
            )

    @property
    def children(self) -> Mapping[Any, Layer[Any, Any]]:
        """Name → layer, in the order of the route: the fields that are layers.

        Layers in a tuple need a `children` of the class's own, with its `with_children`.
        """
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: layer for name, layer in held.items() if isinstance(layer, Layer)}

    def __getitem__(self, name: Any) -> Layer[Any, Any]:
        """The child of this name."""
        return self.children[name]

    def with_children(self, children: Mapping[Any, Layer[Any, Any]]) -> Self:
        """The same route over other layers."""
        return replace(self, **children)

    @abc.abstractmethod
    def backward_with(self, rule: Rule, params: Any, cache: C, dy: Any) -> tuple[Any, Any]:
        """Send dy back through the children, applying `rule` at each."""

    def backward(self, params, cache, dy):
        """Backpropagation: the rule is each child's own backward."""
        return self.backward_with(_own_backward, params, cache, dy)

    def parts(self, tree: PyTree) -> dict[Any, Any]:
        """Name → entry, of any tree nested like the net; () where it has none."""
        if isinstance(tree, With):
            params, own = self.parts(tree.params), self.parts(tree.own)
            masters = dict.fromkeys(params) if tree.masters is None else self.parts(tree.masters)
            return {name: With(params[name], own[name], masters[name]) for name in params}
        if empty(tree):
            return dict.fromkeys(self.children, ())
        owner = f"{type(self).__name__}: params, or what is nested like them,"
        names = ", ".join(map(str, self.children))
        if type(tree) is not dict:
            raise TypeError(f"{owner} must be a dict of {names}, got {type_of(tree)}.")
        if unknown := [name for name in tree if name not in self.children]:
            raise ValueError(f"{owner} have no layer {unknown[0]!r}; there are {names}.")
        return {name: tree.get(name, ()) for name in self.children}

    def joined(self, entries: Mapping[Any, Any]) -> PyTree:
        """The tree of these entries, without those that hold nothing."""
        return {name: entry for name, entry in entries.items() if not empty(entry)}

    def each(self, f: Callable[..., PyTree], *trees: PyTree) -> PyTree:
        """f(child, *its entries) of every child, nested like params."""
        columns, found = [self.parts(tree) for tree in trees], {}
        for name, layer in self.children.items():
            with self.path(name):
                found[name] = f(layer, *(column[name] for column in columns))
        return self.joined(found)

    def zero_state(self, params, n, capacity=None):
        """Each child's; () where none has any."""
        state = self.each(lambda layer, own: layer.zero_state(own, n, capacity), params)
        return () if empty(state) else state

    def keys(self, key: Key | None) -> dict[Any, Any]:
        """A key of its own for every child; None for all without one."""
        names = list(self.children)
        if key is None:
            return dict.fromkeys(names)
        check_key(type(self).__name__, key)
        return dict(zip(names, jax.random.split(key, max(len(names), 1)), strict=False))

    def init(self, key):
        """Each child's parameters, from a key of its own."""
        check_key(type(self).__name__, key)
        keys = self.keys(key)
        return self.joined({name: layer.init(keys[name]) for name, layer in self.children.items()})

    def path(self, name: Any) -> contextlib.AbstractContextManager[None]:
        """The context in which this child is called."""
        return child(name)


def inside(layer: Layer[Any, Any]) -> list[Layer[Any, Any]]:
    """The children of a composite, the layers in the fields of another one."""
    return list(layer.children.values()) if isinstance(layer, Composite) else layers_in(layer)


def mixes(layer: Layer[Any, Any]) -> bool:
    """Whether a layer, or one inside it, makes rows of y depend on other rows of x."""
    return layer.mixes_examples or any(map(mixes, inside(layer)))


@dataclass(frozen=True)
class Wrapper(Composite[C]):
    """A composite of one child, `inner`, whose params and path are those of the child.

    Raises:
        TypeError: for what is not a layer.
    """

    hands_on: ClassVar[bool] = False  # inner gets the params themselves, once forth and once back

    inner: Layer[Any, Any]

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        check_layer_type(type(self).__name__, self.inner)

    def parts(self, tree):
        """The tree itself is the entry of `inner`."""
        return {"inner": tree}

    def joined(self, entries):
        """The entry of `inner`."""
        return entries["inner"]

    def keys(self, key):
        """The key itself."""
        return {"inner": key}

    def path(self, name):
        """No level of its own."""
        return contextlib.nullcontext()


@dataclass(frozen=True, init=False, repr=False)
class Listed(Composite[C]):
    """A composite of any number of layers: all with a name, or none.

    With names its params, and what is nested like them, are dicts, without tuples with one
    entry per layer. net[0], or net["up"], is a layer of it.

    Raises:
        TypeError: for what is not a layer, names for some of them only, params of another kind.
        ValueError: for params of another number of layers, or of layers that are not there.
    """

    layers: tuple[Layer[Any, Any], ...]
    names: tuple[str, ...] | None

    def __init__(self, /, *layers: Layer[Any, Any], **named: Layer[Any, Any]):
        """Hold the layers in their order: all with a name, or none."""
        owner = type(self).__name__
        if layers and named:
            raise TypeError(f"{owner}: give every layer a name, or none.")
        for layer in (*layers, *named.values()):
            check_layer_type(owner, layer)
        object.__setattr__(self, "layers", layers or tuple(named.values()))
        object.__setattr__(self, "names", tuple(named) or None)

    def __repr__(self):
        """As it was written."""
        inside = [f"{n}={layer!r}" if self.names else repr(layer) for n, layer in self._pairs()]
        default = {f.name: f.default for f in fields(self)}
        inside += [f"{n}={v!r}" for n, v in self.options().items() if v != default[n]]
        return f"{type(self).__name__}({', '.join(inside)})"

    def options(self) -> dict[str, Any]:
        """The fields behind the layers, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)[2:]}

    @property
    def children(self):
        """Name or place → layer, in their order."""
        return dict(self._pairs())

    def _pairs(self):
        return zip(self.names or range(len(self.layers)), self.layers, strict=True)

    def with_children(self, children):
        """The same route over other layers."""
        kind, options = type(self), self.options()
        return kind(**children, **options) if self.names else kind(*children.values(), **options)

    def parts(self, tree):
        """Place → entry, where the layers have no names."""
        if self.names or isinstance(tree, With) or empty(tree):
            return super().parts(tree)
        owner, n, got = type(self).__name__, len(self.layers), type_of(tree)
        if type(tree) is not tuple:
            raise TypeError(f"{owner}: params must be a tuple, one entry per layer, got {got}.")
        if len(tree) != n:
            raise ValueError(
                f"{owner}: params must have one entry for each of its {n} layers, got {len(tree)}."
            )
        return dict(enumerate(tree))

    def joined(self, entries):
        """One entry per layer, () where it holds nothing, where the layers have no names."""
        if self.names:
            return super().joined(entries)
        return tuple(() if entry is None else entry for entry in entries.values())


def _own_backward(layer: Layer[Any, Any], params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """The rule behind `Composite.backward`."""
    return layer.backward(params, cache, dy)


@contextlib.contextmanager
def child(name: Any) -> Iterator[None]:
    """The context in which a composite calls a child: errors carry the path, layer a.b."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        where, message = getattr(error, "_place", ((), error.args[0] if error.args else ""))
        place = (str(name), *where), message
        vars(error)["_place"] = place
        error.args = (f"layer {'.'.join(place[0])}, {message}", *error.args[1:])
        raise


class Forth:
    """The children of a composite on the way forth, each called once: (y, cache) = f(name, x).

    The state of x is dealt out. With `apart` every child has an x and a y of its own, and
    what belongs to these stays with them.

    Raises:
        ValueError: for a name that is not there, or called twice; from end, for one not called.
    """

    def __init__(
        self, net: Composite[Any], params: PyTree, x: Any, key: Key | None, *, apart: bool = False
    ) -> None:
        """Deal params, keys and the state of x out."""
        self.net, self.params, self.keys = net, net.parts(params), net.keys(key)
        self.states, self.finals, self.apart = net.parts(state_of(x)), {}, apart

    def __call__(self, name: Any, x: Any) -> tuple[Any, Any]:
        """y of this child, without its state, and its cache."""
        _once(self.net, name, self.finals)
        x = x if self.apart else renewed(x, state=_entry(self.states[name]))
        with self.net.path(name):
            y, cache = self.net.children[name].forward(self.params[name], x, key=self.keys[name])
        self.finals[name] = None if self.apart else state_of(y)
        return y if self.apart else renewed(y, state=None), cache

    def end(self, y: Any) -> Any:
        """y with the final states of all children."""
        return renewed(y, state=_whole(self.net, self.finals))


class Back:
    """The children of a composite on the way back, each called once: dx = f(name, cache, dy).

    With `apart` every child has a dy and a dx of its own, with what belongs to these.

    Raises:
        ValueError: for a name that is not there, or called twice; from end, for one not called.
    """

    def __init__(
        self, net: Composite[Any], rule: Rule, params: PyTree, dy: Any, *, apart: bool = False
    ) -> None:
        """Deal params and the cotangent of the final state out."""
        self.net, self.rule, self.params, self.apart = net, rule, net.parts(params), apart
        self.finals, self.memory = net.parts(state_of(dy)), memory_of(dy)
        self.results, self.states = {}, {}

    def __call__(self, name: Any, cache: Any, dy: Any) -> Any:
        """dx of this child; what the rule makes of it is kept for the end."""
        _once(self.net, name, self.results)
        if not self.apart:
            dy = renewed(dy, state=_entry(self.finals[name]), memory=None)
        with self.net.path(name):
            layer = self.net.children[name]
            self.results[name], dx = self.rule(layer, self.params[name], cache, dy)
        self.states[name] = None if self.apart else state_of(dx)
        if self.apart:
            return dx
        self.memory = add(self.memory, memory_of(dx))
        return renewed(dx, state=None, memory=None)

    def end(self, dx: Any) -> tuple[PyTree, Any]:
        """The results, nested like the net, and dx with the cotangents of all states."""
        states = _whole(self.net, self.states)
        result = self.net.joined({name: self.results[name] for name in self.net.children})
        return result, renewed(dx, state=states, memory=self.memory)


def _once(net: Composite[Any], name: Any, called: Mapping[Any, Any]) -> None:
    """Raise unless the child exists and was not called before: a second result would be lost."""
    if name not in net.children:
        names = ", ".join(map(str, net.children))
        raise ValueError(f"{type(net).__name__}: no layer {name!r}; there are {names}.")
    if name in called:
        raise ValueError(
            f"{type(net).__name__}: layer {name!r} is called twice; a layer used twice needs "
            "a composite whose backward adds the two gradients up."
        )


def _entry(state: PyTree) -> PyTree:
    """A child's state; None where it has none."""
    return None if empty(state) else state


def _whole(net: Composite[Any], states: Mapping[Any, Any]) -> PyTree:
    """The states of all children as one; None where none has any."""
    if missing := [name for name in net.children if name not in states]:
        raise ValueError(f"{type(net).__name__}: layer {missing[0]!r} was not called.")
    return _entry(net.joined({name: states[name] for name in net.children}))
