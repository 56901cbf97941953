import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from safetensors.numpy import load_file

import fnn
from experiments import gpt
from experiments.common import cli
from experiments.common.progress import Progress
from experiments.gpt import corpus, sampling, states

ROOT = Path(fnn.__file__).parent.parent
SIZES = "--n 8 --heads 2 --layers 2 --context 12 --batch-size 3 --length 5"
SMALL = f"{SIZES} --steps 8 --evaluate-every 4 --learning-rate 0.01"
FILES = {
    "checkpoints", "config.json", "curves.png", "insides.png", "metrics.csv", "summary.json",
}  # fmt: skip


@pytest.fixture
def text(tmp_path):
    """A text of 3,000 bytes that is easy to learn."""
    path = tmp_path / "text.txt"
    path.write_bytes(b"abcdef ghij\n" * 250)
    return path


def run(argv):
    return cli.run(gpt.main, gpt.Config, argv.split(), quick=gpt.QUICK)


def rows_of(out):
    return list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.long
def test_command_trains_writes_samples_and_its_file_writes_more(text, tmp_path, capsys):
    out = tmp_path / "run"
    argv = f"{SMALL} --steps 200 --evaluate-every 100 --text {text} --temperature 0 --out {out}"
    assert run(argv) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{text}: 2,850 bytes, and 150 held out\nstep   0/200  train ")
    assert said.index("step   0/200") < said.index("step 100/200") < said.index("Bits per byte")
    assert {p.name for p in out.iterdir()} == FILES
    assert imread(out / "curves.png").std() > 0.01

    rows, summary = rows_of(out), json.loads((out / "summary.json").read_text())
    assert [row["step"] for row in rows] == ["0", "100", "200"]
    assert 7 < float(rows[0]["held_out"]) < 9
    assert float(rows[-1]["held_out"]) < 2
    assert summary["held_out"] < 2
    assert summary["baselines"]["uniform"] == 8
    assert summary["steps_per_second"] > 0

    sample = states.newest(out / gpt.CHECKPOINTS, gpt.plan_of).history[-1]["sample"]
    assert f"    {sample}\n" in said
    assert run(f"--load {newest_in(out)} --prompt ab --length 3 --temperature 0") == 0
    assert capsys.readouterr().out.startswith("ab")
    assert run(argv) == cli.USAGE  # the folder is another run's


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def newest_in(out):
    return fnn.checkpoints.latest(out / gpt.CHECKPOINTS)


def stopped_after(step, monkeypatch):
    """The user stops the run while it goes on from this step."""
    advanced = gpt.advanced

    def until(config, problem, saved, *rest):
        if int(saved.state.step) == step:
            raise KeyboardInterrupt
        return advanced(config, problem, saved, *rest)

    monkeypatch.setattr(gpt, "advanced", until)


HARDER = pytest.param("--precision bfloat16 --dropout 0.3", marks=pytest.mark.long)


