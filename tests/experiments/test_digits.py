import csv
import json
import re
import signal

import jax
import numpy as np
import pytest

import fnn
from experiments import digits
from experiments.common import bundles, checkpoints, classifying, cli, sources

SMALL = "--hidden 8 --epochs 2 --batch-size 400 --learning-rate 0.01"


PICTURES = {"curves", "confusion", "weights", "gradient_flow", "insides", "mistakes"}


def run(argv):
    return cli.run(digits.main, digits.Config, argv.split())


def pictures(out):
    return {p.stem for p in out.glob("*.png")}


def test_command_checks_gradients_trains_writes_and_its_file_evaluates_alike(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(f"{SMALL} --out {out}") == 0
    said = capsys.readouterr().out
    assert said.index("jax.grad") < said.index("epoch 1/2") < said.index("Results")

    assert pictures(out) == PICTURES
    assert {p.name for p in out.iterdir() if p.suffix != ".png"} == {
        "config.json", "metrics.csv", "summary.json", "params.safetensors",
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["gradient_max_error"] < 1e-14
    assert 1e-12 < summary["gradient_max_error_float32"] < 1e-5
    assert summary["steps_per_second"] > 0
    assert summary["test_accuracy"] > 0.3
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["4", "8"]
    assert {"loss", "validation_accuracy", "delta_1", "delta_2"} <= set(rows[0])

    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(f"--load {out / 'params.safetensors'}") == 0
    accuracy = f"{100 * summary['test_accuracy']:.2f} %"
    assert accuracy in capsys.readouterr().out.splitlines()[-2]
    assert run(f"{SMALL} --out {out}") == cli.USAGE
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.long
def test_other_losses_and_a_net_without_hidden_layers_train_too(tmp_path):
    assert run(f"{SMALL} --loss hinge --optimizer sgd --l1 1e-4 --out {tmp_path / 'a'}") == 0
    argv = f"--hidden --loss squared-error --epochs 3 --learning-rate 0.02 --out {tmp_path / 'b'}"
    assert run(argv) == 0
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.5


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "more", "what"),
    [
        (
            "1e30",
            "",
            r"fit: step \d is not finite in loss.*\(epoch 1, batch \d.*; it was not taken.*",
        ),
        # the last update: no loss of the training rows saw what it made
        (
            "1e38",
            "--epochs 1 --batch-size 5000",
            r"the validation \w+ is nan after epoch 1; lower --learning-rate\.",
        ),
    ],
)
def test_what_is_not_finite_ends_the_run_in_one_sentence_before_it_is_written(
    rate, more, what, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(classifying, "check_gradients", lambda *arguments: {})
    argv = f"{SMALL} --optimizer sgd --schedule constant {more} --out {tmp_path / 'run'}"
    assert run(argv.replace("0.01", rate)) == cli.NOT_FINITE
    assert re.fullmatch(f"error: {what}\n", capsys.readouterr().err)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"config.json", "checkpoints"}


