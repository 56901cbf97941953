"""Tests of fnn.streams.totals."""

import jax.numpy as jnp
import numpy as np

import fnn
from fnn.devices.group import Group
from fnn.streams.totals import Totals
from fnn.watching import packed

ALONE = Group(False)


def found(*losses, weights=None):
    sums = {"loss": jnp.array(losses, jnp.float32), "ppl": jnp.array(losses, jnp.float32)}
    weights = jnp.ones(len(losses), jnp.float32) if weights is None else jnp.array(weights)
    each = {"norms": jnp.array(losses)}
    return (sums, weights, each), {}


def test_means_are_of_sums_and_not_of_means():
    totals = Totals().with_steps(ALONE, found(6.0, 0.0, weights=[3.0, 1.0]), 0, 1)
    totals = totals.with_steps(ALONE, found(9.0, 2.0, 9.0, weights=[9.0, 1.0, 9.0]), 1, 2)
    row = totals.row((("ppl", fnn.Perplexity()),), jnp.float32)
    assert row["loss"] == 2.0
    assert row["ppl"] == jnp.exp(jnp.float32(2))
    assert row["norms"].tolist() == [6, 2]
    assert row["loss"].dtype == "float32"


def test_many_steps_do_not_round_each_other_away():
    totals = Totals()
    for _ in range(100):
        totals = totals.plus({"loss": np.full(1000, 0.1, "f4")}, np.full(1000, 1.0, "f4"))
    assert abs(float(totals.row((), jnp.float64)["loss"]) - float(np.float32(0.1))) < 1e-12


def test_what_counts_nothing_is_zero_and_what_was_seen_is_unpacked():
    seen = {"watch": packed({"step": jnp.array(3), "x": jnp.ones(2)})}
    part = {"watch": seen["watch"].with_fields(arrays=tuple(a[None] for a in seen["watch"].arrays))}
    row = Totals().plus({"loss": np.zeros(1)}, np.zeros(1), part).row((), jnp.float32)
    assert row["loss"] == 0
    assert row["watch"]["step"].tolist() == [3]
    assert row["watch"]["x"].shape == (1, 2)


def test_a_step_that_was_left_out_has_no_part_and_another_nan_is_told():
    totals = Totals().with_steps(ALONE, found(0.0, 6.0, 0.0, weights=[np.nan, 3.0, np.nan]), 0, 3)
    assert totals.row((), jnp.float32)["loss"] == 2
    none = Totals().with_steps(ALONE, found(0.0, weights=[np.nan]), 0, 1)
    assert jnp.isnan(none.row((), jnp.float32)["loss"])
    later = none.with_steps(ALONE, found(6.0, weights=[3.0]), 0, 1)
    assert later.row((), jnp.float32)["loss"] == 2
    broken = totals.with_steps(ALONE, found(np.nan), 0, 1)  # of a step that was taken
    assert jnp.isnan(broken.row((), jnp.float32)["loss"])
