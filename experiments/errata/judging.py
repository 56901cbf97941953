"""One entry of the list, and how it is judged.

A case writes one formula twice, as printed and as corrected. The checker judges both; how far
the printed one is from the reference is measured beside it, without the checker.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.errata.nets import Given, Net, Tape, plain, tape

Formula = Callable[..., Any]


class Case(NamedTuple):
    """A formula as printed and as corrected, and what judges it."""

    what: str  # what the formula is for, and at which sizes
    check: Callable[[Formula], Any]  # formula → fnn's report
    value: Callable[[Formula], Any]  # formula → its numbers
    reference: Callable[[], Any]  # the numbers it should give
    printed: Formula
    corrected: Formula
    kinds: tuple[str, ...]  # the diagnoses that name the mistake; none names several at once
    key: str | None = None  # of a formula for several gradients, the one in question
    ours: Any = None  # what tells one correction from another, where several cases share it


class Erratum(NamedTuple):
    """A printed formula that is wrong."""

    id: str
    place: str  # in its text
    mistake: str  # its class, one of MISTAKES
    printed: str
    corrected: str
    cases: Callable[[], Sequence[Case]] | None = None  # None: nothing to evaluate

    @property
    def text(self) -> str:
        """S0, ..., S4."""
        return self.id.split("-")[1]


MISTAKES: tuple[str, ...] = (
    "factor",
    "sign",
    "missing term",
    "wrong quantity",
    "order",
    "typesetting",
)
UNFIT = "does not fit"  # the verdict on a formula that raises


def gradient(what: str, f: Formula, v: Any, printed: Formula, corrected: Formula, *kinds: str):
    """Judge formulas for the gradient of the scalar f at v."""
    return Case(
        what=what,
        check=lambda formula: fnn.check_gradient(f, formula, v),
        value=lambda formula: formula(v),
        reference=lambda: jax.grad(f)(v),
        printed=printed,
        corrected=corrected,
        kinds=kinds,
    )


def vjp(what: str, f: Formula, v: Any, printed: Formula, corrected: Formula, *kinds: str):
    """Judge formulas (v, dy) → dv for the array-valued f at v."""

    def cotangent():
        return jnp.asarray(np.random.default_rng(0).normal(size=f(v).shape))

    return Case(
        what=what,
        check=lambda formula: fnn.check_vjp(f, formula, v),
        value=lambda formula: formula(v, cotangent()),
        reference=lambda: jax.vjp(f, v)[1](cotangent())[0],
        printed=printed,
        corrected=corrected,
        kinds=kinds,
    )


def same(what: str, f: Formula, args: Any, printed: Formula, corrected: Formula, *kinds: str):
    """Judge formulas that should be f itself; `args` is a tuple."""
    return Case(
        what=what,
        check=lambda formula: fnn.check_same(formula, f, *args),
        value=lambda formula: formula(*args),
        reference=lambda: f(*args),
        printed=printed,
        corrected=corrected,
        kinds=kinds,
    )


OnTape = Callable[[Tape], Any]
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def over(net: Net, f: Callable[..., Any]) -> Formula:
    """v ↦ f(net, v), for every net of a stack."""
    return functools.partial(jax.vmap(f) if net.stacked else f, net)


def compiled(f: Formula) -> Formula:
    """f, compiled once and without optimisation: faster than running it step by step."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def given(net: Net, *keys: str) -> Given:
    """The values of a net under these names; of a stack, stacked."""
    t = compiled(over(net, tape))({})
    return {key: jnp.asarray(getattr(t, key[0])[int(key[1:])]) for key in keys}


def above(net: Net, name: str, l: int) -> Given:
    """What L depends on once a quantity of layer l is given: itself, and the layers above."""
    first = 1 if name in "wbe" else l + 1
    layers = range(first, len(net.g) + 1)
    return given(net, f"{name}{l}", *(f"{n}{k}" for k in layers for n in "wb"))


def derivative(net: Net, name: str, l: int, printed: OnTape, *kinds: str, note: str = "") -> Case:
    """Judge a formula for ∂L/∂(quantity) of a net; the correction is fnn's own.

    The gradients of the weights above are judged with it, and are right. A δ is the gradient
    in z or, where the weights below should be in sight too, in "e", which is added to z.
    """
    v, key = above(net, name, l), f"{name}{l}"

    def ours(net, v):
        t = tape(net, v)
        return {k: getattr(t, "d" + k[0])[int(k[1:])] for k in v}

    def literal(net, v):
        return ours(net, v) | {key: printed(tape(net, v))}

    literal_of, ours_of = over(net, literal), over(net, ours)
    what = f"∂L/∂{name.replace('e', 'z')}{str(l).translate(SUBSCRIPTS)}, {note or net}"
    loss = over(net, lambda net, v: plain(net, v).cost[0])
    once = {"key": key, "ours": (str(net), net.g, net.loss, frozenset(v))}
    if not net.stacked:
        return gradient(what, loss, v, literal_of, ours_of, *kinds)._replace(**once)
    backward = times_cotangent(literal_of), times_cotangent(ours_of)
    return vjp(what, loss, v, backward[0], backward[1], *kinds)._replace(**once)


