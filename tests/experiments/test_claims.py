"""Every claim runs in its quick form, shows what it claims, and is in the gallery."""

import csv
import json
import pathlib
import re
import types

import pytest
from matplotlib.image import imread

from experiments import gallery
from experiments.common import claims, cli

FOLDER = pathlib.Path(claims.__file__).parent.parent
CLAIMS = [name for name in gallery.NAMES if hasattr(claims.module_of(name), "measure")]


@pytest.mark.parametrize("name", CLAIMS)
def test_quick_run_finds_what_is_claimed_and_writes_it_down(name, tmp_path, capsys):
    module, out = claims.module_of(name), tmp_path / "run"
    assert claims.run(module.measure, module.QUICK, ["--quick", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    missed = [finding for finding, seen in summary["findings"].items() if not seen]
    assert summary["findings"]
    assert not missed
    assert summary["question"] == claims.told(module).question
    assert len(summary["answer"]) > 20
    assert summary["answer"] in capsys.readouterr().out.replace("\n", " ")
    assert imread(out / f"{name}.png").std() > 0.01
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert rows
    assert all(None not in row.values() for row in rows)


def test_every_experiment_is_in_the_gallery_with_a_small_picture():
    found = {p.stem for p in FOLDER.glob("*.py")} - {"__init__"}
    assert found <= set(gallery.NAMES)
    for name in gallery.NAMES:
        assert (FOLDER / "gallery" / f"{name}.png").stat().st_size <= 100_000, name


def test_the_gallery_page_is_what_the_docstrings_say():
    assert gallery.PAGE.read_text() == gallery.page()
    for link in re.findall(r"\]\(([^)#]+)\)", gallery.PAGE.read_text()):
        assert (FOLDER / link).exists(), link


@pytest.mark.parametrize("name", gallery.NAMES)
def test_the_answer_of_a_claim_has_figures_and_its_command_is_its_own(name):
    told = claims.told(claims.module_of(name))
    assert re.search(r"\d", told.answer)
    assert "TODO" not in told.answer
    assert told.question.endswith("?")
    assert told.command == f"uv run python -m experiments.{name}"


def test_a_docstring_without_question_or_command_is_no_claim():
    module = types.ModuleType("wrong", "Title.\n\nAnswer: 1.")
    with pytest.raises(ValueError, match="wrong: its docstring needs one 'Question: ' paragraph"):
        claims.told(module)
    module = types.ModuleType("wrong", "Title.\n\nQuestion: a?\n\nAnswer: 1.")
    with pytest.raises(ValueError, match="must show its command"):
        claims.told(module)


def test_only_claims_can_be_run_again():
    with pytest.raises(cli.UserError, match=r"--run momentun: no such claim"):
        gallery.main(gallery.Config(("momentun",)))


def test_quick_changes_defaults_and_yields_to_flags(monkeypatch):
    module = claims.module_of("difference_quotient")
    seen = []
    monkeypatch.setattr(claims, "report", lambda measure, config, name: seen.append(config))
    for argv in ("", "--quick", "--quick --steps 9"):
        assert claims.run(module.measure, module.QUICK, argv.split()) == 0
    assert [c.steps for c in seen] == [module.Config().steps, module.QUICK.steps, 9]
    assert [c.quick for c in seen] == [False, True, True]
