"""The hidden units of one multilayer perceptron, put in the order of another's.

A unit of hidden layer l is a column of w_l and of b_l and a row of w_{l+1}; moving all three
to another place leaves the function as it is. The orders π_l that bring the weights of b
nearest to those of a maximise, with h_l the identity for inputs and outputs,

    Σ_l Σ_ij w_l^a[i, j] w_l^b[π_{l−1}(i), π_l(j)] + Σ_l Σ_j b_l^a[j] b_l^b[π_l(j)]

and with all but one of them fixed that is a linear assignment problem. They are solved in
random turn until none improves.

Source: Ainsworth, Hayase & Srinivasa (2023), arXiv:2209.04836, algorithm 1; the assignment:
scipy.optimize.linear_sum_assignment.
"""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

import fnn

Orders = list[np.ndarray]  # of every hidden layer: place → the unit that goes there


def dense_places(params: Any) -> list[int]:
    """Where the Dense layers are among the params of a Serial."""
    return [i for i, p in enumerate(params) if isinstance(p, fnn.DenseParams)]


def reordered(params: Any, orders: Orders) -> Any:
    """The same function with its hidden units in these orders."""
    places = dense_places(params)
    if len(orders) != len(places) - 1:
        raise ValueError(f"{len(places)} Dense layers need {len(places) - 1} orders.")
    parts = list(params)
    for i, before, after in zip(places, [None, *orders], [*orders, None], strict=True):
        w, b = params[i]
        w = w if before is None else w[before]
        if after is not None:
            w, b = w[:, after], b[after]
        parts[i] = fnn.DenseParams(w, b)
    return tuple(parts)


def matched(a: Any, b: Any, seed: int = 0, most: int = 100) -> Orders:
    """The orders for b that bring it nearest to a, as far as taking turns gets."""
    rng = np.random.default_rng(seed)
    one, two = ([tuple(np.asarray(v) for v in p[i]) for i in dense_places(p)] for p in (a, b))
    orders: Orders = [np.arange(len(bias)) for _, bias in one[:-1]]
    for _ in range(most):
        before = [order.copy() for order in orders]
        for l in rng.permutation(len(orders)):
            orders[l] = linear_sum_assignment(likeness(one, two, orders, l), maximize=True)[1]
        if all(map(np.array_equal, before, orders)):
            break
    return orders


def likeness(one: Any, two: Any, orders: Orders, l: int) -> np.ndarray:
    """[j, k]: what the sum gains where unit k of b takes place j of hidden layer l."""
    (w_a, b_a), (w_b, b_b) = one[l], two[l]
    (next_a, _), (next_b, _) = one[l + 1], two[l + 1]
    incoming = w_b if l == 0 else w_b[orders[l - 1]]
    outgoing = next_b if l + 1 == len(orders) else next_b[:, orders[l + 1]]
    return w_a.T @ incoming + next_a @ outgoing.T + np.outer(b_a, b_b)
