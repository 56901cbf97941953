"""Rules: what a fold over the net does at each of its layers.

A rule is a record around an open function of (layer, params, cache, dy) → (result, dx),

    @rule
    def deltas(layer, params, cache, dy):
        _, dx = layer.backward(params, cache, dy)
        return dy, dx

dispatched on the layer's type: `deltas.register(Dense)` gives Dense a formula of its own;
a registered composite stops the recursion there, every other composite is a route. A rule
is static and compared by value, an ordinary argument of jit. A formula that is registered
after a function was compiled is not seen by it.

What decides the function is a field of the rule; what steers it is data and comes beside
params, leaf by leaf:

    companion     `own`, one more argument: an entry of a tree nested like params, given as
                  rule.given(tree): feedback matrices, states of optimizers, rates
    begin         `seen`, one more argument: begin(y, target, dy), the same for every leaf
    learns        with a companion; the formula returns ((result, own′), dx), and the fold own′
    in_place      with learns; `masters`, one more argument: the params, of any Cast around them
                  those outside. The result takes their place and own′ that of own, as the pass
                  goes: under Repeat there are no two sets of them
    per_example   dy is the derivative of every example's own loss
    shares        per example too, but dy stays that of the batch's loss, and `share`, one more
                  argument, the last, is s_b [B], 0 of what is left out; None without a fold

Several rules share one pass, rule=(a, b): the results are a tuple, and a sends back dx. The
cotangents are those of the batch's loss; a rule per example sees δ_b / s_b, s_b = Σ_t w_bt / Σ w
the example's share in it, and 0 where s_b = 0. Where all rules want that, δ_b / s_b itself is
sent back. Formulas see arrays at every layer that knows no time.
"""

import functools
import importlib
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.by_example import by_row
from fnn.composite import Composite, plain
from fnn.errors import FORWARDS, pair, speaking, who
from fnn.factors import is_factor
from fnn.layer import Layer, check_layer_type
from fnn.logits import Logits, is_factored
from fnn.numerics import is_floating, is_like, ratio
from fnn.records import Array, Data, PyTree, Record
from fnn.sequence import over_positions


@dataclass(frozen=True)
class Results(Data):
    """The results of several rules at one place of the net."""

    each: tuple[Any, ...]

    def of(self, each: Iterable[Any]) -> "Results":
        """Other results of the same kind."""
        return self.with_fields(each=tuple(each))


@dataclass(frozen=True)
class Replaced(Results):
    """(result, own′) of a rule in place, which stand for params and own from now on."""


class Seen(NamedTuple):
    """What every leaf sees besides its own."""

    begun: Any  # what begin returned; None without a begin
    share: Array | None  # [B], of every example in L; None: dy is each example's own


