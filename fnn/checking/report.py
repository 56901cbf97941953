"""What a check says: a verdict, and for everything wrong where, how much and why.

Every sentence about a result is made here: a diagnosis comes as data, and its kind and form
choose one. SENTENCES is the table of all kinds.
"""

from typing import Literal, NamedTuple

from fnn.checking.explain.diagnosis import EXACT, Diagnosis, Factor, Note, Operation, Size
from fnn.checking.explain.verdict import Verdict

SENTENCES = {  # by kind, or by kind and form
    "zero": "all {total} entries are 0",
    "sign": "it is {factor} × the {gradient}",
    "factor": "it is {factor} × the {gradient}",
    "averaged": "it is {factor} × the {gradient}",
    "transposed": "it is the {gradient} transposed{times}",
    "transposed, reshaped": "it is the {gradient} transposed, then reshaped{times}",
    "reversed": "it is reversed along axis {axis}{times}",
    "rolled": "it is rolled by {number} along axis {axis}{times}",
    "one entry": "only {index} is wrong: {part}, {total} are right",
    "one entry, halving": "only {index} is wrong, found by halving: {got:.4g} for {want:.4g}",
    "one slice": "only {index} is wrong: {part}",
    "nan": "{got} at {index}, {number} of {total} entries",
    "not summed, some": "only {examples}",
    "not summed, weighted": "the examples count {weights} times instead of once",
    "swapped": "it is {scaled}the {gradient} of {names[0]}",
    "penalty": "it is the {gradient} + {constant} × {names[0]}, as of a penalty",
    "penalty, constant": "it is the {gradient} + {constant} everywhere",
    "missing derivative": "the derivative of {operation} is missing",
    "extra derivative": "the derivative of {operation} is applied twice",
    "extra derivative, whole": "the derivative of the whole is applied twice",
    "other activation, standard": "the derivative of {names[0]} stands for that of {operation}",
    "other activation, at its result":
        "the derivative of {operation} is taken at its result instead of its input",
    "other activation, at another":
        "the derivative of {operation} is taken at another layer's values",
    "other activation, of another":
        "the derivative of another activation stands for that of {operation}",
    "other activation, leaf": "{operation} goes back with {arranged}",
    "other activation, before an activation":
        "{operation} goes back with the values before an activation{arranged}",
    "other activation, after an activation":
        "{operation} goes back with an activation's result{arranged}",
    "other weight, leaf": "{operation} goes back with {arranged}",
    "missing term, path": "the path of the derivative through {operation} is missing",
    "missing term, output": "what comes back from output {number} is missing",
    "missing term, diagonal":
        "only the diagonal of the Jacobian counts: other entries of dy are left out",
    "wrong term, sign": "the path through {operation} has the wrong sign",
    "wrong term, twice": "the path through {operation} counts twice",
    "wrong term, half": "the path through {operation} counts half",
    "missing factor": "one factor of the product {operation} is missing",
    "dy, independent": "it does not depend on dy",
    "dy, not linear": "it is not linear in dy: {got:.4g} for dy and {want:.4g} for 2 dy at {index}",
    "dy, differs": "1000 dy does not make 1000 times the {gradient}: {entry}",
    "jit, differs": "eager and jit differ: {entry}",
    "vmap, differs": "vmap and one by one differ: {entry}",
    "batch, one": "right for one example, wrong for several: {example}",
    "batch, differs": "right for several examples, wrong for one alone: {entry}",
    "axis, differs": "wrong with an axis between the batch and the others: {entry}",
    "sizes": "right only where all sizes are equal: {example}",
    "sizes, fails": "it fails here ({message}), and is right where all sizes are equal",
    "rows": "a row of y depends on other rows; set mixes_examples = True",
    "dtype": "the gradient of a {names[0]} array must be {names[0]}, got {names[1]}",
    "float32": "right in float64, off by {a:.0e} of its norm; autodiff in {names[0]} by {b:.0e}",
    "bfloat16": "right in float64, off by {a:.0e} of its norm; autodiff in {names[0]} by {b:.0e}",
    "low precision, dtype": "its entries are {names[0]} numbers",
    "low precision, digits": "it has {number} right digits of 16",
    "not a gradient":
        "no function has it, its own derivative H is not symmetric: "
        "uᵀHv = {a:.4g}, vᵀHu = {b:.4g}; {example}",
    "another function": "{example}",
    "another function, elsewhere right": "{example}; right elsewhere",
    "another function, of it": "it is its {names[0]}",
    "another function, order":
        "the remainder falls like t^{a:.2f}: {b:.6g} is predicted along a direction, "
        "{c:.6g} is the slope",
}  # fmt: skip
FAILS = "it fails {way}: {message}"
UNDER = {
    "vmap": "under vmap",
    "one example": "for a batch of one",
    "another axis": "with an axis after the batch",
}
NOTES = {
    "outside": "outside the domain, left out: {}",
    "not finite": "the function is finite and its gradient is not, entries left out: {}",
    "does not run": "backward does not run {}: {}",
    "equal sizes": "the batch and an axis of {} both have size {}; let them differ",
    "stop_gradient": "stop_gradient inside: autodiff decides, not the values",
    "not followed": "autodiff cannot follow the forward: differences decide, to 6 digits",
    "put aside": "a custom derivative inside the forward is not that of its values: put aside",
    "shared": "autodiff of the forward is backward itself ({}): the values decide, to 6 digits",
    "digits": "it computes with {} digits inside; more cannot be told",
    "differences": "autodiff of the forward is not its derivative ({}): differences decide",
    "off": "right where it was given ({}), wrong off that set ({})",
    "chance": "{}: right where a matrix is symmetric, as given, and wrong where not; "
    "give one that is neither diagonal nor constant",
    "along": "{}: right along the set on which it was given, wrong along other directions",
    "kinks": "kinks ({}): any subgradient is right there",
    "unasked": "a loop inside might not end elsewhere, and nothing else is known, left out: {}",
    "cut": "{}: the values contradict autodiff, and a stop_gradient inside may be why",
    "disputed": "{}: a stop_gradient and a custom derivative inside, which disagree",
    "undefined": "{}: NaN where the function is finite, and no finite slope to compare with",
    "vague": "{}: neither autodiff nor differences can be trusted",
}


