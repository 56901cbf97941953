import numpy as np

from experiments.common import data


def test_split_shares_every_class_alike_and_leaves_no_row_out():
    label = np.repeat(np.arange(3, dtype=np.int32), (10, 20, 40))
    rows = data.Rows(np.arange(70, dtype=np.float32)[:, None], label)
    parts = data.split(rows, (0.5, 0.3, 0.2), seed=0)
    counts = [np.bincount(part.label).tolist() for part in parts]
    assert counts == [[5, 10, 20], [3, 6, 12], [2, 4, 8]]
    assert sorted(np.concatenate([part.x[:, 0] for part in parts])) == list(range(70))
    assert all((label[part.x[:, 0].astype(int)] == part.label).all() for part in parts)


def test_standardizer_has_the_training_statistics_and_makes_constants_0():
    x = np.array([[1, 7, 0.1], [3, 7, 0.1], [5, 7, 0.1]], np.float32)
    standardize = data.Standardizer.of(x)
    np.testing.assert_allclose(standardize.mean, [3, 7, 0.1], rtol=1e-6)
    np.testing.assert_allclose(standardize.std, [np.sqrt(8 / 3), 1, 1], rtol=1e-6)
    z = standardize(x)
    np.testing.assert_allclose(z[:, 0], np.sqrt(3 / 2) * np.array([-1, 0, 1]), rtol=1e-6)
    assert (z[:, 1:] == 0).all()
    assert z.dtype == np.float32


def test_a_spread_too_small_for_single_precision_still_divides():
    x = np.zeros((9, 1), np.float32)
    x[0] = 1e-45
    z = data.Standardizer.of(x)(x)
    assert np.isfinite(z).all()
    assert 0 < z.max() < 1
