"""A stack of recurrent layers, as a Serial.

    z_0 = x        z_l = f_l(d_{l−1}(z_{l−1}))        y = z_L

f_l runs over the whole sequence; d_l is dropout, which stands between layers: none in front of
the first, none behind the last.

Source: Zaremba, Sutskever & Vinyals (2014), arXiv:1409.2329, section 3.1: dropout of what goes
up, never of what goes on in time.
"""

from collections.abc import Callable
from typing import Any

from fnn.errors import at
from fnn.layer import Layer
from fnn.layers.bidirectional import Bidirectional
from fnn.layers.dropout import Dropout
from fnn.layers.lstm import LSTM
from fnn.layers.serial import Serial
from fnn.records import flag, integer


def recurrent(
    n_in: int,
    n_hidden: int,
    n_layers: int,
    kind: Callable[[int, int], Layer[Any, Any]] = LSTM,
    *,
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> Serial:
    """n_layers recurrent layers: x [B, T, n_in], or a Sequence → y [B, T, n_hidden].

    The layers are recurrent_0, dropout_0, recurrent_1 and so on; so are params and the state of a
    Sequence, with which a long sequence goes on: {"recurrent_0": (h, c), ...}.

    Args:
        n_in: the features of x.
        n_hidden: the features of every layer; in both directions y has twice as many.
        n_layers: at least 1.
        kind: (n_in, n_hidden) → layer: LSTM, GRU, RNN, or a function that makes one with
            initializers of yours.
        dropout: the rate of a Dropout between two layers, drawn for every step; 0 adds none.
        bidirectional: every layer runs in both directions and hands 2 n_hidden on. Then no state
            goes from one part of a sequence to the next.

    Raises:
        ValueError: for sizes below 1, a rate outside [0, 1).
        TypeError: for sizes that are not integers, a kind that makes no layer.
    """
    with at("recurrent"):
        dropped, both = Dropout(dropout), flag("bidirectional", bidirectional)
        n = integer("n_layers", n_layers)
        if n < 1:
            raise ValueError(f"n_layers must be at least 1, got {n}.")
        layers: dict[str, Layer[Any, Any]] = {}
        for i in range(n):
            layer = made(kind, n_in if i == 0 else n_hidden * (1 + both), n_hidden)
            layers[f"recurrent_{i}"] = Bidirectional.of(layer) if both else layer
            if dropped.rate and i < n - 1:
                layers[f"dropout_{i}"] = dropped
        return Serial(**layers)


def made(kind: Any, n_in: int, n_hidden: int) -> Layer[Any, Any]:
    """The layer that `kind` makes, of sizes that it refuses itself."""
    layer = kind(n_in, n_hidden) if callable(kind) else None
    if not isinstance(layer, Layer):
        raise TypeError(
            f"kind must make a layer of (n_in, n_hidden), as fnn.LSTM does, got {kind!r:.60}."
        )
    return layer
