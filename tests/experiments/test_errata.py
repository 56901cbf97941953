import json
import math

import numpy as np
import pytest

from experiments import errata
from experiments.common import cli
from experiments.errata import nets, report, s0, s2
from experiments.errata.judging import MISTAKES, UNFIT, distance

COUNTS = {"S0": 3, "S1": 3, "S2": 13, "S3": 24, "S4": 17}
BY_ID = {erratum.id: erratum for erratum in errata.ERRATA}


def test_every_entry_of_the_list_is_there_once():
    wanted = [f"E-{text}-{i:02}" for text, n in COUNTS.items() for i in range(1, n + 1)]
    assert [erratum.id for erratum in errata.ERRATA] == wanted


def test_what_has_nothing_to_compute_is_typesetting_and_nothing_else_is():
    without = {e.id for e in errata.ERRATA if e.cases is None}
    assert without == {"E-S1-01", "E-S4-05"}
    assert without == {e.id for e in errata.ERRATA if e.mistake == "typesetting"}
    assert {e.mistake for e in errata.ERRATA} == set(MISTAKES)


@pytest.mark.long
@pytest.mark.usefixtures("double_precision")
def test_the_net_of_fnn_and_the_net_of_the_texts_cost_the_same():
    net = s2.net()
    a, b = nets.plain(net, {}), nets.tape(net, {})
    for ours, theirs in zip(b.z[1:] + b.a + b.cost, a.z[1:] + a.a + a.cost, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.usefixtures("double_precision")
def test_a_given_value_takes_the_place_of_a_quantity():
    net = s0.net()
    z = np.full((5, 4), 0.3)
    assert (nets.tape(net, {"z1": z}).a[1] == nets.tape(net, {"z1": z}).a[1][0, 0]).all()
    assert nets.plain(net, {"z1": z}).cost != nets.plain(net, {}).cost


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["E-S2-09", "E-S3-24"])
def test_the_printed_formula_is_off_and_the_corrected_one_is_not(name):
    for case in BY_ID[name].cases():
        printed, corrected = (distance(case, side) for side in (case.printed, case.corrected))
        assert corrected.error < 1e-14
        assert printed.error > 0.1 or math.isnan(printed.error)


@pytest.mark.long
def test_the_command_judges_one_entry_of_every_text(tmp_path, capsys):
    path = tmp_path / "run"
    argv = ["--quick", "--out", str(path)]
    assert cli.run(errata.main, errata.Config, argv) == 0
    assert {p.name for p in path.iterdir()} == {"config.json", "summary.json", "errata.png"}
    summary = json.loads((path / "summary.json").read_text())
    kinds = {
        name: [case["printed"]["kind"] for case in entry["cases"]]
        for name, entry in summary["entries"].items()
    }
    assert kinds == {
        "E-S0-02": [UNFIT],
        "E-S1-03": ["wrong term"],
        "E-S2-11": [UNFIT, "other weight"],
        "E-S3-16": ["sign"],
        "E-S4-13": ["factor"],
    }
    assert summary["refused"] == summary["passed"] == summary["named"] == summary["cases"] == 6
    (case,) = summary["entries"]["E-S0-02"]["cases"]
    assert "must have shape [4], got [4, 5]" in case["printed"]["text"]
    out = capsys.readouterr().out
    assert all(name in out for name in errata.ONE_EACH)
    assert "5 of 5 entries can be computed" in out


def test_an_entry_that_does_not_exist_is_a_usage_error(tmp_path, capsys):
    argv = ["--only", "E-S7", "--out", str(tmp_path / "run")]
    assert cli.run(errata.main, errata.Config, argv) == cli.USAGE
    assert "--only E-S7: no such entry" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ids_are_found_by_their_beginning_with_or_without_the_e():
    for name in ("S2-1", "E-S2-1"):
        chosen = errata.chosen(errata.Config(only=(name,)))
        assert [e.id for e in chosen] == ["E-S2-10", "E-S2-11", "E-S2-12", "E-S2-13"]


def test_roundings_stand_in_the_strip_and_mistakes_right_of_it():
    places = [report.position(e) for e in (0.0, 1e-16, 1e-13, 0.01, 1.0, 100.0, math.nan)]
    assert places == sorted(places)
    assert places[2] < 1.6 < places[3]


def test_what_has_no_number_is_drawn_and_told_too(tmp_path, capsys):
    argv = ["--only", "S4-05", "--out", str(tmp_path / "run")]
    assert cli.run(errata.main, errata.Config, argv) == 0
    assert (tmp_path / "run" / "errata.png").is_file()
    out = capsys.readouterr().out
    assert "nothing to compute" in out
    assert "0 of 1 entries can be computed" in out
