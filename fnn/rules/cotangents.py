"""The error signal δ of every layer.

    δ_l = ∂L/∂y_l, the cotangent that arrives at layer l from above

For Dense layers y_l is the pre-activation z_l, so their δ is the delta of the textbooks.
The result has the nesting of the net, one array in the shape of y_l per leaf (n of them
stacked under Repeat): deltas[0] is the first layer's in a Serial. Under jit a delta that
nobody reads costs nothing.

Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 5 and 7.
"""

from fnn.ruling import rule


@rule
def deltas(layer, params, cache, dy):
    """δ = dy."""
    _, dx = layer.backward(params, cache, dy)
    return dy, dx
