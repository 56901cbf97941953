from matplotlib.image import imread

from experiments.common import plots
from experiments.gpt import pictures

HISTORY = [
    {"step": step, "train": 8.0 - step, "held_out": 8.5 - step, "sample": f"def a{step}\n\tb"}
    for step in range(5)
]


def test_samples_are_those_of_the_beginning_an_early_one_and_the_last():
    assert pictures.samples(HISTORY) == [
        "step 0", "  def a0", "      b", "", "step 1", "  def a1", "      b", "",
        "step 4", "  def a4", "      b", "",
    ]  # fmt: skip
    assert pictures.samples(HISTORY[:1]) == ["step 0", "  def a0", "      b", ""]


def test_long_lines_are_cut_and_letters_that_a_font_may_lack_are_spelled_out():
    row = HISTORY[0] | {"sample": "x" * 63 + "\n\u0704"}
    assert pictures.samples([row]) == ["step 0", "  " + "x" * 62, "  x", r"  \u0704", ""]


def test_picture_takes_signs_of_mathematics_as_they_are(tmp_path):
    history = [HISTORY[0] | {"sample": "$x_$ \\frac"}, *HISTORY[1:]]
    figure = pictures.picture_of(history, 4.25, {"uniform": 8.0, "xz": 1.5})
    plots.save(figure, tmp_path / "a.png")
    assert imread(tmp_path / "a.png").std() > 0.01
    assert figure.get_suptitle() == "After 4 steps a byte of unseen text takes 4.25 bits"
