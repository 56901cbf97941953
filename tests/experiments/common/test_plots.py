import sys

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.common import plots, portraits


@pytest.fixture
def png(tmp_path):
    def write(figure):
        plots.save(figure, tmp_path / "a.png")
        return imread(tmp_path / "a.png")

    return write


@pytest.mark.long
def test_every_picture_is_written_without_pyplot_and_is_not_blank(png):
    rng = np.random.default_rng(0)
    history = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.9]}
    history |= {f"validation_{name}": v for name, v in history.items()}
    figures = [
        portraits.curves(history, penalized=True),
        portraits.confusion(np.array([[5, 2], [0, 6]]), "ab"),
        portraits.weights(rng.normal(size=(6, 7)), (2, 3), np.arange(6) == 0, most=5),
        portraits.mistakes(rng.normal(size=(3, 2, 2)), ["a", "b", "c"], total=9, most=2),
        portraits.gradient_flow([0, 1], {"layer 1": [2.0, 1.0], "layer 2": [1.0, 0.5]}),
    ]
    assert all(png(figure).std() > 0.01 for figure in figures)
    assert "matplotlib.pyplot" not in sys.modules


def test_titles_say_what_is_seen():
    def title(figure):
        return figure.get_suptitle()

    counts = np.array([[5, 2], [0, 6]])
    assert title(portraits.confusion(counts, "ab")) == (
        "13 test digits: 2 read wrong, most often a as b (2×)"
    )
    none = np.zeros((0, 2, 2))
    assert title(portraits.mistakes(none, [], 9, 5)) == "All 9 test digits are read right"
    flow = portraits.gradient_flow([0, 1], {"layer 1": [6.0, 2.0]})
    assert "3-fold smaller" in title(flow)


def test_names_of_lines_that_end_together_are_moved_apart():
    _, ((axes,),) = plots.picture("")
    heights = plots.label_heights(axes, [1.0, 1.0], {"a": [0.0, 1.0], "b": [0.0, 1.0]})
    assert abs(heights[0] - heights[1]) == pytest.approx(0.07)
    assert np.mean(heights) == pytest.approx(1.0)


def test_one_epoch_and_one_class_of_values_can_be_drawn(png):
    history = {name: [1.0] for name in ("loss", "accuracy")}
    history |= {f"validation_{name}": v for name, v in history.items()}
    assert png(portraits.curves(history, penalized=False)).std() > 0.01


def test_images_of_more_pixels_are_drawn_as_large_as_small_ones():
    def size(n):
        names = ["a", "b", "c", "d", "e", "f", "g"]
        return plots.tiles("", np.zeros((7, n, n)), names, 10, "").get_size_inches()

    assert size(8).tolist() == pytest.approx([6.3, 1.9])
    np.testing.assert_allclose(size(28), size(8), rtol=0.03)


def test_pictures_of_other_rows_than_digits_do_not_speak_of_digits():
    names = ["a" * 30, *"bcdefghijkl"]
    confusion = portraits.confusion(
        np.diag([3] * 12) + 2 * np.eye(12, k=1, dtype=int), names, "rows"
    )
    ((axes,),) = [confusion.axes]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("classified as", "true class")
    assert confusion.get_suptitle().startswith("58 test rows: 22 classified wrong, most often aaa")
    assert max(len(label.get_text()) for label in axes.get_xticklabels()) == 16
    priced = portraits.confusion(np.array([[1, 2], [0, 1]]), ["<$5 {", ">$5"], "rows")
    assert r"<\$5 { as >\$5 (2×)" in priced.get_suptitle()
    priced.draw_without_rendering()
    figures = [
        portraits.mistakes(np.zeros((1, 2, 2)), ["a"], 9, 5, "images"),
        portraits.mistakes(np.zeros((0, 2, 2)), [], 9, 5, "images"),
        portraits.weights(np.eye(6), (2, 3), np.arange(6) == 0, 5, "images"),
    ]
    history = {name: [1.0] for name in ("loss", "accuracy")}
    history |= {f"validation_{name}": v for name, v in history.items()}
    figures.append(portraits.curves(history, penalized=False, what="rows"))
    for figure in figures:
        words = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
        assert "digit" not in " ".join(words), words
