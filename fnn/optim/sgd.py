"""SGD: gradient descent, on whatever batch the gradient is of.

    update = −η g

Source: Robbins & Monro (1951), Ann. Math. Stat. 22, eq. 8; Cauchy (1847) for the whole set.
"""

from dataclasses import dataclass
from typing import ClassVar

from fnn.errors import check_number
from fnn.optim.optimizer import Optimizer, leafwise
from fnn.records import Array


@dataclass(frozen=True)
class SGD(Optimizer[tuple[()]]):
    """update = −η g.

    Raises:
        ValueError: for a known η that is not above 0.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array  # η

    def __post_init__(self):
        """Reject a rate that climbs."""
        check_number("SGD", "learning_rate", self.learning_rate, 0, open_low=True)

    def init(self, params):
        """Nothing to remember."""
        return ()

    def update(self, grads, state, params=None, *, value=None):
        """−η g."""
        (updates,) = leafwise(self, lambda g: (-self.numbers(g.dtype).learning_rate * g,), grads)
        return updates, ()
