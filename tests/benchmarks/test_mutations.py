import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.blocks import public
from benchmarks.mutations import report, run
from benchmarks.mutations.mistakes import MISTAKES
from benchmarks.mutations.mutants import HIDDEN, fitting, flat, guilty, mutant, placed
from benchmarks.mutations.optimizers import RULES, inputs, library, reference
from benchmarks.mutations.plan import Case, cases, place_of, places, plan
from benchmarks.mutations.rules import cases_of
from benchmarks.mutations.subjects import SUBJECTS, point
from benchmarks.mutations.work import answer, ask_fnn, judged

pytestmark = pytest.mark.long

LEVEL = {  # else 0, the smallest
    "transposed": 1,
    "mean over an extra axis": 1,
    "not a gradient": 1,
    "another layer's activation": 1,
    "untransposed w": 2,
}
CHOSEN = {  # row → the block, and where in it
    "zero": ("Dense", "params.w"),
    "sign": ("Tanh", "x"),
    "× 2": ("Dense", "params.b"),
    "× ½": ("Sigmoid", "x"),
    "× 1.01": ("Dense", "x"),
    "× N": ("Dense", "params.w"),
    "÷ N": ("Dense", "params.b"),
    "× n_out": ("Dense", "x"),
    "÷ n_out": ("Dense", "params.w"),
    "× √n": ("Dense", "params.w"),
    "mean over an extra axis": ("Dense", "params.w"),
    "only the first example": ("Dense", "params.b"),
    "wrong for several examples": ("Dense", "params.w"),
    "right where N = n": ("Tanh", "x"),
    "transposed": ("Sigmoid", "x"),
    "reversed": ("Dense", "params.b"),
    "rolled": ("Dense", "params.w"),
    "one entry zeroed": ("Dense", "params.w"),
    "one entry negated": ("Tanh", "x"),
    "one row zeroed": ("Tanh", "x"),
    "one column doubled": ("Tanh", "x"),
    "penalty added": ("Dense", "params.w"),
    "not a gradient": ("Dense", "params.w"),
    "NaN in one entry": ("Dense", "params.w"),
    "float32 inside": ("Tanh", "x"),
    "bfloat16 inside": ("Sigmoid", "x"),
    "wrong in float32": ("Tanh", "x"),
    "wrong in bfloat16": ("Sigmoid", "x"),
    "a term dropped": ("SiLU", "without x * (1 - s)"),
    "a term with the wrong sign": ("GELU", "− near(a) * dphi"),
    "the derivative twice": ("Tanh", "f′ twice"),
    "the derivative forgotten": ("Sigmoid", "dx = dy"),
    "the derivative at another point": ("Tanh", "f′ at y"),
    "untransposed w": ("Dense", "dx = dy w"),
    "a missing activation derivative": ("Serial", "layer 1"),
    "an extra activation derivative": ("Serial", "layer 1"),
    "another layer's activation": ("Serial", "layer 2 by layer 3"),
    "another layer's weight": ("Serial", "layer 0 by layer 2"),
    "swapped leaves": ("Serial", "layer 0 by layer 2"),
    **dict.fromkeys(HIDDEN, ("Dense", "× 1.01, x")),
}


BEYOND_QUICK = {"right where N = n", "wrong in bfloat16"}  # N = n at the smallest size


def chosen(row):
    name, what = CHOSEN[row]
    found = cases(SUBJECTS[name], LEVEL.get(row, 0))
    return next(c for c in found if (c.wrong.row, c.wrong.what) == (row, what))


@pytest.mark.parametrize("row", CHOSEN)
def test_every_kind_of_mistake_is_noticed_and_named(row):
    case = chosen(row)
    at = place_of(case)
    block = mutant(at.block, placed(case.wrong, at))
    wrong = guilty([at, place_of(case, 7)], block)
    found = ask_fnn(at, block)
    assert not found
    assert judged(case.wrong, wrong, found.findings) == {"named": True, "right": True}, str(found)


@pytest.mark.parametrize("row", sorted(CHOSEN.keys() - BEYOND_QUICK))
def test_a_quick_check_notices_it_too(row):
    case = chosen(row)
    at = place_of(case)
    assert not ask_fnn(at, mutant(at.block, placed(case.wrong, at)), quick=True)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", sorted({name for name, _ in CHOSEN.values()}))
def test_their_blocks_are_right_without_the_mistake(name, quick):
    at = point(SUBJECTS[name], 0)
    ask_fnn(at, at.block, quick=quick).raise_if_wrong()


def test_a_mistake_in_an_update_rule_is_noticed_and_an_optimizer_is_right():
    whats = [case.wrong.what for case in cases_of("SGD")]
    index = whats.index("learning_rate squared")
    result = answer({"id": 0, "about": "rule", "subject": "SGD", "index": index}, peers=False)
    verdict = result["verdicts"]["fnn.check"]
    assert (verdict["killed"], verdict["named"], verdict["right"]) == (True, True, True)
    clean = {"id": 1, "about": "clean rule", "subject": "SGD", "level": 0}
    result = answer({**clean, "dtype": "float64", "seed": 1})
    assert not result["verdicts"]["fnn.check"]["killed"]


@pytest.mark.parametrize("name", SUBJECTS)
def test_mistakes_are_made_only_where_there_is_a_gradient(name):
    at = point(SUBJECTS[name], SUBJECTS[name].levels[0])
    f = flat(at, at.block)
    dy = jax.eval_shape(f.forward, f.leaves)
    assert len(places(at)) == len(jax.eval_shape(f.backward, f.leaves, dy))


