import jax
import numpy as np

from experiments.common import bounds
from experiments.learning_theory import half_spaces


def test_half_spaces_of_the_plane():
    square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    assert half_spaces.separable(square, np.array([-1, 1, 1, 1]))
    assert not half_spaces.separable(square, np.array([-1, 1, 1, -1]))  # XOR
    assert half_spaces.count(square) == bounds.dichotomies(4, 2) == 14
    found = half_spaces.radon(square)
    assert abs(found.labels.sum()) == 0
    assert found.labels[0] == found.labels[3] != found.labels[1]
    np.testing.assert_allclose(found.meeting, [0.5, 0.5])
    np.testing.assert_allclose(found.again, [0.5, 0.5])
    learned = half_spaces.learned(jax.random.key(0), square)
    labels = half_spaces.labellings(4)
    assert list(learned) == [half_spaces.separable(square, y) for y in labels]