@dataclass(frozen=True, repr=False)
class Rule(Record):
    """What the fold does at a layer; open on the layer's type. Write @fnn.rule.

    Raises:
        TypeError: for a rule that learns without a companion, is in place and learns nothing, or
            has shares and is not per example; from given, for a rule without a companion.
        NotImplementedError: in a fold, per example, for a layer that mixes examples.
    """

    formula: Any  # a functools.singledispatch function
    per_example: bool = False
    companion: bool = False
    learns: bool = False
    in_place: bool = False
    begin: Callable[..., Any] | None = None
    shares: bool = False

    def __post_init__(self):
        """Refuse a rule that would lose what it learns, and shares in nothing."""
        super().__post_init__()
        if self.shares and not self.per_example:
            raise TypeError(
                f"{self}: shares are those of examples; "
                "write @fnn.rule(per_example=True, shares=True)."
            )
        if self.learns and not self.companion:
            raise TypeError(
                f"{self}: what a rule learns is its companion; "
                "write @fnn.rule(companion=True, learns=True)."
            )
        if self.in_place and not self.learns:
            raise TypeError(
                f"{self}: a rule in place returns what takes the place of params and companion; "
                "write @fnn.rule(companion=True, learns=True, in_place=True)."
            )

    def __call__(self, layer: Layer[Any, Any], params: Any, cache: Any, dy: Any) -> Any:
        """(result, dx) at this layer, of a rule that sees nothing besides."""
        check_layer_type(repr(self), layer)
        with speaking(self, FORWARDS, self.formula):
            return self.at(None, layer, params, cache, dy)

    def __repr__(self) -> str:
        """Its name."""
        return self.formula.__name__

    def at(self, seen: Any, layer: Layer[Any, Any], params: Any, cache: Any, dy: Any) -> Any:
        """(result, dx) at this layer: of its formula, or of the route."""
        self._check_replaced(layer)
        if not (isinstance(layer, Composite) and self.routes(layer)):
            return self._formula(seen, layer, params, cache, dy)
        here = functools.partial(self.at, seen)
        result, dx = layer.backward_with(here, params, cache, dy)
        return self.apart(layer, result), dx

    def apart(self, layer: Composite[Any], result: PyTree) -> PyTree:
        """What it made of the children of a route, of a rule that learns the two trees."""
        if not self.learns:
            return result
        both = transposed(layer, result, 2)
        return Replaced(both.each) if self.in_place else both

    def _check_replaced(self, layer):
        """Raise where the rule has a formula for a layer that this one stands for, not for this."""
        every, dispatch = (self.formula.dispatch(Layer), _route), self.formula.dispatch
        if dispatch(type(layer)) not in every:
            return
        for other in layer.stands_for:
            if dispatch(type(other)) not in every:
                raise NotImplementedError(
                    f"{self}: {other} is tied, and its formula here knows of one use only; "
                    f"register one for {type(layer).__name__}."
                )

    def routes(self, layer: Composite[Any]) -> bool:
        """Whether the rule has no formula for this composite.

        Raises NotImplementedError where that would pass over a backward of the composite's own.
        """
        kind = type(layer)
        if self.formula.dispatch(kind) is not _route:
            return False
        own = kind.backward is not Composite.backward and not kind.backward_is_route
        if self.per_example and own:
            raise NotImplementedError(
                f"{self}: {who(layer)} has a backward of its own, of which the way through its "
                f"layers knows nothing; register a formula for {kind.__name__}."
            )
        return True

    def _formula(self, seen, layer, params, cache, dy):
        """(result, dx) of the formula: own and seen as it asks for them, dy as an array."""
        formula = self.formula.dispatch(type(layer))
        more, own = (), params
        if self.companion:
            params, more = own.params, (own.own,)
        if self.in_place:
            masters = params if own.masters is None else own.masters
            more = *more, masters
        more = *more, *self.besides(seen, dy)

        def run(dy):
            given = formula(layer, params, cache, dy, *more)
            result, dx = pair(f"{self} at {layer}", "(result, dx)", given)
            if self.learns:
                form = "((result, next companion), dx)"
                result = pair(f"{self} at {layer}, which learns,", form, result)
                result = self._replaced(layer, result, more) if self.in_place else Results(result)
            return result, dx

        if self.per_example:
            divides = None if seen is None or self.shares else seen.share
            run = _per_example(run, layer, divides)
        return over_positions(run, dy) if layer.sequences == "positions" else run(dy)

    def besides(self, seen: Any, dy: Any) -> tuple[Any, ...]:
        """What a formula gets besides its own: what begin made, and the shares."""
        begun = () if self.begin is None else (seen.begun,)
        return (*begun, None if seen is None else seen.share) if self.shares else begun

    @property
    def alone(self) -> bool:
        """Whether dy is to be the derivative of every example's own loss."""
        return self.per_example and not self.shares

    def _replaced(self, layer, result, more):
        """The result as what replaces masters and own, which it is like."""
        own, masters, *_ = more
        if not is_like(result, (masters, own)):
            raise TypeError(
                f"{self} at {layer}: what a rule in place returns, ((params, own), dx), must have "
                "the form and the shapes of masters and own, which it replaces."
            )
        return Replaced(result)

    def register(self, kind: type) -> Callable[..., Any]:
        """Decorate the formula of a layer type."""
        return self.formula.register(kind)

    def given(self, companion: PyTree) -> "Given":
        """The rule and its companion: a pytree, so an argument of jit and vmap."""
        if not self.companion:
            raise TypeError(
                f"{self} takes no companion; a rule with one says @fnn.rule(companion=True), "
                "and its formulas take one more argument, own."
            )
        return Given(self, companion)

    def __reduce__(self):
        """By the name it has at the top of its module, and its other fields."""
        module, name = self.formula.__module__, self.formula.__qualname__
        if "<locals>" in name:
            raise pickle.PicklingError(f"{name}: a rule must be at the top of its module for this.")
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "formula"}
        return _found, (module, name, facts)


class Given(NamedTuple):
    """A rule with its companion, nested like params."""

    rule: Rule
    companion: PyTree


def rule(leaf: Callable[..., Any] | None = None, **facts: Any) -> Any:
    """Make `leaf`, (layer, params, cache, dy) → (result, dx), a Rule; it is a decorator.

    Args:
        leaf: the formula of layers without one of their own; `register` gives them one.
        **facts: what the fold must know, @rule(per_example=True): per_example, shares, companion,
            learns and in_place, booleans, and begin, a function (y, target, dy) → what every leaf
            sees.

    Raises:
        TypeError: for a rule that learns without a companion, is in place and learns nothing, or
            has shares of nothing.
    """
    if leaf is None:
        return functools.partial(rule, **facts)
    dispatch = functools.singledispatch(leaf)
    dispatch.register(Composite, _route)
    return Rule(dispatch, **facts)


