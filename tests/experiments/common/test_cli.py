import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

import fnn
from experiments.common import cli
from experiments.common.cli import Bounds, UserError


@dataclass(frozen=True)
class Config:
    """Settings."""

    hidden: Annotated[tuple[int, ...], Bounds(1), cli.OR_NONE] = (3, 4)  # sizes
    optimizer: Literal["adam", "sgd"] = "adam"  # how
    learning_rate: Annotated[float | None, Bounds(0, open_low=True)] = None  # η
    dropout: Annotated[float, Bounds(0, 1)] = 0.0  # rate
    rates: tuple[float, ...] = (0.5,)  # at least one
    out: Path | None = None  # folder
    quick: bool = False  # less of it


def test_flags_become_the_fields_of_the_dataclass():
    argv = ["--hidden", "5", "6", "--optimizer=sgd", "--learning_rate", "1e-2", "--out", "a"]
    assert cli.parse(Config, argv) == Config((5, 6), "sgd", 0.01, 0.0, (0.5,), Path("a"))
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
        ("--rates", "--rates takes at least one value, got 0."),
        ("--hidden 1_0", "--hidden must be an integer, got '1_0'."),
        ("--hidden ٣", "--hidden must be an integer, got '٣'."),
        ("--hidden １２", "--hidden must be an integer, got '１２'."),
        ("--learning-rate 1_0.5", "--learning-rate must be a number, got '1_0.5'."),
        ("--learning-rate ０.5", "--learning-rate must be a number, got '０.5'."),
        ("--out ab\udcff", r"'ab\udcff' is not UTF-8; write it in UTF-8."),
        ("--dr\x1b[31m", r"unknown flag --dr\x1b[31m."),
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
    assert "--debug" in said
    assert cli.run(lambda config: None, Config, ["--help"]) == 0
    assert "--learning-rate" in capsys.readouterr().out
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


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (fnn.Interrupted(15, 7, "a"), 143, "fit: stopped by SIGTERM after step 7, saved in a.\n"),
        (fnn.Interrupted(2, 7, "a"), 130, "fit: stopped by SIGINT after step 7, saved in a.\n"),
        (
            fnn.NotFinite("fit: step 8 is not.", ("loss",), 7, "a"),
            4,
            "error: fit: step 8 is not.\n",
        ),
    ],
)
def test_a_run_that_has_saved_itself_ends_with_the_code_of_its_end(error, code, said, capsys):
    def command():
        raise error

    assert cli.exit_code(command) == code
    assert capsys.readouterr().err == said


def test_with_debug_an_error_shows_where_it_comes_from(capsys):
    def fail(config):
        raise UserError("no such file", cli.DATA)

    assert cli.run(fail, Config, ["--debug", "--hidden", "3"]) == cli.DATA
    said = capsys.readouterr().err
    assert said.startswith("Traceback ")
    assert "in fail" in said
    assert said.endswith("\nerror: no such file\n")


def test_a_reader_that_has_enough_ends_the_run_without_a_traceback():
    script = (
        "import sys; from experiments.common import cli; "
        "sys.exit(cli.exit_code(lambda: print('line\\n' * 100_000)))"
    )
    command = f'{sys.executable} -c "{script}" | head -1'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("line\n", "", cli.PIPE_CLOSED)


def test_what_the_system_says_ends_a_run_in_one_line(capsys, tmp_path):
    assert cli.exit_code(lambda: print((tmp_path / "a\x07").read_text())) == cli.DATA
    said = capsys.readouterr().err
    assert said == f"error: {tmp_path}/a\\x07: No such file or directory.\n"


def test_an_output_without_room_ends_the_run_in_one_line():
    script = "from experiments.common import cli; raise SystemExit(cli.exit_code(lambda: print(1)))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", script], stdout=full, stderr=-1, text=True)
    assert done.returncode == cli.DATA
    assert done.stderr == "error: standard output: No space left on device.\n"


def test_messages_can_be_read_in_a_terminal_and_are_short():
    assert str(UserError("a\x1b[31m\u202eb\n")) == r"a\x1b[31m\u202eb\n"
    long = str(UserError(f"the name {'x' * 10**6} is too long; name a shorter one."))
    assert len(long) < 1100
    assert long.startswith("the name x")
    assert long.endswith("is too long; name a shorter one.")
    assert cli.listed([str(i) for i in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert cli.listed(["a", "b"], "; ") == "a; b"
    assert cli.nearest("x" * 10**6, ["y" * 10**6] * 10**5) == ""


def test_settings_of_a_file_are_checked_like_flags():
    cli.check_settings(Config())
    cli.check_settings(Config(learning_rate=1, out=Path("a")))
    wrong = {
        "--hidden must be of type int, got 'a'": {"hidden": "a"},
        "--hidden must be of type int, got (1, 2.5)": {"hidden": (1, 2.5)},
        "--hidden must be at least 1, got 0": {"hidden": (0,)},
        "--optimizer must be of type": {"optimizer": "adma"},
        "--learning-rate must be of type float, got '1'": {"learning_rate": "1"},
        "--dropout must be of type float, got True": {"dropout": True},
        "--dropout must be of type float, got None": {"dropout": None},
        "--dropout must be at least 0": {"dropout": float("nan")},
        "--out must be of type Path, got 3": {"out": 3},
        "--quick must be of type bool, got 1": {"quick": 1},
    }
    for message, fields in wrong.items():
        with pytest.raises(UserError, match=re.escape(message)):
            cli.check_settings(Config(**fields))


def test_a_command_whose_output_is_closed_goes_on_without_it():
    script = "from experiments.common import cli; raise SystemExit(cli.exit_code(lambda: print(1)))"
    command = ["bash", "-c", f'{sys.executable} -c "{script}" >&-']
    done = subprocess.run(command, stderr=-1, text=True)
    assert (done.returncode, done.stderr) == (0, "")
