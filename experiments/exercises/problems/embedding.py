"""An embedding: look a word up in a table.

    y_it = table[ids_it]

ids [B, T] are the numbers of words, table [V, n] has a row for each word that there is. Write
dtable = ∂L/∂table. The ids are whole numbers and have no derivative.

    1. Row v of the table goes into y wherever ids is v: once, often, or never.
    2. a.at[ids].add(d) adds to rows of a; a repeated id adds every time.
"""

import jax.numpy as jnp
import numpy as np

from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(ids, table):
    """ids [B, T] of whole numbers, table [V, n] → y [B, T, n]."""
    return table[ids]


def backward(ids, table, dy):
    """Return dtable [V, n]."""
    return jnp.zeros_like(table).at[ids].add(dy)


def library(ids, table, dy):
    """The same as a dense layer's dw: the input is a 1 at each id, else 0."""
    x = (ids[..., None] == jnp.arange(len(table))).astype(dy.dtype)
    return jnp.einsum("btv,btn->vn", x, dy)


def counts(ids, table):
    """How often each word occurs, [V, 1]."""
    return jnp.zeros_like(table[:, :1]).at[ids].add(1)


EXERCISE = Exercise(
    __name__,
    level=6,
    teaches="what is used twice is summed twice",
    asked="dtable",
    cases=({"ids": np.array([[3, 0, 3, 5], [1, 3, 0, 2]])} | draw(table=(6, 3)),),
    derivation="""\
∂y_it/∂table_v = 1 where ids_it = v, else 0
dtable_v = Σ dy_it over all i, t with ids_it = v
It is a dense layer whose x has a 1 at ids and 0 elsewhere, without the multiplications.
Source: Bengio, Ducharme, Vincent & Jauvin (2003), JMLR 3, section 2.""",
    library=library,
    mistakes=(
        Mistake(
            "dtable",
            "set keeps one dy of a repeated word and forgets the others. Add them up.",
            lambda ids, table, dy: jnp.zeros_like(table).at[ids].set(dy),
        ),
        Mistake(
            "dtable",
            "Begin with zeros: a word that does not occur has derivative 0.",
            lambda ids, table, dy: table.at[ids].add(dy),
        ),
        Mistake(
            "dtable",
            "A repeated word sums its dy; it does not average them.",
            lambda ids, table, dy: backward(ids, table, dy) / jnp.maximum(counts(ids, table), 1),
        ),
    ),
)
