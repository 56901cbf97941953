import itertools

import jax
import numpy as np
import pytest

import fnn
from experiments.minima.matching import matched, reordered


def drawn(sizes, seed=0):
    """Params of fnn.mlp(sizes), () for every activation between."""
    rng, params = np.random.default_rng(seed), []
    for n_in, n_out in itertools.pairwise(sizes):
        params += [fnn.DenseParams(rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)), ()]
    return tuple(params[:-1])


def test_reordered_units_compute_the_same():
    rng, params = np.random.default_rng(0), drawn([4, 5, 6, 3])
    x = rng.normal(size=(7, 4))

    def y(params):
        (w1, b1), _, (w2, b2), _, (w3, b3) = params
        return np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3

    other = reordered(params, [rng.permutation(5), rng.permutation(6)])
    assert abs(other[0].w - params[0].w).max() > 0.1
    np.testing.assert_allclose(y(other), y(params), rtol=1e-12)


def test_reordered_by_hand():
    first = fnn.DenseParams(np.array([[1.0, 2.0]]), np.array([3.0, 4.0]))
    last = fnn.DenseParams(np.array([[5.0], [6.0]]), np.array([7.0]))
    (w, b), _, (w_last, b_last) = reordered((first, (), last), [np.array([1, 0])])
    assert (w.tolist(), b.tolist()) == ([[2.0, 1.0]], [4.0, 3.0])
    assert (w_last.tolist(), b_last.tolist()) == ([[6.0], [5.0]], [7.0])
    with pytest.raises(ValueError, match="2 Dense layers need 1 orders"):
        reordered((first, (), last), [])


def test_matching_undoes_a_permutation():
    params = drawn([4, 20, 30, 3])
    rng = np.random.default_rng(0)
    shuffled = reordered(params, [rng.permutation(20), rng.permutation(30)])
    back = reordered(shuffled, matched(params, shuffled))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_one_hidden_layer_is_matched_as_well_as_can_be():
    a, b = (drawn([2, 4, 2], seed) for seed in (0, 1))

    def gap(order):
        leaves = map(jax.tree.leaves, (a, reordered(b, [np.array(order)])))
        return sum(((p - q) ** 2).sum() for p, q in zip(*leaves, strict=True))

    best = min(map(gap, itertools.permutations(range(4))))
    assert gap(matched(a, b)[0]) == pytest.approx(best)
