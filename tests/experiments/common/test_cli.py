import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from experiments.common import cli
from experiments.common.cli import Bounds, UserError


@dataclass(frozen=True)
class Config:
    """Settings."""

    hidden: Annotated[tuple[int, ...], Bounds(1)] = (3, 4)  # sizes
    optimizer: Literal["adam", "sgd"] = "adam"  # how
    learning_rate: Annotated[float | None, Bounds(0, open_low=True)] = None  # η
    dropout: Annotated[float, Bounds(0, 1)] = 0.0  # rate
    out: Path | None = None  # folder
    quick: bool = False  # less of it


def test_flags_become_the_fields_of_the_dataclass():
    argv = ["--hidden", "5", "6", "--optimizer=sgd", "--learning_rate", "1e-2", "--out", "a"]
    assert cli.parse(Config, argv) == Config((5, 6), "sgd", 0.01, 0.0, Path("a"))
    assert cli.parse(Config, ["--hidden", "--learning-rate", "None"]) == Config(())
    assert cli.parse(Config, ["--quick"]) == Config(quick=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--lerning-rate 3", "unknown flag --lerning-rate. Did you mean --learning-rate?"),
        ("--optimizer adma", "--optimizer: unknown choice 'adma'. Did you mean adam?"),
        ("--optimizer zzz", "unknown choice 'zzz'. The choices are adam, sgd."),
        ("--hidden 3 -5", "--hidden must be at least 1, got -5."),
        ("--hidden 3 x", "--hidden must be an integer, got 'x'."),
        ("--learning-rate 0", "--learning-rate must be greater than 0, got 0.0."),
        ("--learning-rate nan", "--learning-rate must be greater than 0, got nan."),
        ("--learning-rate inf", "--learning-rate must be greater than 0, got inf."),
        ("--dropout 1", "--dropout must be at least 0 and less than 1, got 1.0."),
        ("--dropout", "--dropout takes one value, got 0."),
        ("--quick yes", "--quick takes no value, got yes."),
        ("stray", "unknown argument stray."),
    ],
)
def test_mistakes_end_with_code_2_and_one_paragraph_that_names_them(argv, message, capsys):
    def main(config):
        raise AssertionError("main must not run")

    assert cli.run(main, Config, argv.split()) == cli.USAGE
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_help_names_every_flag_with_its_choices(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Config, ["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "{adam,sgd}" in said
    assert "--learning-rate" in said


def test_errors_in_main_end_with_their_own_code_and_interrupts_with_130(capsys):
    def fail(config):
        raise UserError("no such file", cli.DATA)

    def interrupted(config):
        raise KeyboardInterrupt

    assert cli.run(fail, Config, []) == cli.DATA
    assert capsys.readouterr().err == "error: no such file\n"
    assert cli.run(interrupted, Config, []) == 130
    assert cli.run(lambda config: None, Config, []) == 0


def test_a_reader_that_has_enough_ends_the_run_without_a_traceback():
    script = (
        "import sys; from experiments.common import cli; "
        "sys.exit(cli.exit_code(lambda: print('line\\n' * 100_000)))"
    )
    command = f'{sys.executable} -c "{script}" | head -1'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("line\n", "", cli.PIPE_CLOSED)
