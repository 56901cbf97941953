"""Tests of fnn.saving.settings."""

import fnn
from fnn.saving.settings import changes, settings


def plan(optimizer, **options):
    return fnn.Plan(fnn.mlp([3, 4], dropout=0.1), fnn.SoftmaxCrossEntropy(), optimizer, **options)


def test_a_plan_is_told_part_by_part_whatever_process_it_is_in():
    told = settings(plan(fnn.optim.SGD(0.1), metrics={"accuracy": fnn.accuracy}))
    assert told["optimizer"] == "SGD(learning_rate=0.1)"
    assert told["metrics"] == "(('accuracy', fnn.metrics.accuracy))"
    assert told["rule"] == "backprop"
    assert told["net"].startswith("Serial(layers=(Dense(n_in=3, n_out=4, w_init=fnn.initializers.")
    assert " at 0x" not in repr(told)


def test_changes_are_named_where_texts_part():
    was, now = settings(plan(fnn.optim.SGD(0.1))), settings(plan(fnn.optim.SGD(0.25)))
    assert changes(was, was) == ""
    assert changes(was, now) == (
        "optimizer was SGD(learning_rate=0.1) and is now SGD(learning_rate=0.25)"
    )
    assert changes(was, now, ("optimizer",)) == ""
    long = {"net": "a" * 1000 + "b"}, {"net": "a" * 1000 + "c"}
    assert len(changes(*long)) < 120
    assert changes({"a": "1", "b": "1", "c": "1"}, {}).endswith(" and 1 more")