@pytest.mark.long
@pytest.mark.parametrize("more", ["", HARDER])
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(
    more, text, tmp_path, monkeypatch, capsys
):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    argv = f"{SMALL} {more} --text {text}"
    assert run(f"{argv} --out {whole}") == 0
    with monkeypatch.context() as patch:
        stopped_after(4, patch)
        assert run(f"{argv} --out {halves}") == cli.INTERRUPTED
    assert {p.name for p in halves.iterdir()} == FILES - {
        "curves.png",
        "insides.png",
        "summary.json",
    }
    with (halves / "metrics.csv").open("a") as file:
        file.write("a row that no checkpoint knows")
    capsys.readouterr()
    assert run(f"--resume {halves}") == 0
    said = capsys.readouterr().out
    assert "step 8/8" in said
    assert "step 4/8" not in said

    ends = [states.newest(out / gpt.CHECKPOINTS, gpt.plan_of) for out in (whole, halves)]
    assert [int(end.state.step) for end in ends] == [8, 8]
    for a, b in zip(*(jax.tree.leaves(end.state._replace(key=None)) for end in ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_seconds(ends[0].history) == without_seconds(ends[1].history)
    assert without_seconds(rows_of(whole)) == without_seconds(rows_of(halves))
    assert {a.dtype for a in jax.tree.leaves(ends[0].state.params)} == {np.dtype(np.float32)}


@pytest.mark.long
def test_a_run_on_two_devices_goes_on_from_an_older_checkpoint_to_the_same_end(text, tmp_path):
    out, ends = tmp_path / "run", []
    more = f"--batch-size 4 --dropout 0.3 --text {text} --out {out}"
    for argv in (f"{SMALL} {more}", f"--resume {out}"):
        command = [sys.executable, "-m", "experiments.gpt", *argv.split(), "--devices", "2"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        ends.append(newest_in(out).rename(tmp_path / f"{len(ends)}.safetensors"))
    whole, halves = map(load_file, ends)
    assert whole.keys() == halves.keys()
    for name, a in whole.items():
        np.testing.assert_array_equal(a, halves[name])


@pytest.mark.long
def test_steps_are_the_same_in_pieces_of_any_length(text):
    config = gpt.Config(text=text, n=8, heads=2, layers=2, context=12, batch_size=3, steps=7)

    def end(*ends, **settings):
        """The State, and what was seen on the way there."""
        changed, seen = dataclasses.replace(config, **settings), []
        problem, saved = gpt.prepared(config, corpus.read(text, 12))
        for until in ends:
            state, _, last = gpt.advanced(changed, problem, saved, until, Progress(7))
            assert int(state.step) == until
            saved, seen = saved._replace(state=state), [*seen, last]
        return saved.state, seen

    whole, (seen,) = end(7)
    assert seen["step"] == 1  # every 25th is watched
    assert [*seen["update_ratios"]][-1] == "head"
    for found, seen in (end(2, 7), end(7, evaluate_every=30), end(3, 4, 7, evaluate_every=20)):
        assert [s.get("step") for s in seen] == [1, *[None] * (len(seen) - 1)]
        same = zip(*(jax.tree.leaves(s._replace(key=None)) for s in (whole, found)), strict=True)
        assert all((a == b).all() for a, b in same)


def test_what_was_seen_is_that_of_the_last_watched_step():
    net = fnn.Serial(a=fnn.Dense(1, 1), act=fnn.Tanh())
    seen = {"step": np.array([1, 4]), "norm": {"a": np.array([2.0, 3.0])}}
    assert gpt.told(net, seen) == {"step": 4, "norm": {"a": 3.0}}
    assert gpt.told(net, jax.tree.map(lambda a: a[:0], seen)) == {}


@pytest.mark.long
def test_a_text_that_has_changed_is_not_learned_on(text, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stopped_after(0, patch)
        assert run(f"{SMALL} --text {text} --out {tmp_path / 'run'}") == cli.INTERRUPTED
    before = content(tmp_path / "run")
    text.write_bytes(text.read_bytes() + b"!")
    assert run(f"--resume {tmp_path / 'run'}") == cli.DATA
    assert "not the text that the run in" in capsys.readouterr().err
    assert content(tmp_path / "run") == before


@pytest.mark.long
def test_a_run_is_resumed_from_elsewhere_with_its_text_where_that_is_now(
    text, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        stopped_after(4, patch)
        assert run(f"{SMALL} --text text.txt --out run") == cli.INTERRUPTED
    assert json.loads((out / "config.json").read_text())["text"] == str(text)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("config.json", "metrics.csv", "curves.png"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(mine)
    moved = text.rename(tmp_path / "moved.txt")
    assert run(f"--resume {out}") == cli.DATA
    assert f"there is no file {text}." in capsys.readouterr().err
    assert run(f"--resume {out} --text {moved}") == 0
    assert "step 8/8" in capsys.readouterr().out
    assert mine.read_text() == "mine"
    assert {p.name for p in out.iterdir() if not p.is_symlink()} == FILES
    assert [row["step"] for row in rows_of(out)] == ["0", "4", "8"]
    assert json.loads((out / "config.json").read_text())["text"] == str(moved)

    folder, file = out / gpt.CHECKPOINTS, newest_in(out)
    saved = states.load(file, gpt.plan_of)
    for older in {*folder.iterdir()} - {file}:
        older.unlink()
    odd = [*saved.history[:-1], {"step": 8, "train": 1.0}]
    states.save(folder, saved._replace(history=odd))
    assert run(f"--resume {out}") == cli.DATA
    assert "must have held_out, sample, seconds, step, train" in capsys.readouterr().err
    for change, message in (
        ({"steps": "8"}, "describes no run: "),
        ({"length": "8"}, "--length must be of type int, got '8'"),
        ({"n": 16}, "describe another network than the one that it holds"),
        ({"heads": 3}, "--heads must divide --n, got 3 and 8"),
        ({"temperature": -1}, "--temperature must be at least 0"),
        ({"prompt": ""}, "--prompt must have at least one letter"),
    ):
        states.save(folder, saved._replace(config=saved.config | change))
        for flag in (f"--resume {out}", f"--load {file}"):
            assert run(flag) == cli.DATA
            assert message in capsys.readouterr().err


@pytest.mark.long
def test_loss_that_is_not_finite_ends_the_run_before_it_is_saved(text, tmp_path, capsys):
    argv = f"{SMALL} --text {text} --out {tmp_path / 'run'}".replace("0.01", "1e30")
    assert run(argv) == cli.NOT_FINITE
    assert "error: the loss is nan after step" in capsys.readouterr().err
    saved = states.newest(tmp_path / "run" / gpt.CHECKPOINTS, gpt.plan_of)
    assert int(saved.state.step) == 0
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(saved.state.params))
    assert [row["step"] for row in rows_of(tmp_path / "run")] == ["0"]


@pytest.mark.long
def test_parameters_that_are_not_finite_are_not_saved(text, tmp_path, monkeypatch, capsys):
    advanced = gpt.advanced

    def last_update_diverges(*arguments):
        state, seconds, seen = advanced(*arguments)
        params = jax.tree.map(lambda a: a, state.params)
        params["norm"] = jax.tree.map(lambda a: a.at[0].set(np.inf), params["norm"])
        return state._replace(params=params), seconds, seen

    monkeypatch.setattr(gpt, "evaluated", lambda *arguments: 8.0)
    monkeypatch.setattr(gpt, "advanced", last_update_diverges)
    assert run(f"{SMALL} --text {text} --out {tmp_path / 'run'}") == cli.NOT_FINITE
    assert "are not finite after step 4; lower --learning-rate." in capsys.readouterr().err
    assert int(states.newest(tmp_path / "run" / gpt.CHECKPOINTS, gpt.plan_of).state.step) == 0
    assert [row["step"] for row in rows_of(tmp_path / "run")] == ["0"]


def test_mistakes_are_told_before_anything_is_read_or_created(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "read", lambda *arguments: pytest.fail("text was read"))
    for argv in (
        "--heads 3", "--n 0", "--precision float16", "--temperature -1", "--top-k 0",
        "--steps 1.5", "--dropout 1", "--prompt=", "--out a --resume b",
        "--quick --resume b", "--n 8 --load c", "--resume b --load c",
        "--evaluate-every 1 --steps 60000",
    ):  # fmt: skip
        assert run(argv) == cli.USAGE
        assert argv.split()[0].removesuffix("=") in capsys.readouterr().err
    assert run("--load nowhere --prompt x") == cli.DATA
    assert run("--resume nowhere") == cli.DATA
    (tmp_path / "text").write_text("no checkpoint")
    assert run("--load text") == cli.DATA
    assert "is not a safetensors file" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["text"]


def test_a_text_that_is_too_short_is_refused(tmp_path, capsys):
    (tmp_path / "a").write_bytes(b"short")
    assert run(f"{SMALL} --text {tmp_path / 'a'} --out {tmp_path / 'run'}") == cli.DATA
    assert "each part must be longer than --context, 12" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_prompts_may_have_any_letters(text, tmp_path, capsys):
    assert run(f"{SMALL} --steps 1 --text {text} --out {tmp_path / 'run'} --prompt=é\x1b") == 0
    assert f"    {sampling.printable('é'.encode())}\\x1b" in capsys.readouterr().out
