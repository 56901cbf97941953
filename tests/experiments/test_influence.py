import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from experiments import influence
from experiments.common import bundles
from experiments.influence import FOUND, NEAREST, NET, RANDOM, Config, Mistake, ready

KEYS = jax.random.split(jax.random.key(0), 3)
DATA = bundles.digits()
TRAIN, TEST = ready(DATA.train), ready(DATA.test)
LABEL = DATA.train.label


def loss_of(params, x, label):
    y = jax.nn.log_softmax(NET.forward(params, x[None])[0])[0, label]
    return -y


@pytest.mark.long
def test_influence_is_the_sum_of_products_of_gradients_along_the_way():
    every = jax.vmap(NET.init)(KEYS[:2])
    x, label = TEST[0][3], TEST[1][3]
    found = influence.influences(every, (TRAIN[0][:4], TRAIN[1][:4]), x, label)
    want = np.zeros(4)
    for k in range(2):
        params = jax.tree.map(lambda a, k=k: a[k], every)
        g = ravel_pytree(jax.grad(loss_of)(params, x, label))[0]
        for b in range(4):
            want[b] += g @ ravel_pytree(jax.grad(loss_of)(params, TRAIN[0][b], TRAIN[1][b]))[0]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_digits_are_as_many_as_the_module_says():
    assert len(LABEL) == influence.N


def test_who_is_left_out():
    said = int(LABEL[7])
    score = np.arange(len(LABEL), dtype=float)[::-1]
    digit = 5
    got = influence.suspects(Mistake(0, digit, said, 1.0, score), 3, np.random.default_rng(0))
    assert list(got[FOUND]) == [len(LABEL) - 1 - i for i in range(3)]
    alike = np.flatnonzero(said == LABEL)
    far = [((DATA.train.x[i] - DATA.test.x[digit]) ** 2).sum() for i in alike]
    assert set(got[NEAREST]) == set(alike[np.argsort(far)[:3]])
    assert set(got[RANDOM]) <= set(alike)
    assert len(set(got[RANDOM])) == 3


def test_wrong_labels_are_as_many_as_they_should_be_and_wrong():
    label, wrong = influence.mislabelled(KEYS[0], 0.1, TRAIN[1])
    assert int(wrong.sum()) == round(0.1 * len(LABEL))
    np.testing.assert_array_equal(np.asarray(label) != LABEL, wrong)
    assert len(set((np.asarray(label) - LABEL)[np.asarray(wrong)] % 10)) == 9


def test_precisions_by_hand():
    score = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    wrong = np.array([True, False, True, False, True])
    np.testing.assert_allclose(influence.precisions(score, wrong), [1, 2 / 3, 3 / 5])


def test_one_pass_has_gradient_norms_products_and_losses():
    params, batch = NET.init(KEYS[0]), (TRAIN[0][:4], TRAIN[1][:4])
    held = TEST[0][:6], TEST[1][:6]
    done = jax.jit(influence.looking)(params, batch, held)
    rows = [ravel_pytree(jax.grad(loss_of)(params, *each))[0] for each in zip(*batch, strict=True)]
    g = np.mean(
        [ravel_pytree(jax.grad(loss_of)(params, *h))[0] for h in zip(*held, strict=True)], 0
    )
    grads, norms, slopes = done.result
    np.testing.assert_allclose(ravel_pytree(grads)[0], np.mean(rows, 0), atol=1e-6)
    np.testing.assert_allclose(fnn.rules.total(norms), [r @ r for r in rows], rtol=1e-4)
    np.testing.assert_allclose(fnn.rules.total(slopes), [r @ g for r in rows], rtol=1e-3, atol=1e-5)
    assert done.losses.shape == (4,)


@pytest.mark.long
def test_what_is_watched_is_of_the_right_digits():
    config = Config(batch_size=400, wrong_epochs=2, wrong_rate=1e-6)
    seen = influence.watched(config, KEYS[0], TRAIN, TEST)
    losses = np.asarray(seen.losses)
    assert ((losses > 0).sum(1) == 1200).all()  # the rest of each permutation is not seen
    there = losses[0] > 0
    np.testing.assert_allclose(losses[0][there], np.asarray(seen.end)[there], rtol=1e-3)
    assert (np.asarray(seen.norms)[0] > 0).sum() == 1200


@pytest.mark.long
def test_digits_that_weigh_nothing_teach_nothing():
    config, x = Config(epochs=2), jnp.where(jnp.arange(len(LABEL))[:, None] < 900, TRAIN[0], 7.0)
    weights = (jnp.arange(len(LABEL)) < 900).astype(jnp.float32)
    one, _ = influence.trained(config, KEYS[0], TRAIN, weights)
    two, _ = influence.trained(config, KEYS[0], (x, TRAIN[1]), weights)
    jax.tree.map(np.testing.assert_array_equal, one, two)
