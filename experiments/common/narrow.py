"""First weights of narrower nets out of those of one wide net: drawn, and compiled, once."""

from typing import Any

import fnn


def narrowed(net: fnn.Serial, wide: fnn.Serial, params: Any) -> Any:
    """First weights of `net`: the corner of those of `wide`, rescaled to its sizes.

    Both are multilayer perceptrons with the same activations. The variance of a Dense layer
    drawn by glorot is 2 / (n_in + n_out), so the corner [n_in, n_out] of a layer drawn for
    [N_in, N_out] is multiplied by √((N_in + N_out) / (n_in + n_out)). Leading axes stay.
    """

    def corner(layer, old, p):
        if not isinstance(layer, fnn.Dense):
            return p
        scale = ((old.n_in + old.n_out) / (layer.n_in + layer.n_out)) ** 0.5
        return fnn.DenseParams(
            p.w[..., : layer.n_in, : layer.n_out] * scale, p.b[..., : layer.n_out]
        )

    return tuple(map(corner, net.layers, wide.layers, params))
