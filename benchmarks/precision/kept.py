"""The rows of the sweeps."""

from typing import NamedTuple

DTYPES = {"float64": 400, "float32": 80, "bfloat16": 80}  # and the digits of the truth


class Kept(NamedTuple):
    """The largest errors of one function in one dtype, in rounding units."""

    function: str
    dtype: str
    sweep: str  # magnitudes, offsets, tails
    what: str  # y, dx, gradients
    entry: float  # relative to the entry itself
    array: float  # relative to the largest entry of its array
    at: str  # where the first is largest
