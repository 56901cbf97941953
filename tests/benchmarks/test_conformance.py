import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.conformance.ask import OWN, PLAIN
from benchmarks.conformance.case import Case, rule_of, symmetric
from benchmarks.conformance.differences import slope
from benchmarks.conformance.report import group, tables
from benchmarks.conformance.truth import truth

X = np.array([0.3, -0.7, 1.2])


def wrong_sin(factor):
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (factor * jnp.cos(x) * dy,))
    return f


@pytest.mark.parametrize(
    ("phi", "want"),
    [
        (np.sin, 1.0),
        (lambda t: np.exp(3 * t) / 3, 1.0),
        (lambda t: (2 + t) ** 3, 12.0),
        (lambda t: np.sqrt(1e-4 + t), 50.0),
        (lambda t: 1e6 * (1 + t), 1e6),
        (lambda t: 0.5, 0.0),
    ],
    ids=["sin", "exp", "cube", "near a pole", "large", "constant"],
)
def test_slopes(phi, want):
    found = slope(phi)
    assert found.defined
    assert abs(found.value - want) <= 1e-6 * abs(want) + 20 * found.error


def test_a_slope_of_rounded_values():
    found = slope(lambda t: float(np.float32(np.sin(0.3 + t))), kink=2e-2)
    assert found.defined
    assert abs(found.value - np.cos(0.3)) <= 20 * found.error + 1e-6


@pytest.mark.parametrize(
    ("phi", "reason"),
    [
        (abs, "slopes -1 and 1"),
        (lambda t: max(t, 0.0) * 1e-3, "slopes"),
        (np.sign, "converge"),
        (lambda t: abs(t) ** 0.5, "converge"),
        (lambda t: np.nan, "the value is not finite"),
        (lambda t: t if t >= 0 else np.nan, "values beside it"),
    ],
    ids=["abs", "small relu", "jump", "root", "nan", "edge"],
)
def test_where_there_is_no_slope(phi, reason):
    found = slope(phi)
    assert not found.defined
    assert reason in found.reason


def test_a_right_rule():
    found = truth(Case("sin", wrong_sin(1.0), (X,)))
    assert (found.verdict, found.kinks) == ("right", "")


@pytest.mark.parametrize(
    ("factor", "kind"), [(1.5, "factor"), (-1.0, "sign"), (0.0, "zero"), (np.nan, "nan")]
)
def test_a_wrong_rule_is_told(factor, kind):
    found = truth(Case("wrong", wrong_sin(factor), (X,), only_here=True))
    assert found.verdict == "wrong"
    assert kind in found.kinds
    if np.isfinite(factor):
        assert np.isclose(found.given, factor * found.right, rtol=1e-6)


def test_a_rule_against_another_function():
    case = Case("sin", wrong_sin(1.0), (X,), only_here=True)
    assert truth(case, lambda x: jnp.sin(2 * x)).verdict == "wrong"


@pytest.mark.parametrize(
    ("f", "x", "verdict"),
    [
        (jnp.abs, np.zeros(2), "undefined"),
        (jnp.abs, np.array([0.0, 1.0]), "right"),
        (lambda x: jnp.median(x), np.zeros(4), "undefined"),
    ],
    ids=["kink", "beside a kink", "no linear slope"],
)
def test_kinks(f, x, verdict):
    found = truth(Case("kink", f, (x,), only_here=True))
    assert found.verdict == verdict
    assert found.kinks


@pytest.mark.long
def test_a_set_of_arguments():
    f = lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False)  # noqa: E731
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    assert truth(Case("a", f, (a,), only_here=True)).verdict == "wrong"
    assert truth(Case("b", f, (a,), only_here=True, tangent=symmetric)).verdict == "right"


def test_integers_and_several_outputs():
    case = Case("top_k", lambda x, i: (x[i], jax.lax.top_k(x, 2)), (X, np.array([0, 2])))
    assert truth(case).verdict == "right"
    with jax.enable_x64(True):
        dy = (jnp.ones(2), [jnp.ones(2), jnp.zeros(2, int)])
        dx, di = rule_of(case.f)(X, np.array([0, 2]), dy)
    assert di is None
    assert np.array_equal(dx, [2.0, 0.0, 2.0])


def result(truth_verdict, ours, **changes):
    return {
        "package": "jax", "name": "f", "question": OWN, "intended": "", "inexact": "", "kinds": (),
        "truth": {"verdict": truth_verdict, "error": 1.0, "where": "as given", "given": 1.5,
                  "right": 1.0, "kinds": ("factor",), "kinks": "", "points": [], "seconds": 0.1},
        "fnn": {"verdict": ours, "text": "", "seconds": 0.2, "findings": [
            {"leaf": "x", "kind": "factor", "text": "1.5 | 1", "case": "as given", "error": 0.5}]},
        "check_grads": {"verdict": "right", "text": "", "seconds": 0.1}, **changes,
    }  # fmt: skip


def test_the_tables():
    results = [
        result("right", "right"),
        result("right", "wrong", name="alarm"),
        result("wrong", "wrong", name="noticed"),
        result("wrong", "right", name="missed", question=PLAIN),
        result("wrong", "wrong", intended="on purpose"),
        result("wrong", "cannot tell", inexact="stops"),
        {"package": "jax", "name": "slow", "died": "no answer within 120 s"},
        {"package": "absent", "name": "", "missing": "ModuleNotFoundError: absent"},
    ]
    assert [group(r) for r in results[:6]] == [
        "right", "right", "wrong", "wrong", "intended", "wrong"
    ]  # fmt: skip
    text = tables(results)
    assert "Diagnosis right in 1 of 1" in text
    for part in ("| alarm ", "| noticed ", "| missed ", "| slow ", "ModuleNotFoundError: absent"):
        assert part in text
    assert "1.5 / 1" in text  # no bar in a cell
