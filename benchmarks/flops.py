"""The FLOPs of a program's matrix products and convolutions, counted in its jaxpr.

    FLOPs = Σ over products of 2 · entries of the result · terms of every entry

A loop counts as often as it runs, of branches the one with the most; what a mask leaves out counts
all the same, zeros that a convolution puts between entries do not. XLA's own figure has the body
of a loop once. A loop of unknown length must not have products.
"""

import math
from collections.abc import Callable
from typing import Any

import jax

from fnn.checking.measure.jaxprs import programs


def products(f: Callable[..., Any], *args: Any) -> int:
    """The FLOPs of f(*args), which is traced and not run."""
    return total(jax.make_jaxpr(f)(*args).jaxpr)


def total(program: Any) -> int:
    """Of all operations."""
    return sum(map(flops, program.eqns))


def flops(eqn: Any) -> int:
    """Of one operation, and of what is inside of it."""
    name = eqn.primitive.name
    if name in TERMS:
        return 2 * eqn.outvars[0].aval.size * TERMS[name](eqn) // zeros(eqn)
    inside = [total(program) for program in programs(eqn)]
    if name == "cond":
        return max(inside)
    if name == "while" and any(inside):
        raise ValueError("products in a loop of unknown length cannot be counted")
    return sum(inside) * (eqn.params["length"] if name == "scan" else 1)


def contracted(eqn: Any) -> int:
    """The terms of an entry of dot_general."""
    (axes, _), _ = eqn.params["dimension_numbers"]
    return math.prod(eqn.invars[0].aval.shape[i] for i in axes)


def kernel(eqn: Any) -> int:
    """The terms of an entry of a convolution: the kernel without its outputs."""
    shape = eqn.invars[1].aval.shape
    return math.prod(shape) // shape[eqn.params["dimension_numbers"].rhs_spec[0]]


def zeros(eqn: Any) -> int:
    """How many times as many entries a convolution's input has with the zeros in between."""
    return math.prod(eqn.params.get("lhs_dilation", ()))


TERMS = {"dot_general": contracted, "conv_general_dilated": kernel}
