import jax
import numpy as np
import pytest

import fnn
from experiments.common import bundles
from experiments.vanishing_gradients import KINDS, Kind, lowest_rates, network, signals, theory

ROWS = bundles.first_digits(6)


def test_the_bound_multiplies_a_quarter_and_the_largest_singular_value_per_layer():
    found = lowest_rates(np.array([[9.0, 2.0, 8.0], [9.0, 4.0, 4.0]]))
    np.testing.assert_allclose(found, [[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])


def test_in_theory_relu_keeps_the_signal_and_identity_like_tanh_almost():
    np.testing.assert_allclose(theory(KINDS["ReLU"], 5, 0.7), 1.0, rtol=1e-5)
    np.testing.assert_allclose(theory(KINDS["tanh"], 3, 1e-6), 1.0, rtol=1e-4)
    # with q = 0 every z is 0: σ′ = ¼
    flat = Kind(fnn.Sigmoid(), fnn.initializers.glorot_uniform, 1e-12)
    expected = (1e-6 / 4) ** np.array([2.0, 1.0, 0.0])
    np.testing.assert_allclose(theory(flat, 3, 1.0), expected, rtol=1e-4)


@pytest.mark.long
@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["sigmoid", "ReLU"])
def test_signals_are_those_of_a_network_written_out(name):
    kind, key = KINDS[name], jax.random.key(3)
    (found,) = signals(kind, [3], ROWS, key[None])
    (dense, _), (w_out, b_out) = network(kind, 64, 3).init(key)
    f = {"sigmoid": jax.nn.sigmoid, "ReLU": jax.nn.relu}[name]

    def cost(moves, w):
        a = np.asarray(ROWS.x, float)
        for i in range(3):
            a = f(a @ w[i] + dense.b[i] + moves[i])
        log_p = jax.nn.log_softmax(a @ w_out + b_out)
        return -log_p[np.arange(6), ROWS.label].mean()

    deltas, dw = jax.grad(cost, (0, 1))(np.zeros((3, 6, 64)), dense.w)
    np.testing.assert_allclose(found.deltas[0], np.linalg.norm(deltas, axis=(1, 2)), rtol=1e-8)
    np.testing.assert_allclose(found.gradients[0], np.linalg.norm(dw[0]), rtol=1e-8)
    s = np.linalg.svd(np.asarray(dense.w), compute_uv=False)[:, 0]
    assert found.bounds[0, 0] == pytest.approx(s[1] * s[2] / 16)
    assert (found.slack > 1) == (name == "sigmoid")
