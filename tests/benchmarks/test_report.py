import json
import time

import jax
import pytest
from PIL import Image

from benchmarks import saving, streaming
from benchmarks.__main__ import Options, main
from benchmarks.case import Case, Table
from benchmarks.curve_picture import draw_curves
from benchmarks.curves import Curve, Depth, Point
from benchmarks.machine import Import, Share, import_cost, matmul_shares, matrix_rate, rated
from benchmarks.measure import QUICK, Result
from benchmarks.picture import draw, height, in_columns
from benchmarks.precision import Error, Kept
from benchmarks.report import (
    Report,
    curve_table,
    depth_table,
    import_table,
    kept_table,
    mark,
    precision_table,
    rated_table,
    ratio_table,
    run_table,
    save_json,
    saving_table,
    share_table,
    step_table,
    streaming_table,
    update_table,
)
from benchmarks.runs import Run, training_runs
from benchmarks.saving import Saving
from benchmarks.steps import Step
from benchmarks.streaming import Streamed
from benchmarks.updates import OPTIMIZERS, Update, measured, mlp


def result(name, time, memory):
    return Result(name, time, 0.9 * time, 1.1 * time, memory, 1.0, 1.2, 3e-8, 9, 12.0, (2, 1))


RESULTS = [result("a", 0.5, 0.25), result("b", 2.0, 1.0)]
TABLE = Table("Some", "A note.", tuple(Case(r.name, None) for r in RESULTS), mean=True)
RUNS = [
    Run("fnn.fit", 1.0, 1.0, 1.0, 0.04, 0.99, None),
    Run("slow", 0.2, 0.1, 0.3, 0.2, 0.98, 0.25),
    Run("absent", None, None, None, None, None, None),
]
STEPS = [
    Step("gpt", "fnn", 1.0, 1.0, 1.0, 0.3, 6.1, 3.2),
    Step("gpt", "slow", 0.8, 0.7, 0.9, 0.375, 6.1, 3.1, 0.77),
    Step("lstm", "fnn", 1.0, 1.0, 1.0, 0.0321, 2.5, 2.4),
    Step("lstm", "absent"),
]

POINTS = [Point(256, (2.0, 8.0), (1.0, 4.0)), Point(4096, (50.0, None), (16.0, 2e6))]
CURVES = [Curve("Some layer", "T", POINTS)]
DEPTHS = [Depth(4, (2.0, 3.0)), Depth(12, (2.2, 3.3)), Depth(48, (3.0, 3.3))]
KEPT = [
    Kept("Some", "float32", "tails", "y", 12.4, 1.6, "8 x"),
    Kept("Some", "float32", "magnitudes", "y", float("inf"), float("inf"), "1e+38 x"),
    Kept("Some", "bfloat16", "tails", "dx", 256.0, 3.0, "8 x"),
]
ERRORS = [Error("net", "bfloat16", 1e-3, 2e-3, 5e-3, "params[0].w of Dense")]


def test_a_missed_target_is_bold():
    assert mark(1.03, 1.03) == "1.03"
    assert mark(1.0349, 1.03) == "1.03"
    assert mark(1.036, 1.03) == "**1.04**"
    assert mark(0.0123, 1.0) == "0.012"


def test_ratios_end_in_geometric_means():
    lines = ratio_table(TABLE, RESULTS).splitlines()
    assert lines[0] == "### Some"
    assert "**2.00** [1.80, 2.20]" in lines[-2]
    assert [c.strip() for c in lines[-1].split("|")[1:4]] == [
        "geometric mean", "**1.00**", "**0.50**",
    ]  # fmt: skip


def test_a_table_without_mean_has_only_its_rows():
    assert "mean" not in ratio_table(TABLE._replace(mean=False), RESULTS)


def test_an_absent_peer_says_so():
    assert "| absent  | not installed" in run_table(RUNS)
    assert "≤ 0.25" in run_table(RUNS)


