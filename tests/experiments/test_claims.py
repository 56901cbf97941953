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
CLAIMS = [name for name in gallery.NAMES if name not in ("digits", "cnn", "gpt", "errata")]


def words(text):
    """Its words without figures."""
    return re.findall(r"[a-zA-Z]{2,}", text)


@pytest.mark.parametrize("name", CLAIMS)
def test_quick_run_finds_what_is_claimed_and_writes_it_down(name, tmp_path, capsys):
    module, out = claims.module_of(name), tmp_path / "run"
    assert claims.run(module.measure, module.QUICK, ["--quick", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    missed = [finding for finding, seen in summary["findings"].items() if seen is not True]
    assert summary["findings"]
    assert not missed
    assert summary["question"] == claims.told(module).question
    assert words(summary["answer"])[:3] == words(claims.told(module).answer)[:3]
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


def test_a_new_answer_takes_the_place_of_the_old_one_and_nothing_else_changes():
    source = '"""Title.\n\nQuestion: a?\n\nAnswer: 1 of\n2.\n\nSource: b.\n"""\n\nx = 1\n\n'
    new = gallery.answered(source, "3 \\1 " + 30 * "long ")
    assert new.startswith('"""Title.\n\nQuestion: a?\n\nAnswer: 3 \\1 long')
    assert new.endswith('long\n\nSource: b.\n"""\n\nx = 1\n\n')
    assert max(map(len, new.splitlines())) <= 92


def test_a_run_that_does_not_show_what_is_claimed_says_so_and_fails(tmp_path, capsys, monkeypatch):
    module = claims.module_of("difference_quotient")
    monkeypatch.setattr(module, "power", lambda x, y: 3.0)
    out = str(tmp_path / "run")
    assert claims.run(module.measure, module.QUICK, ["--quick", "--out", out]) == claims.NOT_SEEN
    said = capsys.readouterr()
    assert "✗ the forward quotient's error has slope 1" in said.out
    assert "This run does not show what is marked ✗." in said.out
    assert "error: a finding was not seen" in said.err


def test_quick_changes_defaults_and_yields_to_flags(monkeypatch):
    module = claims.module_of("difference_quotient")
    seen = []
    outcome = types.SimpleNamespace(holds=True)
    monkeypatch.setattr(claims, "report", lambda m, config, n: seen.append(config) or outcome)
    for argv in ("", "--quick", "--quick --steps 9"):
        assert claims.run(module.measure, module.QUICK, argv.split()) == 0
    assert [c.steps for c in seen] == [module.Config().steps, module.QUICK.steps, 9]
    assert [c.quick for c in seen] == [False, True, True]