def _route(layer, params, cache, dy):
    """The entry of a composite for which a rule has no formula; never called."""
    raise AssertionError("a route is followed, not called")


def _found(module: str, name: str, facts: dict[str, Any]) -> Rule:
    """The rule of this name, with these fields."""
    found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    return replace(found, **facts)


@dataclass(frozen=True, repr=False)
class Backprop(Rule):
    """The rule that computes gradients: it follows no composite that has a backward of its own."""

    def routes(self, layer):
        """Whether the composite's backward is the route."""
        return type(layer).backward is Composite.backward


def _backward(layer, params, cache, dy):
    """grads, dx of the layer itself."""
    return layer.backward(plain(params), cache, dy)


_backward.__qualname__ = _backward.__name__ = "backprop"
backprop = Backprop(functools.singledispatch(_backward))


def transposed(layer: Composite[Any], results: PyTree, n: int) -> Results:
    """Results nested like the net of what was nested like the net of Results."""
    parts = layer.parts(results)
    return Results(
        tuple(layer.joined({name: r.each[i] for name, r in parts.items()}) for i in range(n))
    )


def _per_example(run, layer, share):
    """`run`, its result of δ_b / s_b; dx stays that of the batch. Under jit nothing runs twice."""

    def divided(d):
        if is_factor(d):
            return d.scaled(ratio(jnp.ones_like(share), share))
        return ratio(d, by_row(share, d).astype(d.dtype)) if is_floating(d) else d

    def own(dy):
        check_examples(layer, dy)
        if share is None:
            return run(dy)
        result, _ = run(jax.tree.map(divided, dy, is_leaf=is_factor))
        return result, run(dy)[1]

    return own


def check_examples(layer: Layer[Any, Any], dy: Any) -> None:
    """Raise a NotImplementedError where examples cannot be told apart."""
    if any(f.mixes_examples for f in (layer, *layer.stands_for)):
        raise NotImplementedError(
            f"{layer}: nothing per example here: a row of its y depends on other rows of x."
        )
    leaves = jax.tree.leaves(dy, is_leaf=is_factored)
    if any(isinstance(d, Logits) and not is_factor(d.w) for d in leaves):
        raise NotImplementedError(
            f"{layer}: nothing per example here: dw of factored logits is a sum over the batch; "
            "end the net in Dense and train it with SoftmaxCrossEntropy."
        )


def companion(net: Layer[Any, Any], f: Callable[..., PyTree], *trees: PyTree) -> PyTree:
    """f(leaf, *its entries of trees) of every leaf, nested like params; vmapped under Repeat."""
    check_layer_type("companion", net)
    if not callable(f):
        raise TypeError(f"companion: f must be a function (layer, *entries), got {f!r:.60}.")
    if isinstance(net, Composite):
        return net.each(lambda layer, *entries: companion(layer, f, *entries), *trees)
    return f(net, *trees)


def check_rule(owner: str, rule: Any) -> tuple[tuple[Rule, ...], tuple[Any, ...]]:
    """The rules in a Rule, a Given or a tuple of such, and the companion of each.

    Raises:
        TypeError: for what is not a rule, and for a rule without the companion it needs.
    """
    if isinstance(rule, tuple) and not isinstance(rule, Given):
        pairs = [check_rule(owner, each) for each in rule]
        rules, companions = (tuple(a for pair in pairs for a in pair[i]) for i in range(2))
        if not rules:
            raise ValueError(f"{owner}: rule must be a Rule or a tuple of at least one, got ().")
        if sum(r.in_place for r in rules) > 1:
            raise ValueError(f"{owner}: of several rules one may replace params, got {rule!r:.80}.")
        return rules, companions
    rule, own = rule if isinstance(rule, Given) else (rule, None)
    if not isinstance(rule, Rule):
        if isinstance(rule, list):
            raise TypeError(f"{owner}: several rules are a tuple, got a list: {rule!r:.60}.")
        if hasattr(rule, "run"):
            raise TypeError(f"{owner}: {rule!r:.60} runs by itself: it stands alone in a Plan.")
        raise TypeError(
            f"{owner}: rule must be a Rule, got {rule!r:.60}; write @fnn.rule above a function "
            "(layer, params, cache, dy), not around a rule, whose facts it would lose; one of "
            "(layer, params, grads, updates) goes into fnn.Watch."
        )
    if rule.companion and own is None:
        raise TypeError(f"{owner}: {rule} needs its companion; write rule={rule}.given(tree).")
    return (rule,), (own,)