def test_a_step_tells_its_time_and_its_losses():
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in step_table(STEPS).splitlines()]
    assert lines[-3] == [
        "gpt", "slow", "**0.80** [0.70, 0.90]", "≤ 0.77", "375.00", "6.100 → 3.100",
    ]  # fmt: skip
    assert lines[-1] == ["lstm", "absent", "not installed", "", "", ""]


UPDATES = [
    Update("slow", 27.0, 51.0, 50.2, 1.03, 1.0, 1.1, 0.9, 1.02),
    Update("fast, clipped", 29.0, 51.0, 50.2, 1.5, 1.4, 1.6, 1.4, 1.7),
]


def test_a_step_that_takes_longer_than_its_target_is_bold():
    assert "| slow | 27.0 | 51.0 | 50.2 | **1.03** [1.00, 1.10] | ≤ 1.02 | 0.90 |" in flat(UPDATES)
    assert "| 1.50 [1.40, 1.60] | ≤ 1.7 | 1.40 |" in flat(UPDATES)


def flat(updates):
    return " ".join(update_table(updates).split())


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_inside_and_behind_and_of_plain_jax_agree(name):
    with jax.numpy_dtype_promotion("standard"):  # as optax is written
        row = measured(name, mlp(8, 64), OPTIMIZERS[name], QUICK)
    assert row.inside < row.behind
    assert row.time > 0


def test_what_a_checkpoint_costs_is_told_and_measured(tmp_path):
    row = cells(saving_table([Saving("net", 36.04, 80.0, 0.251, 3.0, 2.0, 1.0)]))[-1]
    assert row == ["net", "36.0", "80.00", "0.25", "3.00", "2.00", "1.00"]
    with jax.enable_x64(False):
        found = saving.measured("net", 64, tmp_path / "a", 1)
    assert 3 * 3 * 64 * 64 * 4 < found.mib * 2**20 < 4 * 3 * 64 * 64 * 4
    assert min(found[2:]) > 0


@pytest.mark.long
def test_a_stream_below_its_target_is_bold_and_one_without_is_not(monkeypatch):
    told = [
        cells(streaming_table([Streamed("net", 10, 33.0, ratio, 0.8, 0.95, target)]))[-1][3]
        for ratio, target in ((0.85, 0.9), (0.92, 0.9), (0.2, None))
    ]
    assert told == [f"{r} [0.80, 0.95]" for r in ("**0.85**", "0.92", "0.20")]
    monkeypatch.setitem(streaming.SIZES, "tiny", ((3, 4, 2), 4, 3, 1))
    with jax.enable_x64(False):
        found = streaming.measured("tiny", 1, time.process_time)
    assert found.parameters == 26
    assert found.ratio > 0


COUNTED = RESULTS[0]._replace(microseconds=2000.0, products=2 * 10**9, peak=3 * 2**29)


def test_a_row_shares_the_rate_of_a_product_where_its_products_are_counted():
    (row,) = rated([COUNTED, RESULTS[1]], 2e12)
    assert row == ("a", 2.0, 1.0, 0.5, 1.5)
    assert cells(rated_table([row], 2e12))[-1] == ["a", "2.00", "1.00", "0.50", "1.50"]
    assert "2 TFLOP/s" in rated_table([row], 2e12)


def test_a_share_below_its_target_is_bold():
    low, high = (Share("step", s, s - 0.1, s + 0.1, 100.0) for s in (0.8, 0.95))
    assert "**0.80**" in share_table([low])
    assert "**" not in share_table([high])
    assert "**0.20**" in import_table(Import(0.2, 0.1, 0.3))


def cells(text):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]


def test_a_point_that_was_not_run_says_so_and_has_its_memory():
    text = curve_table(CURVES[0])
    assert cells(text)[-2] == ["256", "2", "8", "0.25", "1", "4", "0.25"]
    assert cells(text)[-1][:4] == ["4096", "50", "not run", ""]
    assert cells(text)[-1][4:6] == ["16", "2e+06"]
    assert "more than half of the machine's memory" in text
    assert "half" not in curve_table(CURVES[0]._replace(points=POINTS[:1]))


