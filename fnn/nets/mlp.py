"""The multilayer perceptron, as a Serial of Dense layers and activations.

y = f_L( ... f_1(x w_1 + b_1) ... w_L + b_L)
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fnn.errors import at
from fnn.initializers import glorot_uniform, he_normal
from fnn.layer import Layer, check_layer_type
from fnn.layers.activations import Identity, ReLU
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.serial import Serial
from fnn.records import Array, Key


def mlp(
    sizes: Sequence[int],
    activation: Layer[Any, Any] = ReLU(),
    output: Layer[Any, Any] = Identity(),
    dropout: float = 0.0,
    w_init: Callable[[Key, int, int], Array] | None = None,
) -> Serial:
    """Dense layers of these sizes, inputs first, with an activation after each.

    Args:
        sizes: n_0, n_1, ..., n_L; at least two.
        activation: after every hidden layer.
        output: after the last layer; Identity adds no layer.
        dropout: the rate of a Dropout after every hidden activation; 0 adds no layer.
        w_init: draws the weights; default he_normal in front of an activation that rectifies
            (ReLU and its family), glorot_uniform elsewhere, SELU too.

    Raises:
        ValueError: for fewer than two sizes, or one below 1, by its position.
        TypeError: for a size that is not an integer, by its position.
    """
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise TypeError(f"mlp: sizes must be n_0, ..., n_L, got {sizes!r:.60}.")
    sizes = list(sizes)
    check_layer_type("mlp", activation)
    check_layer_type("mlp", output)
    with at("mlp"):
        dropped = Dropout(dropout)
    if len(sizes) < 2:
        raise ValueError(f"mlp: sizes must be n_0, ..., n_L, at least two, got {list(sizes)}.")
    layers: list[Layer[Any, Any]] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        after = output if last else activation
        rectifies = getattr(after, "rectifies", False)
        default = he_normal if rectifies else glorot_uniform
        try:
            layers.append(Dense(n_in, n_out, default if w_init is None else w_init))
        except (TypeError, ValueError) as error:
            raise type(error)(f"mlp: sizes {list(sizes)}, layer {i}: {error}") from None
        if not (last and after == Identity()):
            layers.append(after)
        if dropped.rate and not last:
            layers.append(dropped)
    return Serial(*layers)
