"""Every command: mistakes end it before anything is read, made or trained, wherever it runs."""

import ast
import os
import subprocess
import sys
import types
from typing import Literal, get_args, get_origin

import pytest

from experiments import gallery
from experiments.common import bundles, claims, cli
from experiments.common.cli import USAGE, flags_of
from experiments.exercises import __main__ as exercises
from experiments.gpt import corpus

NAMES = (*gallery.NAMES, "equations", "gallery")


def config_of(name):
    return claims.module_of(name).Config


def run(name, argv):
    """The command of a module, and its exit code."""
    module = claims.module_of(name)
    if hasattr(module, "measure"):
        return claims.run(module.measure, module.QUICK, argv)
    return cli.run(module.main, module.Config, argv, quick=getattr(module, "QUICK", None))


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """A folder in which nothing may be made; nothing may be read or measured either."""

    def refuse(*args, **options):
        pytest.fail("something was read or measured")

    modules = [claims.module_of(name) for name in NAMES]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundles, "digits", refuse)
    monkeypatch.setattr(bundles, "table", refuse)
    monkeypatch.setattr(bundles, "bundled", refuse)
    monkeypatch.setattr(corpus, "read", refuse)
    for module in modules:
        if hasattr(module, "measure"):
            fake = types.FunctionType(refuse.__code__, globals(), closure=refuse.__closure__)
            fake.__module__ = module.__name__
            monkeypatch.setattr(module, "measure", fake)
    return tmp_path


def mistakes(name):
    """(arguments, what the message must say) for every flag of a command."""
    flags = {flag.name: flag for flag in flags_of(config_of(name))}
    for flag in flags.values():
        word = flag.name[2:]
        yield [f"--{word}x", "1"], f"unknown flag {flag.name}x."
        if flag.kind is bool:
            yield [flag.name, "yes"], f"{flag.name} takes no value"
        elif flag.kind in (int, float):
            yield [flag.name, *["x"] * (flag.fixed or 1)], f"{flag.name} must be a"
        elif get_origin(flag.kind) is Literal:
            choice = sorted(get_args(flag.kind))[0]
            yield [flag.name, f"{choice}x"], f"Did you mean {choice}?"
    yield ["stray"], "unknown argument stray"
    if "--seed" in flags:
        yield ["--sede", "1"], "Did you mean --seed?"
        yield ["--seed", "-1"], "--seed must be at least 0"


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_of_every_flag_is_told_in_one_line_before_anything_is_done(
    name, untouched, capsys
):
    for argv, told in mistakes(name):
        assert run(name, argv) == USAGE, argv
        said = capsys.readouterr()
        assert told in said.err, argv
        assert (said.out, said.err.count("\n")) == ("", 1), argv
    assert not [*untouched.iterdir()]


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_command_is_without_bounds(name):
    for flag in flags_of(config_of(name)):
        assert flag.kind not in (int, float) or flag.bounds is not None, flag.name


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("equations", "gallery")])
def test_an_output_that_cannot_be_is_told_before_anything_is_done(name, untouched, capsys):
    (untouched / "mine").mkdir()
    (untouched / "mine" / "a").write_text("mine")
    for out in ("mine", "mine/a", "mine/a/run", "/dev/null/run"):
        assert run(name, ["--out", out]) == USAGE
        said = capsys.readouterr()
        assert f"--out {out}" in said.err
        assert (said.out, said.err.count("\n")) == ("", 1)
    assert [p.name for p in untouched.iterdir()] == ["mine"]
    assert [p.read_text() for p in (untouched / "mine").iterdir()] == ["mine"]


def test_no_module_reads_a_data_set_when_it_is_imported():
    files = {p: ast.parse(p.read_text()) for p in gallery.HERE.parent.rglob("*.py")}
    assert len(files) > len(NAMES)
    for file, module in files.items():
        for line in module.body:
            if not isinstance(line, ast.FunctionDef):
                calls = {ast.unparse(c.func) for c in ast.walk(line) if isinstance(c, ast.Call)}
                assert not any(call.startswith("bundles.") for call in calls), (file, line.lineno)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_flag_and_ends_with_0(name, untouched, capsys):
    assert run(name, ["--help"]) == 0
    said = capsys.readouterr().out
    assert all(flag.name in said for flag in flags_of(config_of(name)))


def test_commands_within_a_command_end_likewise(untouched, capsys):
    assert exercises.main(["wriet"]) == USAGE
    assert exercises.main(["solve", "x"]) == USAGE
    assert exercises.main(["check", "nowhere.py"]) == USAGE
    assert "Traceback" not in capsys.readouterr().err


BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


def piped(command, **env):
    """(code, what was printed, errors) of a pipeline in a bare environment, or one of these."""
    shell = ["bash", "-o", "pipefail", "-c", command.replace("python", sys.executable)]
    done = subprocess.run(shell, capture_output=True, text=True, env=BARE | env, stdin=-3)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_a_command_that_is_read_no_further_ends_without_a_word(tmp_path):
    code, said, errors = piped("python -m experiments.equations | head -1")
    assert (code, errors, said.count("\n")) == (cli.PIPE_CLOSED, "", 1)
    code, said, errors = piped("python -m experiments.equations --help | true")
    assert (code, errors, said) == (cli.PIPE_CLOSED, "", "")


@pytest.mark.long
def test_a_command_runs_without_home_letters_room_and_terminal(tmp_path):
    how = {"LC_ALL": "C", "COLUMNS": "20", "PYTHONIOENCODING": "ascii"}
    out = tmp_path / "ü"
    command = f"python -m experiments.difference_quotient --quick --out {out} 2>&1 | cat"
    code, said, errors = piped(command, **how, HOME="/nowhere", TERM="dumb")
    assert (code, errors) == (0, "")
    assert "Traceback" not in said
    assert said.rstrip().endswith("?/")
    assert (out / "difference_quotient.png").stat().st_size > 1000
