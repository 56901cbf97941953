"""What every function keeps at any magnitude, offset and in the tails."""

import mpmath
import numpy as np
import pytest

from benchmarks.mutations.subjects import LAYERS, LOSSES
from benchmarks.precision.functions import SUBJECTS, error, kept

ROWS = [  # no sums but those of a row
    s for s in (*LAYERS, *LOSSES) if not s.key and not getattr(s.build(1), "mixes_examples", False)
]
NEAR_ONE = {("Sigmoid", "dx"), ("Tanh", "dx"), ("LogSoftmax", "y"), ("LogSoftmax", "dx")}
NEAR = NEAR_ONE | {("CTC", "dx")}  # p − Σ γ, both may be small
INFINITE = (
    "Dense",
    "SquaredError",
    "SoftmaxCross",
    "SoftmaxFocal",
    "KL",
    "CTC",
)  # where sums or twice x are


@pytest.mark.long
@pytest.mark.parametrize("subject", ROWS, ids=lambda s: s.name)
def test_every_entry_is_right_to_some_roundings(subject):
    for k in kept(subject, "float32"):
        if not np.isfinite(k.entry):
            assert k.function.startswith(INFINITE)
            assert k.at == "1e+38 x"
        elif (k.function, k.what) not in NEAR:  # there 1 − y cancels
            assert k.array < 20
            assert k.entry < 4000, k  # p − t and slopes of nearly 0 have some


@pytest.mark.long
def test_a_norm_keeps_its_row_whatever_the_mean():
    (norm,) = (s for s in SUBJECTS if s.name == "LayerNorm")
    for k in kept(norm, "float32"):
        assert k.array < 10 or k.at == "1e+38 x"


def test_an_error_is_counted_in_rounding_units():
    info, eps = np.finfo(np.float32), 2.0**-24

    def found(got, want):
        return error(
            np.array(got, float), np.array([mpmath.mpf(w) for w in want], object), info, eps
        )

    assert found([1 + 3 * eps, 8], [1, 8]) == pytest.approx((3, 3 / 8))
    assert found([np.nan, 1], [1, 1])[0] == np.inf
    assert found([np.inf, 0.0], ["1e39", "1e-39"]) == (0, 0)
    assert found([-np.inf, 1], ["1e39", 1])[0] == np.inf
    assert found([3e38, 1], ["1e39", 1])[0] > 1e7