@pytest.mark.long
def test_a_signal_saves_the_run_and_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classifying, "check_gradients", lambda *arguments: {})
    argv, out = f"{SMALL} --epochs 3 --out", tmp_path / "run"
    piece = fnn.saving.pieces.Run.piece

    def signalled(self, position, *args):
        if int(position.state.step) == 5:
            signal.raise_signal(signal.SIGTERM)
        return piece(self, position, *args)

    with monkeypatch.context() as patch:
        patch.setattr(fnn.saving.pieces.Run, "piece", signalled)
        assert run(f"{argv} {out}") == 143
    said = capsys.readouterr()
    assert f"the same command with --out {out} goes on" in said.out
    assert "fit: stopped by SIG" in said.err
    assert run(f"{argv} {out} --hidden 9") == cli.USAGE  # another run
    assert run(f"{argv} {out}") == 0
    assert run(f"{argv} {tmp_path / 'straight'}") == 0
    found, want = (
        checkpoints.load(tmp_path / n / "params.safetensors") for n in ("run", "straight")
    )
    for a, b in zip(*(jax.tree.leaves(c.params) for c in (found, want)), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [
        [{n: v for n, v in row.items() if n != "seconds"}
         for row in csv.DictReader((tmp_path / n / "metrics.csv").read_text().splitlines())]
        for n in ("run", "straight")
    ]  # fmt: skip
    assert rows[0] == rows[1]
    assert not (out / "checkpoints").exists()
    assert run(f"{argv} {out}") == cli.USAGE  # it is done


def test_mistakes_are_told_before_anything_is_read_or_created(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources.bundles, "digits", lambda: pytest.fail("data were read"))
    for argv in (
        "--activation rleu", "--optimizer adma", "--epochs 0", "--hidden -5", "--seed x",
        "--data csv:a.csv", "--data digit", "--target kind", "--missing drop", "--missing non",
        "--target kind --load nowhere",
    ):  # fmt: skip
        assert run(argv) == cli.USAGE
        assert argv.split()[0] in capsys.readouterr().err
    assert run("--load nowhere") == cli.DATA
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def iris(tmp_path):
    """The flowers as a table, with a cell left empty."""
    rows, names = bundles.iris()
    lines = [[*map(str, x), names[label]] for x, label in zip(rows.x, rows.label, strict=True)]
    lines[7][2] = ""
    lines.insert(0, ["sepal length", "sepal width", "petal length", "petal width", "species"])
    path = tmp_path / "iris.csv"
    path.write_text("\n".join(map(",".join, lines)))
    return path


@pytest.mark.long
def test_a_table_trains_and_evaluates_without_pictures_of_images(iris, tmp_path, capsys):
    data, out = f"--data csv:{iris} --target species", tmp_path / "run"
    assert run(f"{data} --out {out}") == cli.DATA
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {iris}:9:3: 'petal length' is empty; --missing drop")
    assert said.out == ""
    assert not out.exists()

    assert run(f"{data} --missing drop --dropout 0 --epochs 20 --out {out}") == 0
    said = capsys.readouterr().out
    assert said.startswith("104 train, 22 validation, 23 test rows of 4 numbers; 3 classes: setosa")
    assert pictures(out) == PICTURES - {"weights", "mistakes"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["gradient_max_error"] < 1e-14
    assert summary["test_accuracy"] > 0.8

    file = out / "params.safetensors"
    assert run(f"{data} --missing drop --load {file} --out {tmp_path / 'again'}") == 0
    accuracy = f"{100 * summary['test_accuracy']:.2f} %"
    assert accuracy in capsys.readouterr().out.splitlines()[-3]
    assert pictures(tmp_path / "again") == {"confusion"}
    assert checkpoints.load(file).config["classes"] == ["setosa", "versicolor", "virginica"]

    assert run(f"--load {file}") == cli.DATA
    assert "maps 4 numbers to 3; digits needs 64 to 10. It was" in capsys.readouterr().err
    iris.write_text(iris.read_text().replace("setosa", "zetosa"))
    assert run(f"{data} --missing drop --load {file}") == cli.DATA
    assert "class 1 was 'setosa' in training" in capsys.readouterr().err


@pytest.mark.long
def test_a_folder_of_idx_files_trains_with_all_pictures(images, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(f"--data mnist:{images} --hidden 16 --epochs 10 --out {out}") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "170 train, 30 validation, 100 test images of 28 × 28 numbers; 10 classes"
    )
    assert pictures(out) == PICTURES
    assert json.loads((out / "summary.json").read_text())["test_accuracy"] > 0.6
    (images / "t10k-labels-idx1-ubyte").unlink()
    assert run(f"--data mnist:{images} --load {out / 'params.safetensors'}") == cli.DATA
    assert "has no t10k-labels-idx1-ubyte, plain or .gz; it holds" in capsys.readouterr().err


@pytest.mark.long
def test_twelve_rows_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(classifying, "check_gradients", lambda *arguments: {})
    path = tmp_path / "few.csv"
    path.write_text("a,kind\n" + "1,x\n2,y\n" * 6)
    assert run(f"--data csv:{path} --target kind {SMALL} --out {tmp_path / 'run'}") == 0
