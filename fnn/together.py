"""The gradient of an array that several layers share: a sum of factors, cross terms in its norm.

    ‖f_b + g_b‖² = ‖f_b‖² + ‖g_b‖² + 2 ⟨f_b, g_b⟩

of a table, f with rows i_t and ε_t what comes to them, that is the head, too, g = Σ_s a_sᵀ d_s;
of other uses the norm of the sum.
"""

import functools
from dataclasses import dataclass

import jax.numpy as jnp

from fnn.by_example import steps
from fnn.columns import Columnwise
from fnn.factors import Alone, Factor, Outer, Rows
from fnn.numerics import widened
from fnn.records import Array


@dataclass(frozen=True, eq=False)
class Together(Factor):
    """The sum of the gradients of several uses."""

    uses: tuple[Factor, ...]

    def gradient(self):
        """Σ over the uses."""
        first, *rest = (f.gradient() for f in self.uses)
        return sum(rest, first)

    def scaled(self, c):
        """c g of each."""
        return Together(tuple(f.scaled(c) for f in self.uses))

    def example(self, b):
        """Of each use."""
        return Together(tuple(f.example(b) for f in self.uses))

    def weighed(self, c, finite):
        """Σ over the uses."""
        return functools.reduce(jnp.add, [f.weighed(c, finite) for f in self.uses])

    def formed(self):
        """g_b, where that of every use is."""
        uses = [f.formed() for f in self.uses]
        return Alone(self.each()) if all(isinstance(f, Alone) for f in uses) else self

    def size(self):
        """Σ over the uses."""
        first, *rest = (f.size() for f in self.uses)
        return sum(rest, first)

    def each(self):
        """g_b, summed over the uses."""
        first, *rest = (f.each() for f in self.uses)
        return sum(rest, first)

    def square_norms(self):
        """‖f‖² + ‖g‖² + 2 ⟨f, g⟩ of a table's rows and a head; of others that of the sum."""
        rows = [f for f in self.uses if isinstance(f, Rows)]
        outer = [f for f in self.uses if isinstance(f, Outer | Columnwise)]
        if (len(rows), len(outer), len(self.uses)) != (1, 1, 2):
            return super().square_norms()
        (f,), (g,) = rows, outer
        return jnp.maximum(f.square_norms() + g.square_norms() + 2 * between(f, g), 0)


def between(f: Rows, g: Outer | Columnwise) -> Array:
    """⟨f_b, g_b⟩ = Σ_t Σ_s (ε_t·d_s) a_s[i_t], ε_t what comes to row i_t, of each example."""
    i = f.i.reshape(len(f.i), -1)
    d, at_rows = g.at_rows(jnp.where((i >= 0) & (i < f.n), i, -1))
    e, d, at_rows = widened(steps(f.d), d, at_rows)
    return jnp.einsum("btn,bsn,bst->b", e, d, at_rows)
