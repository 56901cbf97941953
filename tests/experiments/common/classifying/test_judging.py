import numpy as np
import pytest

import fnn
from experiments.common.checkpoints import Checkpoint
from experiments.common.classifying import judging
from experiments.common.cli import NOT_FINITE, UserError
from experiments.common.data import Dataset, Rows, Standardizer

ROWS = Rows(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], np.float32), np.array([0, 1, 1]))
DATASET = Dataset("rows", ("a", "b"), (2,), ROWS, ROWS, ROWS)


def checkpoint(scale):
    w = scale * np.eye(2, dtype=np.float32)
    params = (fnn.DenseParams(w, np.zeros(2, np.float32)),) * 2
    statistics = Standardizer(np.zeros(2, np.float32), np.ones(2, np.float32))
    return Checkpoint(fnn.Serial(fnn.Dense(2, 2), fnn.Dense(2, 2)), params, statistics, {})


def test_accuracy_is_the_share_of_rows_with_the_largest_score_at_their_class():
    said = judging.said(checkpoint(1), DATASET)
    assert said["test"].tolist() == [0, 1, 0]
    accuracies = judging.accuracies(said, DATASET)
    assert accuracies == dict.fromkeys(
        ("train_accuracy", "validation_accuracy", "test_accuracy"), pytest.approx(2 / 3)
    )


def test_a_net_of_finite_numbers_whose_scores_are_not_finite_is_not_judged():
    with pytest.raises(UserError, match="numbers in the scores of the classes are not finite") as e:
        judging.said(checkpoint(3e38), DATASET)
    assert e.value.code == NOT_FINITE
