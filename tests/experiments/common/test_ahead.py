"""What is read ahead of a module is what the module has, and takes no jax."""

import ast
import subprocess
import sys
import textwrap

import pytest

from experiments import gallery
from experiments.common import ahead, claims
from experiments.common.cli import USAGE, flags_of

NAMES = (*gallery.NAMES, "equations", "gallery")
WANTED = {"Config", "QUICK"}


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_module(name):
    module = claims.module_of(name)
    found = ahead.part(ahead.ROOT / module.__file__, WANTED)
    assert flags_of(found.Config) == flags_of(module.Config)
    assert vars(found.Config()) == vars(module.Config())
    assert hasattr(found, "QUICK") == hasattr(module, "QUICK")
    assert vars(getattr(found, "QUICK", found)) == vars(getattr(module, "QUICK", found))


HELP = f"""
import sys
from experiments.common import ahead

for name in {NAMES}:
    try:
        ahead.answer(f"experiments.{{name}}", ["--help"])
    except SystemExit as end:
        assert not end.code, name
    else:
        sys.exit(f"{{name}} has no help")
    late = {{"jax", "numpy", "matplotlib", f"experiments.{{name}}"}} & sys.modules.keys()
    assert not late, (name, late)
"""


def test_help_of_every_experiment_imports_neither_jax_nor_the_experiment():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"usage: python -m experiments.{name} " in done.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["-m", "experiments.digits", "--help"], 0, "--hidden"),
        (["-mexperiments.gates", "--quick", "-h"], 0, "(default: 2000)"),
        (["-m", "experiments.gpt", "--stepz", "3"], USAGE, "Did you mean --steps?"),
        (["-m", "experiments.exercises", "--help"], 0, "solve"),
        (["-m", "experiments.exercises", "wriet"], USAGE, "write"),
    ],
)
def test_a_command_ends_before_jax_where_its_arguments_say_enough(command, code, said):
    python = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(python, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tyro" in imported
    assert not {"jax", "numpy"} & imported


def test_of_a_module_is_executed_what_the_names_need(tmp_path):
    text = """
        import sys, no_such_package as np, os.path
        from no_such_package import this, that
        from math import inf as most, no_such_name
        HERE, other = os.path.curdir, 1 / 1
        LEAST = 1
        LEAST += 1
        BROKEN = 1 / 0
        class Config:
            least, most, here = LEAST, most, HERE
        def measure(config: np.ndarray): ...
        QUICK = Config()
    """
    statements = ast.parse(textwrap.dedent(text)).body
    lines = [ast.unparse(line) for line in ahead.needed(statements, WANTED)]
    assert lines[:4] == [
        "import os.path", "from math import inf as most", "HERE, other = (os.path.curdir, 1 / 1)",
        "LEAST = 1",
    ]  # fmt: skip
    file = tmp_path / "module.py"
    file.write_text(textwrap.dedent(text))
    found = ahead.part(file, WANTED)
    assert (found.QUICK.least, found.QUICK.most, found.QUICK.here) == (2, float("inf"), ".")


def test_what_has_no_config_is_left_to_python():
    for module in ("experiments.nowhere", "experiments.common.cli", "experiments.exercises"):
        assert ahead.answer(module, ["--help"]) is None
