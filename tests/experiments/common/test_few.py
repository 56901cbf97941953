import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import few


def test_parts_share_no_row_and_are_all_the_digits():
    parts = few.parts()
    assert [round(len(p.x) / 1797, 2) for p in parts] == [0.4, 0.1, 0.5]
    every = np.concatenate([np.c_[p.x, p.label] for p in parts])
    assert len(every) == 1797
    assert every[:, :-1].max() == 1


def test_labels_are_drawn_anew_as_often_as_told():
    label = jnp.full(20000, 3)
    assert (few.given(jax.random.key(0), label, 0.0) == 3).all()
    wrong = float((few.given(jax.random.key(0), label, 0.3) != 3).mean())
    assert abs(wrong - 0.3 * 0.9) < 0.015


def test_the_risk_expects_the_noise_that_the_labels_have():
    drawn = few.drawn(jax.random.key(1), 60, 0.3)
    assert drawn.x.shape == (60, 64)
    assert len(np.unique(drawn.x, axis=0)) == 60
    np.testing.assert_allclose(drawn.expected.sum(1), 1, rtol=1e-6)
    right = np.take_along_axis(np.asarray(drawn.expected), drawn.label_judge[:, None], 1)
    np.testing.assert_allclose(right, 0.73, rtol=1e-6)


def test_early_stopping_takes_every_score_where_the_loss_to_stop_by_is_least():
    history = {
        "stop": np.array([[3.0, 1, 2], [1, 2, 3]]),
        "accuracy": np.array([[0.1, 0.2, 0.9], [0.4, 0.5, 0.6]]),
    }
    found = few.stopped(history)
    assert found["accuracy"].tolist() == [0.2, 0.4]
    assert found["stop"].tolist() == [1, 1]