def test_compile_time_that_grows_is_bold():
    assert cells(depth_table(DEPTHS))[-2][3:] == ["1.10", "1.10"]
    assert cells(depth_table(DEPTHS))[-1] == ["48", "3.00", "3.30", "**1.50**", "1.10"]


def test_errors_name_their_worst_array():
    row = cells(precision_table(ERRORS))[-1]
    assert row == ["net", "bfloat16", "1e-03", "2.0e-03", "5.0e-03", "params[0].w of Dense"]


def test_what_is_lost_and_what_is_beyond_the_range_is_said():
    row = cells(kept_table(KEPT))[-1]
    assert row[0] == "Some"
    assert row[4:6] == ["2 / 12", "–"]
    assert row[8] == "3 / lost"
    assert row[-1] == "1e+38 x"


def test_many_tables_stand_in_two_even_columns():
    tables = [(TABLE, RESULTS * n) for n in (15, 2, 9, 3)]
    assert in_columns(tables[1:2]) == [tables[1:2]]
    left, right = in_columns(tables)
    assert (left, right) == (tables[:1], tables[1:])
    assert height(right) == 28 + 4.5


def test_everything_is_written(tmp_path):
    tables = [(TABLE, RESULTS * 12), (TABLE, RESULTS * 9)]
    imports = Import(0.1, 0.1, 0.1)
    report = Report(tables, RUNS, STEPS, [], imports, CURVES, DEPTHS, ERRORS, KEPT)
    report = report._replace(rated=rated([COUNTED], 2e12), rate=2e12)
    save_json(tmp_path / "results.json", report)
    draw(tmp_path / "ratios.png", report)
    draw_curves(tmp_path / "curves.png", report.curves, report.depths)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["tables"]["Some"][1]["time"] == 2.0
    assert {"device", "date"} <= set(content["machine"])
    assert content["rated"][0]["share"] == 0.5
    assert content["runs"][2]["ratio"] is None
    assert content["steps"][1]["seconds"] == 0.375
    assert content["curves"]["Some layer"][1]["milliseconds"] == [50.0, None]
    assert content["depths"][2]["seconds"] == [3.0, 3.3]
    assert [k["entry"] for k in content["kept"]] == [12.4, None, 256.0]
    assert content["precision"][0]["leaf"] == "params[0].w of Dense"
    for name in ("ratios.png", "curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 1000
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_one_block_alone_runs_quickly(tmp_path):
    said = []
    report = main(Options(quick=True, out=tmp_path, only=("losses",)), said.append)
    assert [len(results) for _, results in report.tables] == [1]
    assert "### Losses" in (tmp_path / "tables.md").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {
        "tables.md", "results.json", "ratios.png",
    }  # fmt: skip
    with pytest.raises(SystemExit, match="--only takes the beginnings of"):
        main(Options(out=tmp_path, only=("nothing",)), said.append)


@pytest.mark.long
def test_peers_run_in_processes_of_their_own(monkeypatch):
    monkeypatch.setattr("benchmarks.runs.PEERS", {
        "ours": "hand_written", "PyTorch": "pytorch",
    })  # fmt: skip
    monkeypatch.delenv("FNN_TORCH_PYTHON", raising=False)
    monkeypatch.setattr("benchmarks.turns.importlib.util.find_spec", lambda name: None)
    ours, absent = training_runs(rounds=1, epochs=2)
    assert ours.ratio == 1.0
    assert ours.seconds > 0
    assert 0.5 < ours.accuracy < 1
    assert absent == ("PyTorch", None, None, None, None, None, None)


@pytest.mark.long
def test_machine_is_measured():
    shares = matmul_shares(width=16, batch=32, size=64, n=3)
    assert len(shares) == 2
    assert all(s.share > 0 and s.gigaflops > 0 for s in shares)
    assert matrix_rate(QUICK) > 1e6
    assert 0 < import_cost(n=1).seconds < 10
