"""Tests of fnn.loss."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.logits import Logits
from fnn.loss import Loss, check_loss_type, compared
from fnn.mean import spread

F64 = jnp.dtype("float64")


@dataclass(frozen=True)
class Linear(Loss):
    """losses = Σ_j y_j t_j."""

    def check(self, y, target):
        pass

    def forward(self, y, target):
        return (y * target).sum(-1), target

    def backward(self, cache, dl):
        return spread(dl, cache)


def test_value_and_backward_is_forward_then_backward():
    y, t = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[10.0, 0.0], [0.0, 5.0]])
    losses, dy = Linear().value_and_backward(y, t, jnp.array([2.0, 3.0]))
    np.testing.assert_array_equal(losses, [10, 20])
    np.testing.assert_array_equal(dy, [[20, 0], [0, 15]])


@dataclass(frozen=True)
class Whole(Linear):
    """losses = Σ_t Σ_j y_tj t_tj."""

    whole_sequences = True


def test_a_loss_of_sequences_sees_the_mask_and_another_has_its_predictions_counted():
    mask = jnp.array([[True, False]])
    y = fnn.Sequence(jnp.ones((1, 2, 3)), mask, state=(jnp.ones((1, 4)),), memory=jnp.ones((1, 3)))
    array, counted = compared(Linear(), y)
    assert array is y.x
    assert counted is mask
    seen, counted = compared(Whole(), y)
    assert (seen.x is y.x, seen.mask is mask) == (True, True)
    assert (seen.state, seen.memory, counted) == (None, None, None)
    assert compared(Whole(), y.x)[0] is y.x


def test_undecorated_loss_is_refused():
    class Plain(Linear):
        pass

    with pytest.raises(TypeError, match=r"^Plain: write @dataclass\(frozen=True\) above"):
        Plain()


def test_incomplete_loss_is_refused():
    @dataclass(frozen=True)
    class Incomplete(Loss):
        def check(self, y, target):
            pass

    with pytest.raises(TypeError, match="abstract class Incomplete .*backward.*forward"):
        Incomplete()


@pytest.mark.parametrize(("y", "losses"), [((5,), (5,)), ((5, 3), (5,)), ((2, 3, 4), (2, 3))])
def test_one_loss_for_every_prediction(y, losses):
    assert Linear().shape(jax.ShapeDtypeStruct(y, F64)) == losses


def test_every_prediction_counts():
    assert Linear().counted(jnp.zeros(3)) is None


H, W = jnp.array([[1.0, 2.0], [0.0, -1.0]]), jnp.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
T = jnp.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])


def test_factored_logits_are_multiplied_out_and_their_cotangent_sent_to_both_factors():
    loss, y, dl = Linear(), Logits(H, W), jnp.array([1.0, 10.0])
    losses, cache = loss.forward(y, T)  # z = [[1, 6, 4], [0, −3, −1]]
    np.testing.assert_array_equal(losses, [7, -7])
    dy = loss.backward(cache, dl)  # dz = [[1, 1, 0], [0, 20, 10]]
    assert isinstance(dy, Logits)
    np.testing.assert_array_equal(dy.h, [[1, 3], [20, 70]])
    np.testing.assert_array_equal(dy.w, [[1, 1, 0], [2, -18, -10]])
    again, same = loss.value_and_backward(y, T, dl)
    np.testing.assert_array_equal(again, losses)
    np.testing.assert_array_equal(same.h, dy.h)
    np.testing.assert_array_equal(same.w, dy.w)
    assert loss.shape(y) == (2,)


def test_a_loss_with_a_fused_form_takes_factored_logits_as_they_are():
    @dataclass(frozen=True)
    class Fused(Linear):
        fused = True

        def forward(self, y, target):
            assert isinstance(y, Logits)
            return (y.whole() * target).sum(-1), (y, target)

        def backward(self, cache, dl):
            y, target = cache
            return y.backward(spread(dl, target))

    ours = Fused().value_and_backward(Logits(H, W), T, jnp.ones(2))
    theirs = Linear().value_and_backward(Logits(H, W), T, jnp.ones(2))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1].w, theirs[1].w)


@pytest.mark.parametrize("loss", [fnn.SquaredError(), fnn.SoftmaxCrossEntropy()], ids=repr)
def test_every_loss_takes_factored_logits_and_checks_their_whole_shape(loss):
    y, target = Logits(H, W), jnp.eye(3)[:2]
    whole = loss.forward(y.whole(), target)[0]
    np.testing.assert_allclose(loss.forward(y, target)[0], whole)
    with pytest.raises(ValueError, match=r"target must have .*\[2, 3\].* got \[2, 2\]"):
        loss.forward(y, target[:, :2])
    with pytest.raises(ValueError, match=r"Logits must hold h \[B, ..., n\] and w \[n, V\], got"):
        loss.check(Logits(H, W.T), target)


def test_what_is_no_loss_is_refused():
    check_loss_type("f", Linear())
    with pytest.raises(TypeError, match="^f: loss must be a Loss, got 'mse'"):
        check_loss_type("f", "mse")
    with pytest.raises(TypeError, match=r"got <class .*Linear'>; build it: Linear\(\.\.\.\)"):
        check_loss_type("f", Linear)
