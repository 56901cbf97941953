import csv
import json

import pytest

from experiments import digits
from experiments.common import cli

SMALL = "--hidden 8 --epochs 2 --batch-size 400 --learning-rate 0.01"


def run(argv):
    return cli.run(digits.main, digits.Config, argv.split())


def test_command_checks_gradients_trains_writes_and_its_file_evaluates_alike(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(f"{SMALL} --out {out}") == 0
    said = capsys.readouterr().out
    assert said.index("jax.grad") < said.index("epoch 1/2") < said.index("Results")

    names = {p.name for p in out.iterdir()}
    pictures = {"curves", "confusion", "weights", "gradient_flow", "mistakes"}
    assert names == {f"{name}.png" for name in pictures} | {
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


def test_other_losses_and_a_net_without_hidden_layers_train_too(tmp_path):
    assert run(f"{SMALL} --loss hinge --optimizer sgd --l1 1e-4 --out {tmp_path / 'a'}") == 0
    argv = f"--hidden --loss squared-error --epochs 3 --learning-rate 0.02 --out {tmp_path / 'b'}"
    assert run(argv) == 0
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.5


def test_loss_that_is_not_finite_ends_the_run_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "check_gradients", lambda *arguments: {})
    argv = f"{SMALL} --optimizer sgd --out {tmp_path / 'run'}"
    assert run(argv.replace("0.01", "1e30")) == cli.NOT_FINITE
    assert capsys.readouterr().err.startswith("error: the loss is nan after epoch 1")


def test_mistakes_are_told_before_anything_is_read_or_created(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digits.bundles, "digits", lambda: pytest.fail("data were read"))
    for argv in ("--activation rleu", "--optimizer adma", "--epochs 0", "--hidden -5", "--seed x"):
        assert run(argv) == cli.USAGE
        assert argv.split()[0] in capsys.readouterr().err
    assert run("--load nowhere") == cli.DATA
    assert list(tmp_path.iterdir()) == []
