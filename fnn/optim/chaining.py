"""Chain: transformations of the gradient, one after another.

u_0 = g        u_k = update_k(u_{k−1})        update = u_n
"""

from dataclasses import dataclass
from typing import Any

from fnn.optim.foreign import as_optimizer
from fnn.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Chain(Optimizer[tuple[Any, ...]]):
    """update = update_n(... update_1(g)); the state is one state per link."""

    links: tuple[Optimizer[Any], ...]

    def init(self, params):
        """Every link's state."""
        return tuple(link.init(params) for link in self.links)

    def update(self, grads, state, params=None):
        """g → u_1 → ... → u_n."""
        states = []
        for link, s in zip(self.links, state, strict=True):
            grads, s = link.update(grads, s, params)
            states.append(s)
        return grads, tuple(states)

    def rate(self, state):
        """The learning rate of the last link that has one."""
        for link, s in reversed(list(zip(self.links, state, strict=True))):
            try:
                return link.rate(s)
            except TypeError:
                continue
        raise TypeError("chain: no link has a learning rate.")


def chain(*links: Any) -> Chain:
    """Make one optimizer of several, fnn's or optax's: clip_by_norm(1.0) before Adam()."""
    if not links:
        raise ValueError("chain: give at least one optimizer.")
    return Chain(tuple(as_optimizer("chain", link) for link in links))
