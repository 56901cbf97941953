"""Several rules in one pass.

Each sees the params with a companion of its own around them; the first sends back dx. Along the
routes that all of them take they go together, elsewhere each by itself.
"""

from dataclasses import dataclass
from typing import Any

from fnn.composite import Composite, With, plain
from fnn.layer import Layer
from fnn.records import PyTree
from fnn.ruling import Results, Rule, Seen, transposed


@dataclass(frozen=True)
class Several:
    """Several rules in one pass, and what each sees; the first sends back dx."""

    rules: tuple[Rule, ...]
    seen: tuple[Seen, ...]

    def __call__(self, layer: Layer[Any, Any], params: Any, cache: Any, dy: Any) -> Any:
        """(Results, dx): together along the routes that all of them take."""
        if isinstance(layer, Composite) and all(rule.routes(layer) for rule in self.rules):
            results, dx = layer.backward_with(self, params, cache, dy)
            each = transposed(layer, results, len(self.rules)).each
            pairs = zip(self.rules, each, strict=True)
            return Results(tuple(rule.apart(layer, result) for rule, result in pairs)), dx
        slots = unstacked(self.rules, params)
        found = [
            rule.at(seen, layer, slot, cache, dy)
            for rule, seen, slot in zip(self.rules, self.seen, slots, strict=True)
        ]
        return Results(tuple(result for result, _ in found)), found[0][1]


def stacked(rules: tuple[Rule, ...], companions: tuple[Any, ...], params: PyTree) -> PyTree:
    """Params with the companions of the rules that have one around them, in their `layering`."""
    bare = params
    for i in layering(rules):
        masters = bare if rules[i].in_place else None
        params = With(params, companions[i], masters) if rules[i].companion else params
    return params


def unstacked(rules: tuple[Rule, ...], params: PyTree) -> list[PyTree]:
    """For every rule the params, and around them its own companion alone."""
    found = [plain(params)] * len(rules)
    for i in reversed(layering(rules)):
        if rules[i].companion:
            found[i] = params._replace(params=found[i])
            params = params.params
    return found


def layering(rules: tuple[Rule, ...]) -> list[int]:
    """The order of the companions around params: innermost that of a rule in place."""
    return sorted(range(len(rules)), key=lambda i: not rules[i].in_place)