class Finding(NamedTuple):
    """One thing that is wrong."""

    leaf: str  # which gradient: params.w, x, ...; or what the finding is about
    kind: str  # the explanation in a word or two, a key of SENTENCES up to its comma
    text: str  # the explanation with its evidence
    case: str  # where it shows: "as given", "zeros", "one example", ...
    error: float  # largest error, relative to the leaf's own scale; ∞ for what fails to run
    diagnosis: Diagnosis | None = None  # the same as data


class Leaf(NamedTuple):
    """One line of the table: a gradient and how far it is off."""

    name: str
    shape: tuple[int, ...]
    error: float  # as given, largest error relative to the leaf's own scale


class Report(NamedTuple):
    """The result of a check, in float64; true where all is right.

    The reference is autodiff, of the forward as it is and without derivatives of its own;
    where those differ, or the values contradict them, the values decide. `verdict` is "cannot
    tell" where nothing does, and `undecided` says why.
    """

    who: str  # what was checked
    leaves: tuple[Leaf, ...]  # every gradient
    findings: tuple[Finding, ...]  # everything wrong; none if all is right
    cases: tuple[str, ...]  # what was tried
    notes: tuple[str, ...]  # what is good to know, and no fault
    undecided: tuple[str, ...] = ()  # what nobody can tell
    left_out: tuple[str, ...] = ()  # what a quick check did not try

    @property
    def verdict(self) -> Literal["right", "wrong", "cannot tell"]:
        """Whether all is right; "cannot tell" where the references leave it open."""
        if self.findings:
            return "wrong"
        return "cannot tell" if self.undecided else "right"

    def __bool__(self) -> bool:
        """Whether all is right."""
        return self.verdict == "right"

    def __str__(self) -> str:
        """A short table for print."""
        left_out = [f"  quick, left out: {', '.join(self.left_out)}"] if self.left_out else []
        cases, notes = f"  cases: {', '.join(self.cases)}", [f"  note: {n}" for n in self.notes]
        unknown = [f"  cannot tell: {text}" for text in self.undecided]
        return "\n".join([self._head(), *self._table(), *unknown, cases, *left_out, *notes])

    def raise_if_wrong(self) -> None:
        """Raise an AssertionError with the table unless the verdict is right."""
        if not self:
            raise AssertionError(str(self))

    def _head(self) -> str:
        """One line: who, and the verdict."""
        wrong = {f.leaf for f in self.findings}
        if wrong:
            return f"{self.who}: WRONG in {', '.join(sorted(wrong))}"
        if self.undecided:
            return f"{self.who}: CANNOT TELL"
        tried = [(len(self.leaves), "gradient"), (len(self.cases), "case")]
        numbers = " in ".join(f"{n} {what}{'s'[: n != 1]}" for n, what in tried)
        return f"{self.who}: right, {numbers}, in float64"

    def _table(self) -> list[str]:
        """One line for every gradient, and one more for every further finding."""
        rows = [("gradient", "shape", "error", "")]
        for leaf in self.leaves:
            first, *more = [_line(f) for f in self.findings if f.leaf == leaf.name] or ["ok"]
            rows.append((leaf.name, str(list(leaf.shape)), f"{leaf.error:.0e}", first))
            rows.extend(("", "", "", text) for text in more)
        known = {leaf.name for leaf in self.leaves}
        rows.extend((f.leaf, "", "", _line(f)) for f in self.findings if f.leaf not in known)
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return [
            f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
            for a, b, c, d in rows
        ]


def _line(finding: Finding) -> str:
    """The explanation, and the case unless it is the plain one."""
    where = "" if finding.case == "as given" else f" ({finding.case})"
    return f"{finding.kind}: {finding.text}{where}"


