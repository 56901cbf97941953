import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.dropout import all_masks

pytestmark = pytest.mark.usefixtures("double_precision")


def small():
    """Parameters, two examples and their targets."""
    keys = jax.random.split(jax.random.key(3), 4)
    params = (all_masks.BEFORE.init(keys[0]), all_masks.AFTER.init(keys[1]))
    return params, jax.random.normal(keys[2], (2, 64)), jax.random.normal(keys[3], (2, 10))


def test_masks_and_their_chances_are_those_of_independent_units():
    masks = all_masks.masks(2)
    assert masks.tolist() == [[False, False], [False, True], [True, False], [True, True]]
    np.testing.assert_allclose(all_masks.chances(masks, 0.2), [0.04, 0.16, 0.16, 0.64])


@pytest.mark.parametrize("inverted", [True, False])
def test_the_mean_loss_in_closed_form_is_that_of_all_masks_one_by_one(inverted):
    params, x, target = jax.tree.map(np.asarray, small())
    ((w1, b1), _), (w2, b2) = params
    a, scale, total = np.maximum(x @ w1 + b1, 0), 1 / 0.7 if inverted else 1, 0.0
    for mask in itertools.product((0, 1), repeat=10):
        chance = np.prod([0.7 if m else 0.3 for m in mask])
        y = (a * mask * scale) @ w2 + b2
        total += chance * ((y - target) ** 2).sum(1).mean()
    drop = fnn.Dropout(0.3, inverted)
    assert float(all_masks.mean_loss(drop, params, x, target)) == pytest.approx(total)


@pytest.mark.long
@pytest.mark.parametrize("inverted", [True, False])
def test_the_gradient_with_a_mask_given_is_that_of_the_masked_loss(inverted):
    params, x, target = small()
    mask = jnp.arange(10) % 3 > 0

    def loss(params):
        ((w1, b1), _), (w2, b2) = params
        z = jnp.where(mask, jnp.maximum(x @ w1 + b1, 0), 0) / (0.6 if inverted else 1)
        return ((z @ w2 + b2 - target) ** 2).sum(1).mean()

    _, value, grads = all_masks.masked(fnn.Dropout(0.4, inverted), params, x, target, mask)
    assert float(value) == pytest.approx(float(loss(params)))
    truth = jax.tree.leaves(jax.grad(loss)(params))
    for ours, theirs in zip(jax.tree.leaves(grads), truth, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