def times_cotangent(gradients: Formula) -> Formula:
    """The backward pass (v, dy) ↦ dy · gradient, one dy for each net of a stack."""

    def times(g, dy):
        return g * dy.reshape(dy.shape + (1,) * (g.ndim - 1))

    return lambda v, dy: jax.tree.map(lambda g: times(g, dy), gradients(v))


def forward(
    net: Net,
    name: str,
    l: int,
    printed: OnTape,
    *kinds: str,
    note: str = "",
    of: str = "a0",
) -> Case:
    """Judge a formula for z, a or the cost, as a function of x or of what `of` names.

    The correction is fnn's own.
    """
    what = f"{name}{str(l).translate(SUBSCRIPTS) * bool(l)}, {note or net}"
    right = over(net, lambda net, v: getattr(plain(net, {of: v}), name)[l])
    literal = over(net, lambda net, v: printed(tape(net, {of: v})))
    ours = over(net, lambda net, v: getattr(tape(net, {of: v}), name)[l])
    return same(what, right, (given(net, of)[of],), literal, ours, *kinds)


class Distance(NamedTuple):
    """How far a formula is from its reference, measured without the checker."""

    error: float  # ‖value − reference‖ / ‖reference‖; NaN where there is no such number
    angle: float  # between the two, in degrees
    ratio: float  # of their lengths, ‖value‖ / ‖reference‖


def distance(case: Case, formula: Formula) -> Distance:
    """The distance of a formula's numbers from the reference."""
    nothing = Distance(math.nan, math.nan, math.nan)
    try:
        v, r = compiled(lambda: (case.value(formula), case.reference()))()
    except (TypeError, ValueError):
        return nothing
    v, r = (np.asarray(a if case.key is None else a[case.key], float) for a in (v, r))
    if v.shape != r.shape or not np.isfinite(v).all():
        return nothing
    long, wide = np.linalg.norm(v), np.linalg.norm(r)
    cosine = float(v.ravel() @ r.ravel()) / (long * wide) if long else 0.0
    angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    return Distance(float(np.linalg.norm(v - r) / wide), angle, float(long / wide))


class Verdict(NamedTuple):
    """What the checker says of a formula."""

    passed: bool
    kind: str  # of its first finding, or UNFIT; "" where it passes
    text: str
    error: float  # largest error as given, relative to the scale of its leaf


def verdict(case: Case, formula: Formula) -> Verdict:
    """The checker's word; of a formula that should not fit, the error that it raises."""
    try:
        report = case.check(formula)
    except (TypeError, ValueError) as error:
        if formula is case.corrected or UNFIT not in case.kinds:
            raise
        message = str(error).splitlines()[0]
        return Verdict(False, UNFIT, message.split(": ", 1)[-1], math.nan)
    error = max(leaf.error for leaf in report.leaves)
    if report:
        return Verdict(True, "", "", error)
    finding = report.findings[0]
    return Verdict(False, finding.kind, finding.text, error)


class Judged(NamedTuple):
    """Both sides of a case, judged, and the printed one measured."""

    case: Case
    printed: Verdict
    corrected: Verdict
    distance: Distance  # of the printed formula

    @property
    def right(self) -> bool:
        """Whether the checker passes the correction and refuses what was printed."""
        return self.corrected.passed and not self.printed.passed

    @property
    def named(self) -> bool:
        """Whether the diagnosis names the mistake."""
        return self.printed.kind in self.case.kinds


def judge(erratum: Erratum, known: dict[Any, Verdict]) -> list[Judged]:
    """Let the checker judge both sides of every case, and measure the printed one.

    `known` remembers the verdicts on corrections that several cases share.
    """
    with jax.enable_x64(True):
        judged = []
        for case in erratum.cases() if erratum.cases else ():
            ours = case.ours or (erratum.id, case.what)
            if ours not in known:
                known[ours] = verdict(case, case.corrected)
            printed = verdict(case, case.printed)
            judged.append(Judged(case, printed, known[ours], distance(case, case.printed)))
        return judged
