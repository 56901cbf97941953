"""Foreign: somebody else's optimizer, a pair of functions, among ours.

optax's transformations are functions, not data: static, told apart by identity. One
object traces once; a rebuilt one is another.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fnn.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Foreign(Optimizer[Any]):
    """update = update_fn(grads, state, params), from an init and an update function.

    Raises:
        TypeError: from update, for an update_fn that asks for more than that and the loss.
    """

    theirs: ClassVar[bool] = True

    init_fn: Callable[..., Any] = field(metadata={"static": True})
    update_fn: Callable[..., Any] = field(metadata={"static": True})

    def init(self, params):
        """The other optimizer's state."""
        return self.init_fn(params)

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """The other optimizer's update, with the loss and factors where it asks for them."""
        asked = inspect.signature(self.update_fn).parameters.values()
        given = {"value": value, "factors": factors}
        every = any(p.kind is p.VAR_KEYWORD for p in asked)
        takes = {n for n in given if every or n in {p.name for p in asked}}
        more = {n: v for n, v in given.items() if n in takes and v is not None}
        try:
            return self.update_fn(grads, state, params, **more)
        except TypeError as error:
            if "missing" not in str(error):
                raise
            raise TypeError(
                f"Foreign: the optimizer asks for more than gradients, params and the loss "
                f"({error}); one that evaluates the loss itself cannot run in a Plan."
            ) from error


def as_optimizer(owner: str, optimizer: Any) -> Optimizer[Any]:
    """`optimizer` itself, or a Foreign around another library's init and update.

    Raises a TypeError for what is neither.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    init, update = getattr(optimizer, "init", None), getattr(optimizer, "update", None)
    if isinstance(optimizer, type) or not (callable(init) and callable(update)):
        remedy = f"; build it: {optimizer.__name__}(...)" if isinstance(optimizer, type) else ""
        raise TypeError(
            f"{owner}: the optimizer must have init and update, got {optimizer!r:.60}{remedy}."
        )
    return Foreign(init, update)
