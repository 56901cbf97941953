"""Chain: transformations of the gradient, one after another.

u_0 = g        u_k = update_k(u_{k−1})        update = u_n
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from fnn.optim.foreign import as_optimizer
from fnn.optim.optimizer import Optimizer


@dataclass(frozen=True, init=False)
class Chain(Optimizer[tuple[Any, ...]]):
    """update = update_n(... update_1(g)).  Chain(ClipByNorm(1.0), Adam()).

    The links are fnn's optimizers or optax's; the state is one state per link.

    Raises:
        ValueError: for no link.
        TypeError: for what is not an optimizer; from rate, where no link has one.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    links: tuple[Optimizer[Any], ...]

    def __init__(self, *links: Any):
        """Hold the links, first to last."""
        if not links:
            raise ValueError("Chain: give at least one optimizer.")
        object.__setattr__(self, "links", tuple(as_optimizer("Chain", link) for link in links))

    def init(self, params):
        """Every link's state."""
        return tuple(link.init(params) for link in self.links)

    @property
    def asks(self):
        """Whether a link does."""
        return any(link.asks for link in self.links)

    def rule(self, state):
        """That of the first link that has one."""
        found = (link.rule(s) for link, s in zip(self.links, state, strict=True))
        return next((r for r in found if r is not None), None)

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """g → u_1 → ... → u_n."""
        states, more = [], {"value": value, "factors": factors}
        for link, s in zip(self.links, state, strict=True):
            grads, s = link.update(grads, s, params, **more)
            states.append(s)
        return grads, tuple(states)

    def rate(self, state):
        """The learning rate of the last link that has one."""
        for link, s in reversed(list(zip(self.links, state, strict=True))):
            try:
                return link.rate(s)
            except TypeError:
                continue
        raise TypeError("Chain: no link has a learning rate.")
