"""Tied: a net some of whose layers take their parameters from others.

    y = f(p, s_1(p), s_2(p), ..., x)        dp = ∂L/∂p + Σ_i sᵢᵀ(∂L/∂p_i)

Its params are those of the net without the layers that have none of their own. On the way
back the cotangent of every layer goes on as it comes by; when the last one of those that
share has been reached a rule sees them all at once, as one layer, `Shared`: gradients,
norms and updates are those of the sum. Results nest like the net. What a rule makes of the uses
one by one, as deltas does, stands at each; anything else where the params are.

Source: Press & Wolf (2017), arXiv:1608.05859, section 3.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any, cast

from fnn.composite import Composite, child, empty
from fnn.errors import check_params
from fnn.layer import Layer, check_layer_type
from fnn.layers.activations import Identity
from fnn.layers.places import entry, layer_at, placed, replaced
from fnn.layers.shared import Shared, Use, Uses, Way, fits, same, ways
from fnn.records import PyTree, Record
from fnn.ruling import Results, transposed
from fnn.sequence import over_positions


@dataclass(frozen=True)
class Tie(Record):
    """The layer `user` takes its params from the layer `source`; names, or paths: "decoder.head".

    `share` makes them of the source's, `back` a gradient of the source's of one of the user's,
    with None where it says nothing. Where both are None they are known by the types: layers of
    one type share all, and tables are transposed.

    Raises:
        TypeError: for one of the two without the other.
        ValueError: for a layer tied to itself.
    """

    user: Any
    source: Any
    share: Way | None = field(default=None, repr=False)
    back: Way | None = field(default=None, repr=False)

    def __post_init__(self):
        """Hold names as texts."""
        super().__post_init__()
        for name in ("user", "source"):
            object.__setattr__(self, name, str(getattr(self, name)))
        if self.user == self.source:
            raise ValueError(f"{self}: a layer is not tied to itself.")
        if (self.share is None) != (self.back is None):
            raise TypeError(f"{self}: share needs back, and back share; give both, or none.")


@dataclass(frozen=True, init=False, repr=False)
class Tied(Composite[Any]):
    """y = net(x), some of whose layers have no params of their own.  The shapes are the net's.

        Tied(Serial(embed=Embedding(50, 8), …, head=Unembed(8, 50)), head="embed")
        Tied(Serial(Dense(9, 4), Tanh(), Dense(4, 9, bias=False)), Tie(2, 0))

    The first is a language model whose head has the weights tableᵀ, the second a tied autoencoder.
    Both layers are leaves; Cast, Repeat and Recompute go around Tied, or beside it, Residual and
    Skip may lie on the way to them. A rule with a formula for the type of one of the two needs
    one for `Shared`, too. `fnn.inference` gives each layer its params: nothing is tied where
    nothing is learned.

    Raises:
        TypeError: for what is not a composite, or has a backward of its own; for layers that are
            no leaves, or none of which is known how they share.
        ValueError: for layers that are not there, or are tied twice.
    """

    net: Composite[Any]
    ties: tuple[Tie, ...]

    def __init__(self, net: Composite[Any], /, *ties: Tie, **sources: Any):
        """Tie layers by Ties, or by names, user="source"."""
        check_layer_type("Tied", net)
        if not isinstance(net, Composite):
            raise TypeError(f"Tied: net must be a Composite, got {net!r:.80}.")
        ties = (*ties, *(Tie(user, source) for user, source in sources.items()))
        object.__setattr__(self, "net", net)
        object.__setattr__(self, "ties", tuple(known(net, tie) for tie in ties))
        uses_of(self)

    def __repr__(self):
        """The net and its ties."""
        return f"Tied({', '.join(map(repr, (self.net, *self.ties)))})"

    @property
    def children(self):
        """Those of the net."""
        return self.net.children

    @property
    def stands_for(self):
        """The net, and what lies around the layers that share."""
        around = {path.rpartition(".")[0] for path in uses_of(self)} - {""}
        return self.net, *(layer_at(self.net, path) for path in sorted(around))

    def with_children(self, children):
        """The same ties in another net."""
        return Tied(self.net.with_children(children), *self.ties)

    def parts(self, tree):
        """As the net's."""
        return self.net.parts(tree)

    def joined(self, entries):
        """As the net's."""
        return self.net.joined(entries)

    def keys(self, key):
        """As the net's."""
        return self.net.keys(key)

    def path(self, name):
        """As the net's."""
        return self.net.path(name)

    def each(self, f, *trees):
        """f(child, *its entries) of every child, of an Identity for layers without params."""
        return self.bare().each(f, *trees)

    def init(self, key):
        """The params of the net, but for layers that have none of their own."""
        return self.bare().init(key)

    def zero_state(self, params, n, capacity=None):
        """As the net's."""
        return self.net.zero_state(self.untied(params), n, capacity)

    def bare(self) -> Composite[Any]:
        """The net with nothing where a layer has no params of its own."""
        return replaced(self.net, {tie.user: Identity() for tie in self.ties})

    def around(self, bare: Composite[Any]) -> "Tied":
        """The same ties in a net like `bare`, with the layers put back that it has not."""
        return Tied(
            replaced(bare, {t.user: layer_at(self.net, t.user) for t in self.ties}), *self.ties
        )

    def untied(self, params: PyTree) -> PyTree:
        """The params of the net, each layer with its own."""
        found, uses = {}, uses_of(self)
        for use in (uses[tie.user] for tie in self.ties):
            if not empty(entry(self.net, params, use.name)):
                raise ValueError(f"Tied: {use.name} has the params of {use.source}; give none.")
            found[use.name] = use.share(entry(self.net, params, use.source))
        return placed(self.net, params, found)

    def forward(self, params, x, *, key=None):
        """y = net(x)."""
        for use in uses_of(self).values():
            if use.name == use.source:
                with child(use.source):
                    check_params(use.layer, entry(self.net, params, use.source), use.layer.shapes())
        return self.net.forward(self.untied(params), x, key=key)

    def backward_with(self, rule, params, cache, dy):
        """dx ← net ← dy; at every use, the rule at all uses of these params that came by."""
        uses, found = uses_of(self), {}
        reached = {use.source: [] for use in uses.values()}

        def at(use, own, cache, dy):
            if not holds(use):
                return rule(use, own, cache, dy)
            if not isinstance(use, Use):
                result, dx = use.backward_with(at, own, cache, dy)
                return of_each(use, result), dx

            def run(dy):
                reached[use.source].append((use, cache, dy))
                several, caches, dys = zip(*reached[use.source], strict=True)
                shared = Shared(uses[use.source].layer, several)
                own = entry(self.net, params, use.source)
                result, dx = rule(shared, own, Uses(caches), Uses(dys))
                found.update(dealt(result, several))
                return found[use.name], dx.each[-1]

            return over_positions(run, dy) if use.layer.sequences == "positions" else run(dy)

        result, dx = replaced(self.net, uses).backward_with(at, params, cache, dy)
        return placed(self.net, result, found), dx


