import jax.numpy as jnp
import numpy as np
import pytest

from experiments import spectrum
from experiments.spectrum import Seen
from fnn.curvature import Density


def test_the_negative_share_by_hand():
    density = Density(jnp.array([[-2.0, 1.0, 3.0]]), jnp.array([[0.25, 0.25, 0.5]]))
    assert spectrum.negative(density) == pytest.approx(0.5 / (0.5 + 0.25 + 1.5))


def test_the_end_of_the_way_is_compared_with_the_edge():
    tops = np.array([[9.0, 9.0, 5.0, 4.0, 3.0], [1.0, 1.0, 2.0, 2.0, 2.0]])
    seen = Seen((0.5, 1.0), np.arange(5), tops, tops, None, None)
    np.testing.assert_allclose(seen.late(), [4 * 0.5 / 2, 2 * 1.0 / 2])
