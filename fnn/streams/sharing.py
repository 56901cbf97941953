"""Streams of several processes: each reads its own batches, which stand side by side in a step.

    rows    [slots, Σ size, …]      batch i of process 0, then of process 1, …
    real    [slots, Σ size]         which of these rows count

Every process has the same number of rows in a batch, the most that any has. A step is taken when
all have a batch, or are at their end: in the place of those that one process lacks stand rows of
its first batch that count nothing. With drop_last the pass ends for all with the first.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.composite import mixes
from fnn.devices.group import Elsewhere, group_of, same
from fnn.devices.rows import MIXES, even
from fnn.sharding import DATA, Layout
from fnn.streams.reading import END, Reader
from fnn.streams.sources import Place
from fnn.streams.windows import Intake, Window, form_of

FAILED, NOTHING = -2, -1  # in the place of a number of batches


class Shared:
    """What one process hands to the others, and has from them, of a stream."""

    def __init__(self, layout: Layout, steps: int | None):
        """Of the processes that share a State with this layout; `steps` of an epoch, if said."""
        self._layout, self._group, self._steps = layout, group_of(layout), steps
        self._mixed, self._drops = False, False
        self._filler: Any = None  # a window of rows that count nothing, where any are wanted
        self._held: Any = None  # what this process has, and some of the others have not

    def intake(self, voice: str, trained: Any, first: Any, own: Intake) -> Intake:
        """What every batch is like, in every process; `own` is what it is like here.

        Raises:
            ValueError: where it is not like the others' but for the number of rows.
        """
        forms = self._group.of_all([form_of(a) for a in jax.tree.leaves(own.like)])
        if not same(forms):
            raise ValueError(
                f"{voice.format(1, 1)}: its arrays must be the same in all processes but for the "
                f"rows, got {' and '.join(' '.join(form) for form in forms)}."
            )
        self._drops, self._mixed = own.drop_last, mixes(trained[0])
        sizes = self._group.numbers(own.size)
        size = even(self._layout, self._group, int(sizes.max()))
        if (sizes != size).any() and (self._drops or self._mixed):
            why = "where layers mix examples (BatchNorm)" if self._mixed else "with drop_last"
            raise ValueError(
                f"{voice.format(1, 1)}: {why} every process must have as many rows in a batch, "
                f"equally many for each of its devices: {size}, got {', '.join(map(str, sizes))}."
            )
        intake = Intake(voice, trained, first, size, own.drop_last, self._uploaded)
        intake.said = own.said
        if not self._drops:
            filling = intake.window()
            while not filling.full:
                filling.put(Place(), first)
            self._filler = filling.on_device()
        return intake

    def take(self, reader: Reader, wait: float | None, place: Place) -> Any:
        """The next window of all, END behind the last, None where some process has none yet.

        `place` is where the source stands here.

        Raises:
            Elsewhere: where another one could not read on.
            ValueError: where one has fewer batches, and a layer mixes examples.
        """
        error = None
        try:
            self._held = self._held or reader.take(wait, filled=True)
        except Exception as failed:
            error = failed
        found = self._group.numbers(FAILED if error else batches_in(self._held))
        if error is not None:
            raise error
        if found.min() == FAILED:
            where = int(found.argmin())
            raise Elsewhere(f"the reader of process {where} failed, whose error says why.")
        return None if found.min() == NOTHING else self._together(found, place)

    def _together(self, found, place):
        """The window of all, as long as the longest, or the shortest with drop_last."""
        own, ended = self._held, self._held is END
        if self._mixed and not self._drops and found.min() < found.max():
            raise ValueError(f"process {int(found.argmin())} has fewer batches; {MIXES}")
        endless = self._steps is not None and found.min() == 0  # the epoch wants more
        n = int(found.min() if self._drops or endless else found.max())
        self._held = END if ended and n else None
        if n == 0:
            return END
        window, real = (self._filler if ended else own), None
        places = () if ended else own.places
        if not self._drops:
            real = np.zeros_like(self._filler.real)
            real[: len(places)] = window.real[: len(places)]
            real = self._of_all(real)
        places += (n - len(places)) * (places[-1:] or (place,))
        return Window(window.rows, real, places[:n])

    def _uploaded(self, rows, real, n):
        """Rows of this process in their places on the devices; `real` stays here."""
        for a in jax.tree.leaves(rows):
            a[n:] = a[0]  # beside batches of others, where they count nothing
        return jax.tree.map(self._of_all, rows), real

    def _of_all(self, a):
        """An array [slots, size, …] of this process as its part of that of all."""
        sharding = NamedSharding(self._layout.mesh, PartitionSpec(None, DATA))
        return jax.make_array_from_process_local_data(sharding, a)

    def begins_anew(self) -> None:
        """Nothing was taken of the pass that comes."""
        self._held = None


def batches_in(window: Any) -> int:
    """How many batches a window has."""
    if window is None:
        return NOTHING
    return 0 if window is END else len(window.places)