@functools.cache
def uses_of(tied: Tied) -> dict[str, Use]:
    """Every layer that shares, by its path; raises where one has two sources, or is one itself."""
    found: dict[str, Use] = {}
    for tie in tied.ties:
        if tie.user in found or found.get(tie.source, tie).source != tie.source:
            raise ValueError(f"{tie}: a layer is tied once, and to one that has params of its own.")
        for path, way in ((tie.source, (same, same)), (tie.user, (tie.share, tie.back))):
            share, back = cast(tuple[Way, Way], way)
            found[path] = Use(layer_at(tied.net, path), path, tie.source, share, back)
    return found


def known(net: Composite[Any], tie: Tie) -> Tie:
    """The tie with share and back; raises unless there is one way, and it fits."""
    first, layer = (leaf_at(net, path) for path in (tie.source, tie.user))
    if tie.share is None or tie.back is None:
        found = ways(first, layer)
        if not found:
            raise TypeError(
                f"{tie}: no way is known from {first} to {layer}; give share and back, or "
                "bias=False where a Dense would take a transposed w."
            )
        if len(found) > 1:
            raise ValueError(
                f"{tie}: {layer} could have the params of {first} as they are, or transposed; "
                "give share and back, of fnn.layers.shared twice `same`, or twice `transposed`."
            )
        return replace(tie, share=found[0][0], back=found[0][1])
    if not fits(first, layer, tie.share, tie.back):
        raise ValueError(
            f"{tie}: share must make the params of {layer} of those of {first}, and back must "
            "make them again."
        )
    return tie


def leaf_at(net: Composite[Any], path: str) -> Layer[Any, Any]:
    """The leaf at this path."""
    layer = layer_at(net, path)
    if isinstance(layer, Composite):
        raise TypeError(f"Tied: {path} is a {type(layer).__name__}; tie the layers inside.")
    return layer


def holds(layer: Layer[Any, Any]) -> bool:
    """Whether a layer is a use, or has one inside."""
    inside = layer.children.values() if isinstance(layer, Composite) else ()
    return isinstance(layer, Use) or any(map(holds, inside))


def of_each(layer: Composite[Any], result: PyTree) -> PyTree:
    """Results nested like the layer of what is nested like the layer of Results."""
    first = next(iter(layer.parts(result).values()), None)
    if not isinstance(first, Results):
        return result
    trees = transposed(layer, result, len(first.each)).each
    return first.of(of_each(layer, tree) for tree in trees)


def dealt(result: PyTree, uses: tuple[Use, ...]) -> dict[str, PyTree]:
    """What a rule made of several uses, by their paths: of each, or where the params are."""
    if isinstance(result, Results):
        each = [dealt(r, uses) for r in result.each]
        return {use.name: result.of(e[use.name] for e in each) for use in uses}
    if isinstance(result, Uses):
        return {use.name: r for use, r in zip(uses, result.each, strict=True)}
    return {use.name: result if use.name == use.source else () for use in uses}