def in_words(verdict: Verdict) -> Report:
    """A verdict in words."""
    gradient = "reference" if verdict.problem.compares else "gradient"
    findings = [
        Finding(leaf, diagnosis.kind, sentence(diagnosis, gradient), case, error, diagnosis)
        for leaf, diagnosis, case, error in verdict.faults
    ]
    leaves = map(Leaf, verdict.problem.names, verdict.shapes, verdict.errors)
    notes, unknown = (tuple(map(note, several)) for several in (verdict.notes, verdict.undecided))
    who, cases = verdict.problem.who, verdict.cases
    return Report(who, tuple(leaves), tuple(findings), cases, notes, unknown, verdict.left_out)


def sentence(d: Diagnosis, gradient: str = "gradient") -> str:
    """A diagnosis in words."""
    key = f"{d.kind}, {d.form}" if d.form else d.kind
    numbers = dict(zip("abc", d.numbers, strict=False))
    template = FAILS if d.form == "fails" and key not in SENTENCES else SENTENCES[key]
    text = template.format(**d._asdict() | phrases(d) | numbers | {"gradient": gradient})
    if d.operation and d.factor:
        text += f", and it is {written(d.factor)} × that"
    return f"{text}, in a sample of {d.sample} entries" if d.sample else text


def phrases(d: Diagnosis) -> dict[str, str]:
    """The parts of a sentence."""
    index = f"[{', '.join(':' if i is None else str(i) for i in d.where)}]"
    factor = written(d.factor) if d.factor else ""
    entry = f"{d.got:.4g} for {d.want:.4g} at {index}"
    source, arrangement = (*d.names, "", "")[:2]
    words = {
        "": source,
        "transposed": f"{source} transposed",
        "reshaped": f"{source} reshaped instead of transposed",
    }
    return {
        "index": index,
        "factor": factor,
        "constant": f"{d.factor.value:.4g}" if d.factor else "",
        "times": f", times {factor}" if factor else "",
        "scaled": f"{factor} × " if factor else "",
        "part": part(d),
        "examples": examples(d) if d.form == "some" else "",
        "weights": listed([f"{w:.3g}" for w in d.numbers]),
        "entry": entry,
        "example": f"{d.number} of {d.total} entries are wrong, such as {entry}",
        "operation": place(d.operation) if d.operation else "",
        "arranged": words.get(arrangement, ""),
        "way": UNDER.get(source, f"in {source}"),
    }


def part(d: Diagnosis) -> str:
    """What the wrong part of a gradient is."""
    if d.factor is None:
        return f"{d.got:.4g} where {d.want:.4g} is right"
    special = {0.0: "it is 0", -1.0: "its sign is wrong"}
    return special.get(d.factor.value) or f"it is {written(d.factor)} × right"


def examples(d: Diagnosis) -> str:
    """Which examples count."""
    some, one = listed([str(int(i)) for i in d.numbers]), len(d.numbers) == 1
    return f"example{'' if one else 's'} {some} of {d.total} count{'s' if one else ''}"


def listed(words: list[str]) -> str:
    """The first few of several."""
    return ", ".join(words[:4]) + (" ..." if len(words) > 4 else "")


def place(operation: Operation) -> str:
    """An operation by its name and its line in the forward."""
    name = f"{operation.name}, {operation.line}" if operation.line else operation.name
    return name if operation.operand is None else f"{name} (operand {operation.operand})"


def written(factor: Factor) -> str:
    """A factor by its name: 2, 1/2, N, 1/N, √n ..., else in digits."""
    sign, size = ("−" if factor.value < 0 else ""), abs(factor.value)
    if factor.form and factor.size:
        n = factor.size.n
        return f"{sign}{factor.form.replace('n', str(n))} ({n} is {size_name(factor.size)})"
    if 1e-9 < abs(size - 1) < 1e-5:
        return f"{sign}(1 {'−' if size < 1 else '+'} {abs(size - 1):.0e})"
    also = f" ({factor.size.n} is also {size_name(factor.size)})" if factor.size else ""
    whole, inverse = round(size), round(1 / size) if size else 0
    if whole in (1, 2) and abs(size / whole - 1) < EXACT:
        return f"{sign}{whole}{also}"
    if inverse > 1 and abs(size * inverse - 1) < EXACT:
        return f"{sign}1/{inverse}{also}"
    return f"{factor.value:.6g}"


def size_name(size: Size) -> str:
    """A size in words."""
    if not size.array:
        return "the number of examples"
    if size.positions:
        return f"the number of {size.positions} of {size.array}"
    if size.axis is None:
        return f"the size of {size.array}"
    which = {-1: "last", 0: "first", 1: "second", 2: "third"}.get(size.axis)
    return f"the {which} axis of {size.array}" if which else f"axis {size.axis} of {size.array}"


def note(n: Note) -> str:
    """A note in words."""
    names = n.names
    if n.kind == "does not run":
        names = (UNDER.get(names[0], f"in {names[0]}"), *names[1:])
    elif n.kind not in ("equal sizes", "digits", "off"):
        names = (", ".join(names),)
    return NOTES[n.kind].format(*names)
