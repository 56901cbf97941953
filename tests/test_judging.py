"""Tests of fnn.judging; tests/test_train.py has those of fnn.evaluate."""

import numpy as np
import pytest
from training import LOSS, NET, PARAMS, TARGET, X, plan

import fnn
from fnn.batches import Rows
from fnn.judging import judged, named


def test_a_batch_gives_its_sums_and_what_they_are_divided_by():
    once = plan(metrics={"accuracy": fnn.accuracy}, penalty=fnn.L2(0.1))
    sums, weight = judged(once, NET, PARAMS, Rows(X, TARGET))
    y = NET.forward(PARAMS, X)[0]
    assert weight == 11
    assert float(sums["loss"]) == pytest.approx(float(LOSS.forward(y, TARGET)[0].sum()), rel=1e-12)
    right = np.argmax(np.asarray(y), 1) == np.asarray(TARGET)
    assert float(sums["accuracy"]) == right.sum()


def test_a_history_has_its_own_names():
    assert named({"loss": 1, "accuracy": 2}) == {"validation_loss": 1, "validation_accuracy": 2}
