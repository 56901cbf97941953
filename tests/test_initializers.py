"""Tests of fnn.initializers."""

import jax
import numpy as np
import pytest

from fnn import initializers

N_IN, N_OUT = 300, 200
VARIANCES = {"glorot": 2 / (N_IN + N_OUT), "he": 2 / N_IN, "lecun": 1 / N_IN}
CASES = [(f"{name}_{law}", v) for name, v in VARIANCES.items() for law in ("uniform", "normal")]
NAMES = [name for name, _ in CASES] + ["orthogonal", "zeros"]
KEY = jax.random.key(3)


def draw(name, key=KEY, n_in=N_IN, n_out=N_OUT):
    return np.asarray(getattr(initializers, name)(key, n_in, n_out))


@pytest.mark.parametrize(("name", "variance"), CASES)
def test_mean_is_zero_and_variance_that_of_the_source(name, variance):
    w = draw(name)
    assert w.shape == (N_IN, N_OUT)
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5
    assert w.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(("name", "variance"), CASES)
def test_law_is_the_one_in_the_name(name, variance):
    w = draw(name) / variance**0.5
    kurtosis = (w**4).mean()
    assert kurtosis == pytest.approx(1.8 if name.endswith("uniform") else 3, abs=0.1)
    if name.endswith("uniform"):
        assert np.abs(w).max() <= 3**0.5
        assert np.abs(w).max() == pytest.approx(3**0.5, rel=1e-3)


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 3), (3, 5), (4, 4)])
def test_orthogonal_columns_or_rows(n_in, n_out):
    w = draw("orthogonal", n_in=n_in, n_out=n_out)
    gram = w.T @ w if n_in >= n_out else w @ w.T
    np.testing.assert_allclose(gram, np.eye(min(n_in, n_out)), atol=1e-12)


def test_zeros_are_zero():
    np.testing.assert_array_equal(draw("zeros", n_in=3, n_out=2), np.zeros((3, 2)))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_same_key_draws_the_same_and_another_key_another_matrix(name):
    one, same, other = (draw(name, jax.random.key(s), 4, 3) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).min() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", [0, None, np.zeros(2, np.uint32)], ids=["int", "None", "raw"])
def test_key_that_is_none_is_refused(name, key):
    with pytest.raises(TypeError, match=r"key must be a typed key, got .*; use jax\.random\.key"):
        draw(name, key)
