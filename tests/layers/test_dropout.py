"""Tests of fnn.layers.dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

from fnn.evaluation import inference
from fnn.layers.activations import Identity
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout, DropoutCache, DropPath
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(7)


@pytest.mark.parametrize(
    "layer", [Dropout(0.3), Dropout(0.3, inverted=False), DropPath(0.3)], ids=repr
)
def test_contract(layer):
    check_layer(layer, noise(5, 3), key=KEY)


@pytest.mark.parametrize("layer", [Dropout(0.3), DropPath(0.3)], ids=repr)
def test_contract_of_sequences(layer):
    check_sequence(layer, Sequence(noise(2, 5, 3), MASK), key=KEY, steps=False)


@pytest.mark.parametrize(
    ("inverted", "y", "dx"),
    [(True, [[4.0, 0, 8]], [[4.0, 0, -4]]), (False, [[1.0, 0, 2]], [[1.0, 0, -1]])],
    ids=["inverted", "standard"],
)
def test_backward_uses_the_mask_and_the_factor_of_forward(inverted, y, dx):
    layer = Dropout(0.75, inverted)
    kept = jnp.array([[True, False, True]])
    np.testing.assert_allclose(layer.masked(kept, jnp.array([[1.0, 5, 2]])), y)
    _, ours = layer.backward((), DropoutCache(kept), jnp.array([[1.0, 3, -1]]))
    np.testing.assert_allclose(ours, dx)


@pytest.mark.parametrize("inverted", [True, False])
def test_output_at_test_time_is_the_mean_of_the_training_output(inverted):
    layer, x = Dropout(0.3, inverted), jnp.ones((100, 300))
    y, _ = layer.forward((), x, key=KEY)
    net, params = inference(layer, ())
    at_test_time, _ = net.forward(params, x)
    assert np.mean(y) == pytest.approx(float(at_test_time.mean()), rel=0.02)
    assert np.mean(y == 0) == pytest.approx(0.3, rel=0.04)


def test_drop_path_drops_whole_examples_and_keeps_the_others_scaled():
    x, dy = noise(40, 5, 3), noise(40, 5, 3, seed=2)
    y, cache = DropPath(0.75).forward((), x, key=KEY)
    _, dx = DropPath(0.75).backward((), cache, dy)
    kept = np.asarray(cache.kept)
    assert kept.shape == (40, 1, 1)
    assert 2 < kept.sum() < 20
    np.testing.assert_array_equal(y, np.where(kept, 4 * x, 0))
    np.testing.assert_array_equal(dx, np.where(kept, 4 * dy, 0))
    y, _ = DropPath(0.75, inverted=False).forward((), x, key=KEY)
    np.testing.assert_array_equal(y, np.where(kept, x, 0))


def test_a_block_whose_path_is_dropped_is_not_there():
    net = Residual(Serial(Dense(3, 3), DropPath(0.5)))
    params, x = net.init(KEY), noise(40, 3)
    y, cache = net.forward(params, x, key=KEY)
    same = (np.asarray(y) == np.asarray(x)).all(1)
    assert 8 < same.sum() < 32
    norms = example_norms(net, params, cache, noise(40, 3, seed=2))[0]
    np.testing.assert_array_equal(np.asarray(norms[0]) == 0, same)


def test_form_at_test_time():
    assert inference(DropPath(0.3), ()) == (Identity(), ())
    assert inference(DropPath(0.3, inverted=False), ()) == (Scale(0.7), ())
    assert inference(Dropout(0.3), ()) == (Identity(), ())
    assert inference(Dropout(0.3, inverted=False), ()) == (Scale(0.7), ())


def test_rate_zero_changes_nothing():
    x = noise(5, 3)
    y, cache = Dropout(0.0).forward((), x, key=KEY)
    _, dx = Dropout(0.0).backward((), cache, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, x)


def test_same_key_draws_the_same_and_another_key_another_mask():
    x = jnp.ones((20, 30))
    masks = [Dropout(0.5).forward((), x, key=jax.random.key(s))[1].kept for s in (1, 1, 2)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert np.mean(masks[0] != masks[2]) == pytest.approx(0.5, abs=0.1)


def test_two_dropouts_of_one_net_draw_different_masks():
    net = Serial(Dropout(0.5), Dropout(0.5))
    _, caches = net.forward(((), ()), jnp.ones((20, 30)), key=KEY)
    first, second = caches.values()
    assert np.mean(first.kept != second.kept) == pytest.approx(0.5, abs=0.1)


def test_dropped_entries_are_left_out_even_if_they_are_nan():
    _, dx = Dropout(0.5).backward((), DropoutCache(jnp.array([[False]])), jnp.array([[jnp.nan]]))
    np.testing.assert_array_equal(dx, [[0.0]])


def test_forward_without_a_key_names_the_remedies():
    message = r"^Dropout\(rate=0.5, inverted=True\): forward needs a key; .*fnn\.inference"
    with pytest.raises(ValueError, match=message):
        Dropout(0.5).forward((), jnp.ones((2, 3)))


@pytest.mark.parametrize(
    ("key", "got"),
    [(0, "0"), (jnp.zeros(2, "uint32"), r"uint32\[2\]"), (jax.random.split(KEY), r"array of \(2,")],
    ids=["int", "old style", "two keys"],
)
def test_key_that_is_none_is_refused(key, got):
    with pytest.raises(TypeError, match=rf"^Dropout\(.*\): key must be .*, got .*{got}"):
        Dropout(0.5).forward((), jnp.ones((2, 3)), key=key)


@pytest.mark.parametrize("rate", [1.0, -0.5, 1.5, float("nan")])
def test_rate_that_is_no_probability_is_rejected(rate):
    with pytest.raises(ValueError, match=r"^Dropout: rate must be (in \[0, 1\)|finite), got"):
        Dropout(rate)


def test_drop_path_speaks_in_its_own_name():
    with pytest.raises(ValueError, match=r"^DropPath: rate must be in \[0, 1\), got 1.0"):
        DropPath(1.0)
    with pytest.raises(ValueError, match=r"^DropPath\(rate=0.5, inverted=True\): forward needs a"):
        DropPath(0.5).forward((), jnp.ones((2, 3)))


@pytest.mark.parametrize("rate", [True, None, "0.5", [0.5], np.zeros(1)], ids=str)
def test_rate_that_is_no_number_is_rejected(rate):
    with pytest.raises(TypeError, match=r"^Dropout: rate must be a (number|Python value), got"):
        Dropout(rate)


def test_input_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"x must have shape \[B, ...\], got \[3\]"):
        Dropout(0.5).forward((), jnp.ones(3), key=KEY)
