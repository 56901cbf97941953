import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import plots, runs
from experiments.common.cli import DATA, NOT_FINITE, USAGE, UserError


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


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guessed = runs.folder(None, "x")
    with runs.Run(guessed, Config()) as first, runs.Run(guessed, Config()) as second:
        assert second.path == Path(f"{first.path}-2") == Path(f"{guessed}-2")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: runs.Run(guessed, Config()).path, range(8)))
    assert len({*made}) == 8
    guessed = runs.folder(None, "y")
    guessed.mkdir()  # by another run, which has not written yet
    with runs.Run(guessed, Config()) as run:
        assert run.path == Path(f"{guessed}-2")
    with runs.Run(guessed, Config(out=guessed)) as run:
        assert run.path == guessed


def test_a_folder_that_was_named_is_taken_once(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json.partial").write_text("left by a kill before there was a run")
    assert runs.folder(path, "x") == path
    with runs.Run(path, Config(out=path)):
        assert [p.name for p in path.iterdir()] == ["config.json"]
        with pytest.raises(UserError, match="another run writes into this folder"):
            runs.Run(path, Config(out=path))
        with pytest.raises(UserError, match="another run writes into this folder"):
            runs.Run(path, Config(), resumed=True)
    with pytest.raises(UserError, match="is not empty"):
        runs.Run(path, Config(out=path))
    with runs.Run(path, Config(), resumed=True) as run:
        assert run.path == path


@pytest.mark.parametrize("out", ["file/run", "file/a/b", "a" * 300, "link", "link/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(out, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"^--out .* cannot be written: ") as error:
        runs.folder(tmp_path / out, "x")
    assert error.value.code == USAGE
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_may_not_be_written_into_is_refused_before_anything_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(runs.os, "access", lambda path, mode: path != tmp_path)
    for path in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UserError, match=f"cannot be written: {tmp_path} may not be written"):
            runs.folder(path, "x")


def test_rows_written_into_a_folder_that_is_gone_are_an_error(tmp_path):
    with runs.Run(tmp_path / "run", Config()) as run:
        run.row(loss=1)
        (tmp_path / "run").rename(tmp_path / "moved")
        for write in (lambda: run.row(loss=2), lambda: run.summary({})):
            with pytest.raises(UserError, match="cannot be written: No such file or directory"):
                write()
    assert (tmp_path / "moved" / "metrics.csv").read_text() == "loss\n1\n"


def test_links_in_a_folder_that_is_resumed_are_replaced_not_written_through(tmp_path):
    mine, path = tmp_path / "mine", tmp_path / "run"
    mine.write_text("mine")
    path.mkdir()
    for name in ("config.json", "metrics.csv", "summary.json", "a.png"):
        (path / name).symlink_to(mine)
    with runs.Run(path, Config(), resumed=True) as run:
        run.rows([{"loss": 1}, {"loss": 2}])
        run.row(loss=3)
        run.summary({})
        plots.save(plots.picture("a picture")[0], path / "a.png")
    assert mine.read_text() == "mine"
    assert not any(p.is_symlink() for p in path.iterdir())
    assert (path / "metrics.csv").read_text() == "loss\n1\n2\n3\n"


def test_a_run_without_room_for_its_settings_leaves_a_folder_that_can_be_named_again(
    tmp_path, monkeypatch
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: os.stat(tmp_path / "nowhere"))
        with pytest.raises(UserError, match="config.json cannot be written"):
            runs.Run(path, Config(out=path))
    with runs.Run(runs.folder(path, "x"), Config(out=path)):
        assert [p.name for p in path.iterdir()] == ["config.json"]


def test_names_that_are_not_utf_8_are_kept(tmp_path):
    odd = Path(os.fsdecode(b"a\xff"))
    with runs.Run(tmp_path / "run", Config(out=odd)):
        config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert Path(config["out"]) == odd


def test_what_is_not_finite_is_told_by_name_before_anything_is_written():
    tensors = {"0.w": np.ones((2, 3)), "0.b": jnp.array([1, jnp.inf, jnp.nan], "bfloat16")}
    runs.check_finite("after step 3", {"loss": 1.0}, {"0.w": tensors["0.w"], "step": np.int32(3)})
    with pytest.raises(UserError, match=r"the validation loss is nan after step 3; lower --l") as e:
        runs.check_finite("after step 3", {"loss": 1.0, "validation_loss": float("nan")}, tensors)
    assert e.value.code == NOT_FINITE
    with pytest.raises(UserError, match=r"2 of 3 numbers in 0\.b are not finite after step 3"):
        runs.check_finite("after step 3", {"loss": 1.0}, tensors)


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


def test_a_run_that_is_not_at_its_end_goes_on_in_its_folder_and_no_other_does(tmp_path):
    out = tmp_path / "run"
    with runs.Run(out, Config()) as run:
        run.rows([{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 0.2}])
    elsewhere = Config(out=Path("other"))
    assert runs.folder(out, "name", elsewhere) == out
    with runs.Run(out, Config(), resumed=True) as run:
        assert run.rows_before(1) == [{"epoch": 1.0, "loss": 0.1}]
        assert run.rows_before(0) == []
        with pytest.raises(
            UserError, match="has not the 3 rows of the run so far; begin again"
        ) as e:
            run.rows_before(3)
        assert e.value.code == DATA
    other = Config(rate=0.25)
    for config in (None, other):
        with pytest.raises(UserError, match="is not empty"):
            runs.folder(out, "name", config)
    with runs.Run(out, Config(), resumed=True) as run:
        run.summary({})
    with pytest.raises(UserError, match="is not empty"):
        runs.folder(out, "name", Config())
