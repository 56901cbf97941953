import jax
import numpy as np
import pytest
from contract import noise

import fnn
from experiments import denoising
from experiments.common import bundles
from experiments.denoising import MLP, UNET, Config, Noise, images

TRAIN, TEST = images(bundles.digits().train), images(bundles.digits().test)


def test_the_noise_of_training_is_new_for_every_key_and_not_there_in_evaluation():
    layer, x = Noise(0.5), noise(4000, 3)
    a, b = (layer.forward((), x, key=jax.random.key(seed))[0] for seed in (0, 1))
    assert float((a - x).std()) == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef((a - x).ravel(), (b - x).ravel())[0, 1]) < 0.05
    net = fnn.Serial(noise=layer, net=fnn.Tanh())
    assert fnn.inference(net, {})[0] == fnn.Serial(noise=fnn.Identity(), net=fnn.Tanh())


def test_the_mean_of_neighbours_by_hand():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    y = denoising.around(x)[0, ..., 0]
    assert y[1, 1] == pytest.approx(36 / 9)
    assert y[0, 0] == pytest.approx((0 + 1 + 3 + 4) / 9)
    assert y[2, 1] == pytest.approx((3 + 4 + 5 + 6 + 7 + 8) / 9)


@pytest.mark.long
def test_the_linear_map_finds_every_digit_where_there_is_hardly_noise():
    found = denoising.linear(Config(sigma=0.01), np.random.default_rng(0))(TEST)
    assert denoising.error(found) < 0.01


def test_the_mean_of_digits_is_the_nearest_without_noise_and_that_of_all_with_much():
    nearest = denoising.posterior(0.01)(TRAIN[:5])
    np.testing.assert_allclose(nearest, TRAIN[:5], atol=1e-9)
    far = denoising.posterior(1e4)(TRAIN[:5])
    np.testing.assert_allclose(far, np.broadcast_to(TRAIN.mean(0), far.shape), atol=1e-6)
    x, sigma = TEST[:2] + 0.3, 0.4
    weights = np.exp(-((x[:, None] - TRAIN) ** 2).sum((2, 3, 4)) / 2 / sigma**2)
    want = np.einsum("nt,tijc->nijc", weights / weights.sum(1, keepdims=True), TRAIN)
    np.testing.assert_allclose(denoising.posterior(sigma)(x), want, rtol=1e-4, atol=1e-6)


def test_both_networks_have_as_many_parameters_within_a_fiftieth():
    for widths in ((8, 16, 32), (4, 8)):
        nets = denoising.networks(widths)
        assert denoising.size(nets[MLP]) == pytest.approx(denoising.size(nets[UNET]), rel=0.02)
    assert denoising.width(130 * 7 + 49 + 64) == 7


def test_an_error_is_the_root_of_the_mean_square():
    assert denoising.error(TEST + 0.1) == pytest.approx(0.1)
    assert denoising.error(TEST) == 0


def test_ten_digits_are_drawn_for_every_way():
    shown = {"noisy": TEST, "clean": TEST}
    (axes,) = denoising.drawn(Config(), shown).axes
    assert axes.images[0].get_array().shape == (2 * 9, 10 * 9)
    assert [text.get_text() for text in axes.texts] == ["noisy\n0.000", "clean"]