def test_every_kind_in_the_plan_has_its_test():
    assert {case.wrong.row for case in plan()} == set(CHOSEN)


def concrete_classes(base):
    yield from (cls.__name__ for module in (fnn, fnn.optim) for cls in public(module, base))


def parts(block):
    yield type(block).__name__
    for child in getattr(block, "children", {}).values():
        yield from parts(child)
    for field in ("optimizer", "schedule", "penalty", "links"):
        inner = getattr(block, field, ())
        for part in inner if isinstance(inner, tuple) else (inner,):
            yield from parts(part)


@pytest.mark.parametrize("base", [fnn.Layer, fnn.Loss, fnn.Penalty])
def test_every_public_block_has_a_subject(base):
    covered = {name for s in SUBJECTS.values() for name in parts(s.build(1))}
    assert set(concrete_classes(base)) <= covered


@pytest.mark.parametrize("base", [fnn.optim.Optimizer, fnn.optim.Schedule])
def test_every_public_optimizer_and_schedule_has_a_rule(base):
    blocks = [rule.build() for rule in RULES]
    blocks = [b.chain(inputs(0)[1]) if hasattr(b, "chain") else b for b in blocks]
    covered = {name for block in blocks for name in parts(block)}
    beyond = {"KFAC", "Plateau"}  # whose steps need factors, or losses
    assert set(concrete_classes(base)) - beyond <= covered


def test_the_plan_has_every_size_and_at_least_24_kinds_of_mistakes():
    chosen = plan()
    assert {case.level for case in chosen} == set(range(5))
    assert len({case.wrong.row for case in chosen}) >= 24
    assert len(chosen) >= 1200
    assert {row for s in ("Dense", "Tanh") for row in rows(s)} >= set(MISTAKES)


def rows(name):
    return {case.wrong.row for level in range(5) for case in cases(SUBJECTS[name], level)}


@pytest.mark.parametrize("rule", [r for r in RULES if r.other is not None], ids=lambda r: r.name)
def test_the_library_and_its_reference_agree(rule):
    args = inputs(1)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
        ours, others = (jax.jit(f)(*args) for f in (library(rule), reference(rule)))
    for a, b in zip(ours, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_only_what_optax_computes_otherwise_has_no_reference():
    assert {r.name for r in RULES if r.other is None} == {"AdaGrad", "Momentum, average", "SOAP"}


def test_a_mutant_that_changes_no_number_is_equivalent():
    (case,) = (
        c for c in cases(SUBJECTS["ReLU"], 0) if c.wrong.row == "the derivative twice"
    )  # fmt: skip
    assert guilty([place_of(case)], mutant(fnn.ReLU(), case.wrong)) == {}


def test_what_fits_all_the_numbers_is_right_too():
    g, h = np.arange(1.0, 4), np.array([2.0, 0, -2])
    assert fitting([(g, -g), (h, -h)]) == ["sign"]
    assert fitting([(g, 3 * g), (h, 3 * h)]) == ["factor"]
    assert fitting([(g, 3 * g), (h, 2 * h)]) == []
    assert fitting([(g, np.array([1.0, 2, 9])), (h, np.array([2.0, 5, -2]))]) == ["one entry"]


def test_the_flat_form_of_a_block_is_the_block():
    at = point(SUBJECTS["Dense"], 1)
    form = flat(at, at.block)
    assert form.names == ["params.w", "params.b", "x"]
    y = form.forward(form.leaves)
    (dw, db), dx = at.block.backward(
        at.params, at.block.forward(at.params, at.x)[1], jnp.ones_like(y)
    )
    for a, b in zip(form.backward(form.leaves, jnp.ones_like(y)), (dw, db, dx), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_tables_count_kills_diagnoses_and_false_alarms():
    def verdict(**said):
        return {
            "killed": True,
            "right": True,
            "named": True,
            "seconds": 0.5,
            "findings": [],
            **said,
        }

    mutated = {"subject": "Dense", "family": "layer", "row": "sign", "what": "x", "level": 0,
               "kinds": ["sign"], "equivalent": False}  # fmt: skip
    peer = {"vector": True, "mean": False, "killed": True, "seconds": 1.0}
    clean = {"subject": "Tanh", "dtype": "float32", "seed": 0, "level": 1}
    results = [
        {**mutated, "verdicts": {"fnn.check": verdict(), report.CHECKERS[1]: peer}},
        {**mutated, "verdicts": {"fnn.check": verdict(killed=False, right=False)}},
        {**mutated, "equivalent": True, "verdicts": {}},
        {**clean, "verdicts": {"fnn.check": verdict(killed=False)}},
    ]
    ours, peers, *missing = report.summary(results).splitlines()[2:]
    assert [cell.strip() for cell in ours.split("|")[2:4]] == ["2", "50"]
    assert "0 of 1" in ours
    assert [cell.strip() for cell in peers.split("|")[2:6]] == ["1", "100", "100", "0"]
    assert all("not installed" in line for line in missing)
    assert "sign" in report.survivors(results)
    json.dumps(results)


def test_jobs_say_where_their_mutants_are():
    jobs = run.jobs_of(("Tanh", "SGD"), quick=True)
    assert [job["id"] for job in jobs] == list(range(len(jobs)))
    assert {job["about"] for job in jobs} == {"mutant", "rule", "clean", "clean rule"}
    assert sum(map(len, run.chunks(jobs))) == len(jobs)
    assert isinstance(plan(("Tanh",))[0], Case)
