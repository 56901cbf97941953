"""What bad values get under jit, where nobody can raise: NaN, in loss and gradient."""

import jax
import jax.numpy as jnp
import pytest

import fnn

Y = jnp.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
LABELS = jnp.array([0, 2])
MSE, CE, BCE = fnn.SquaredError(), fnn.SoftmaxCrossEntropy(), fnn.SigmoidBinaryCrossEntropy()

POISONED = {
    "label C": (CE, Y, jnp.array([0, 3])),
    "label -1": (CE, Y, jnp.array([0, -1])),
    "label 2³² + 1": (CE, Y, jnp.array([0, 2**32 + 1])),
    "label of probabilities": (fnn.CrossEntropy(), Y, jnp.array([0, 3])),
    "row that sums to 2": (CE, Y, jnp.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])),
    "row with a negative entry": (CE, Y, jnp.array([[1.0, 0.0, 0.0], [1.5, -0.5, 0.0]])),
    "binary target 2": (BCE, Y, jnp.ones((2, 3)).at[1].set(2.0)),
    "probability 1.5": (fnn.BinaryCrossEntropy(), Y.at[1].set(1.5), jnp.ones((2, 3))),
    "class probability 1.5": (fnn.CrossEntropy(), Y.at[1, 0].set(1.5), LABELS),
    "hinge target 0": (fnn.Hinge(), Y, jnp.ones((2, 3)).at[1].set(0.0)),
    "NaN target": (MSE, Y, Y.at[1].set(jnp.nan)),
}


@pytest.mark.parametrize("name", POISONED)
def test_bad_values_under_jit_poison_loss_and_gradient_of_their_row(name):
    loss, y, target = POISONED[name]

    @jax.jit
    def both(y, target):
        losses, cache = loss.forward(y, target)
        return losses, loss.backward(cache, jnp.ones_like(losses))

    losses, dy = both(y, target)
    assert jnp.isnan(losses).tolist() == [False, True]
    assert jnp.isfinite(dy[0]).all()
    assert jnp.isnan(dy[1]).any()


@pytest.mark.parametrize("n_classes", [3, 300])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "int64"])
def test_labels_of_every_integer_dtype_mean_the_same(dtype, n_classes):
    y = jax.random.normal(jax.random.key(0), (2, n_classes))
    loss = fnn.SoftmaxCrossEntropy(ignore_label=-1)
    for f in (loss.value_and_backward, jax.jit(loss.value_and_backward)):
        out = f(y, LABELS.astype(dtype), jnp.ones(2))
        expected = CE.value_and_backward(y, LABELS, jnp.ones(2))
        assert jnp.array_equal(out[0], expected[0])
        assert jnp.array_equal(out[1], expected[1])
