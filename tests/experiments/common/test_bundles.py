import numpy as np
import pytest
from sklearn import datasets

from experiments.common import bundles
from experiments.common.cli import UserError


def test_digits_are_scikit_learns_each_in_exactly_one_part():
    parts = bundles.digits().parts().values()
    x, label = datasets.load_digits(return_X_y=True)
    ours = np.concatenate([np.column_stack([rows.x, rows.label]) for rows in parts])
    theirs = np.column_stack([x, label])
    assert ours.shape == theirs.shape == (1797, 65)
    assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))


def test_digits_split_is_the_same_every_time():
    one, two = bundles.digits(), bundles.digits()
    np.testing.assert_array_equal(one.test.x, two.test.x)
    assert one.train.x.dtype == np.float32
    assert [len(rows.x) for rows in one.parts().values()] == [1258, 270, 269]


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris"])
def test_classes_are_scikit_learns(name):
    rows, names = getattr(bundles, name)()
    x, label = getattr(datasets, f"load_{name}")(return_X_y=True)
    np.testing.assert_allclose(rows.x, x, rtol=1e-6)
    np.testing.assert_array_equal(rows.label, label)
    assert len(names) == label.max() + 1


def test_diabetes_is_scikit_learns():
    x, target = bundles.diabetes()
    theirs, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    np.testing.assert_allclose(x, theirs, rtol=1e-6)
    np.testing.assert_array_equal(target, y)


def test_missing_package_is_the_users_matter():
    with pytest.raises(UserError, match="package no_such_package"):
        bundles.bundled("no_such_package", "a.csv")
