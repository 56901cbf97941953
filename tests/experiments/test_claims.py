"""Every claim runs in its quick form, shows what it claims, and is in the gallery."""

import csv
import dataclasses
import difflib
import importlib
import json
import pathlib
import pkgutil
import re
import runpy
import types

import pytest
from matplotlib.image import imread

import experiments
from experiments import errata, gallery
from experiments.common import claims, cli

FOLDER = pathlib.Path(claims.__file__).parent.parent
TYPED = ("digits", "cnn", "gpt")  # their answers sum up several runs
CLAIMS = [name for name in gallery.NAMES if name not in (*TYPED, "errata")]
SHOWN = gallery.shown(gallery.PAGE.read_text())


def words(text):
    """Its words without figures."""
    return re.findall(r"[a-zA-Z]{2,}", text)


@pytest.mark.long
@pytest.mark.parametrize("name", CLAIMS)
def test_quick_run_finds_what_is_claimed_and_writes_it_down(name, tmp_path, capsys):
    module, out = claims.module_of(name), tmp_path / "run"
    assert claims.run(module.measure, module.QUICK, ["--quick", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    missed = [finding for finding, seen in summary["findings"].items() if seen is not True]
    assert summary["findings"]
    assert not missed
    assert summary["question"] == claims.told(module).question
    same = difflib.SequenceMatcher(None, words(summary["answer"]), words(SHOWN[name]))
    assert same.ratio() > 0.8
    assert summary["answer"] in capsys.readouterr().out.replace("\n", " ")
    assert imread(out / f"{name}.png").std() > 0.01
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert rows
    assert all(None not in row.values() for row in rows)


def test_every_file_or_folder_that_asks_a_question_is_in_the_gallery_with_a_small_picture():
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    asking = [
        name
        for name in names
        if re.search(r"^Question: ", importlib.import_module(f"experiments.{name}").__doc__, re.M)
    ]
    assert sorted(asking) == sorted(gallery.NAMES)
    assert set(names) - set(asking) == {"common", "equations", "exercises", "gallery"}
    for name in gallery.NAMES:
        assert (FOLDER / "gallery" / f"{name}.png").stat().st_size <= 100_000, name


@pytest.mark.parametrize("name", [name for name in gallery.NAMES if (FOLDER / name).is_dir()])
def test_a_folder_is_a_command_like_a_file(name, monkeypatch):
    ran = []
    for runner in (claims, cli):
        monkeypatch.setattr(runner, "run", lambda what, *rest, **more: ran.append(what))
    with pytest.raises(SystemExit):
        runpy.run_module(f"experiments.{name}", run_name="__main__")
    module = claims.module_of(name)
    assert ran == [module.measure if name in CLAIMS else module.main]


def test_the_gallery_page_is_what_the_docstrings_and_the_answers_on_it_say():
    text = gallery.PAGE.read_text()
    assert text == gallery.page(SHOWN)
    assert set(SHOWN) == set(gallery.NAMES)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (FOLDER / link).exists(), link


@pytest.mark.parametrize("name", gallery.NAMES)
def test_the_answer_of_a_claim_has_figures_and_its_command_is_its_own(name):
    told = claims.told(claims.module_of(name))
    assert re.search(r"\d", SHOWN[name])
    assert (told.answer is not None) == (name in TYPED)
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


@pytest.fixture
def gallery_elsewhere(tmp_path, monkeypatch):
    """The gallery writes to another folder, and errata judges one entry."""
    here = tmp_path / "experiments" / "gallery"
    here.mkdir(parents=True)
    page = here.parent / "README.md"
    page.write_text(gallery.PAGE.read_text())
    monkeypatch.setattr(gallery, "HERE", here)
    monkeypatch.setattr(gallery, "PAGE", page)
    quick = claims.module_of("difference_quotient").QUICK
    monkeypatch.setattr(
        claims.module_of("difference_quotient"),
        "Config",
        lambda out: dataclasses.replace(quick, out=out),
    )
    only = errata.Config
    monkeypatch.setattr(errata, "Config", lambda out: only(("S4-05",), out=out))
    return here


@pytest.mark.long
def test_a_run_again_puts_its_answer_and_its_picture_into_the_gallery(gallery_elsewhere):
    old = gallery.PAGE.read_text()
    gallery.main(gallery.Config(("difference_quotient", "errata")))
    new = gallery.PAGE.read_text()
    assert gallery.shown(new)["errata"].startswith("0 of 1 entries can be computed")
    changed = {name for name, said in gallery.shown(new).items() if said != SHOWN[name]}
    assert "errata" in changed <= {"errata", "difference_quotient"}
    assert len(new.splitlines()) == len(old.splitlines())
    for name in ("difference_quotient", "errata"):
        assert imread(gallery_elsewhere / f"{name}.png").std() > 0.01


def test_an_experiment_that_the_page_does_not_show_yet_has_no_answer():
    others = {name: said for name, said in SHOWN.items() if name != "momentum"}
    assert gallery.shown(gallery.page(others)) == others | {"momentum": ""}


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
