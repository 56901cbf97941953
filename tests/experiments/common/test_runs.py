import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import runs
from experiments.common.cli import USAGE, UserError


@dataclass(frozen=True)
class Config:
    rate: float = 0.5
    out: Path | None = None


def test_run_writes_settings_metrics_and_results(tmp_path):
    path = tmp_path / "deep" / "run"
    with runs.Run(path, Config(out=path)) as run:
        run.row(epoch=1, loss=0.5)
        during = (path / "metrics.csv").read_text()
        run.row(epoch=2, loss=0.25)
        run.summary({"accuracy": 0.9, "loss": float("nan"), "y": [1.0, float("inf")]})
    assert during == "epoch,loss\n1,0.5\n"
    assert (path / "metrics.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert json.loads((path / "config.json").read_text()) == {"rate": 0.5, "out": str(path)}
    summary = json.loads((path / "summary.json").read_text())
    assert summary == {"accuracy": 0.9, "loss": None, "y": [1.0, None]}


def test_folder_that_holds_files_is_refused_and_stays_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty") as error:
        runs.folder(tmp_path, "x")
    assert error.value.code == USAGE
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UserError, match="is a file"):
        runs.folder(tmp_path / "mine.txt", "x")


def test_default_folders_are_named_by_time_and_never_reused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda form: "now")
    first = runs.folder(None, "x")
    assert first == Path("runs/x-now")
    assert not first.exists()
    first.mkdir(parents=True)
    assert runs.folder(None, "x") == Path("runs/x-now-2")


def test_folder_that_cannot_be_made_is_the_users_matter(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        runs.Run(tmp_path / "file" / "run", Config())


def test_numbers_of_numpy_and_jax_are_written_as_numbers(tmp_path):
    numbers = {"seen": np.bool_(True), "n": np.int64(3), "x": np.float32(0.5)}
    with runs.Run(tmp_path / "run", Config()) as run:
        run.summary(numbers | {"w": np.array([1.0, np.nan]), "b": jnp.arange(2)})
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary == {"seen": True, "n": 3, "x": 0.5, "w": [1.0, None], "b": [0, 1]}
    assert summary["seen"] is True
