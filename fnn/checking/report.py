"""What a check says: a verdict, and for everything wrong where, how much and why.

The kinds of findings:

    zero, sign, factor, averaged         the whole gradient times a constant; 1/n of a sum
    transposed, reversed, rolled         the right numbers in the wrong places
    one entry, one slice, nan            some entries
    not summed, swapped, penalty         some examples; another leaf's; + c · leaf, or + c
    missing, extra derivative            of an activation, or of the whole
    other activation, other weight       another layer's, or another form of it
    missing, wrong term; missing factor  a path of the chain rule
    dy                                   not linear in dy, or without it
    batch, sizes, axis, rows             wrong for more or fewer examples, at unequal sizes,
                                         with an axis more; a row that depends on others
    jit, vmap, dtype, float32, bfloat16  wrong in another way of running
    low precision                        right to a few digits
    not a gradient, another function     nothing of these; of no function, or of another
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong."""

    leaf: str  # which gradient: params.w, x, ...; or what the finding is about
    kind: str  # the explanation in a word or two, of the table above
    text: str  # the explanation with its evidence
    case: str  # where it shows: "as given", "zeros", "one example", ...
    error: float  # largest error, relative to the leaf's own scale; ∞ for what fails to run


class Leaf(NamedTuple):
    """One line of the table: a gradient and how far it is off."""

    name: str
    shape: tuple[int, ...]
    error: float  # as given, largest error relative to the leaf's own scale


class Report(NamedTuple):
    """The result of a check; true where all is right."""

    who: str  # what was checked
    leaves: tuple[Leaf, ...]  # every gradient
    findings: tuple[Finding, ...]  # everything wrong; none if all is right
    cases: tuple[str, ...]  # what was tried
    notes: tuple[str, ...]  # what is good to know, and no fault

    def __bool__(self) -> bool:
        """Whether all is right."""
        return not self.findings

    def __str__(self) -> str:
        """A short table for print."""
        return "\n".join([self._head(), *self._table(), *self._tail()])

    def raise_if_wrong(self) -> None:
        """Raise an AssertionError with the table unless all is right."""
        if not self:
            raise AssertionError(str(self))

    def _head(self) -> str:
        """One line: who, and the verdict."""
        wrong = {f.leaf for f in self.findings}
        if not wrong:
            return f"{self.who}: right, {len(self.leaves)} gradients in {len(self.cases)} cases"
        return f"{self.who}: WRONG in {', '.join(sorted(wrong))}"

    def _table(self) -> list[str]:
        """One line for every gradient, and one more for every further finding."""
        rows = [("gradient", "shape", "error", "")]
        for leaf in self.leaves:
            mine = [f for f in self.findings if f.leaf == leaf.name]
            told = [_told(f) for f in mine] or ["ok"]
            rows.append((leaf.name, str(list(leaf.shape)), f"{leaf.error:.0e}", told[0]))
            rows.extend(("", "", "", text) for text in told[1:])
        known = {leaf.name for leaf in self.leaves}
        rows.extend((f.leaf, "", "", _told(f)) for f in self.findings if f.leaf not in known)
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return [
            f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
            for a, b, c, d in rows
        ]

    def _tail(self) -> list[str]:
        """The cases and the notes."""
        return [f"  cases: {', '.join(self.cases)}", *(f"  note: {n}" for n in self.notes)]


def _told(finding: Finding) -> str:
    """The explanation, and the case unless it is the plain one."""
    where = "" if finding.case == "as given" else f" ({finding.case})"
    return f"{finding.kind}: {finding.text}{where}"
