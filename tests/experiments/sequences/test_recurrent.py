import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.sequences import recurrent
from experiments.sequences.recurrent import KINDS, N_HIDDEN


def drawn(name, length=6, n=5):
    x, target = recurrent.adding(np.random.default_rng(1), n, length)
    params = jax.tree.map(lambda a: np.asarray(a, float), network(name).init(jax.random.key(2)))
    return params, x.astype(float), target.astype(float)


network = recurrent.network


def test_adding_marks_one_step_of_each_half_and_says_always_1_misses_by_a_sixth():
    x, target = recurrent.adding(np.random.default_rng(0), 4000, 7)
    value, mark = x[..., 0], x[..., 1]
    np.testing.assert_array_equal(mark[:, :3].sum(1), 1)
    np.testing.assert_array_equal(mark[:, 3:].sum(1), 1)
    assert mark.mean(0).min() > 0.2
    np.testing.assert_allclose((value * mark).sum(1), target[:, 0], rtol=1e-6)
    assert ((target - 1) ** 2).mean() == pytest.approx(recurrent.VARIANCE, rel=0.05)


@pytest.mark.long
@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", KINDS)
def test_signal_is_the_gradient_of_a_layer_that_begins_at_the_step(name):
    params, x, target = drawn(name)
    found = recurrent.signal(name, params, x, target).norms
    for t in (0, 2, 5):
        state = KINDS[name].forward(params[0], fnn.Sequence(jnp.asarray(x[:, :t])))[0].state

        def cost(state, t=t):
            y, _ = KINDS[name].forward(params[0], fnn.Sequence(jnp.asarray(x[:, t:]), None, state))
            said = y.x[:, -1] @ params[2].w + params[2].b
            return ((said - target) ** 2).sum()

        grads = jax.tree.leaves(jax.grad(cost)(state))
        expected = np.sqrt(sum((g**2).sum(-1) for g in grads))
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-9)


@pytest.mark.usefixtures("double_precision")
def test_signal_of_an_rnn_is_the_product_of_its_jacobians_and_below_the_bound():
    params, x, target = drawn("RNN")
    wh, length = params[0].wh, x.shape[1]
    found = recurrent.signal("RNN", params, x, target)
    h, _ = KINDS["RNN"].forward(params[0], x)
    h = np.asarray(h)
    d = 2 * (h[:, -1] @ params[2].w + params[2].b - target) @ params[2].w.T
    bound = np.linalg.norm(d, axis=-1)
    for t in range(length, -1, -1):
        np.testing.assert_allclose(found.norms[:, t], np.linalg.norm(d, axis=-1), rtol=1e-9)
        np.testing.assert_allclose(found.bounds[:, t], bound, rtol=1e-9)
        slope = 1 - h[:, t - 1] ** 2
        d = (d * slope) @ wh.T
        bound = bound * np.linalg.svd(wh)[1][0] * slope.max(-1)
    assert found.slack() > 1
    np.testing.assert_allclose(found.share()[0], 1)
    assert found.share()[-1] == pytest.approx(
        np.linalg.norm(found.norms[:, 0]) / np.linalg.norm(found.norms[:, -1])
    )


@pytest.mark.long
def test_training_lowers_the_loss_of_every_start_and_differs_between_them():
    rng = np.random.default_rng(0)
    rows, others = recurrent.adding(rng, 96, 4), recurrent.adding(rng, 50, 4)
    run = recurrent.learned("GRU", rows, others, jax.random.split(jax.random.key(0), 2), 3)
    assert run.losses.shape == (2, 3)
    assert (run.losses[:, -1] < run.losses[:, 0]).all()
    assert run.first[0].wh.shape == (2, N_HIDDEN, 3 * N_HIDDEN)
    assert abs(run.last[0].wh - run.first[0].wh).max() > 1e-3
    assert abs(run.first[0].wh[0] - run.first[0].wh[1]).max() > 1e-3


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_steps_before_the_sequences_change_nothing(name):
    params, x, _ = drawn(name)
    params, x = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (params, x))
    y, _ = KINDS[name].forward(params[0], x)
    longer, _ = KINDS[name].forward(params[0], recurrent.padded(x, 9))
    assert longer.x.shape == (5, 9, N_HIDDEN)
    np.testing.assert_allclose(longer.x[:, 3:], y, rtol=1e-6)
