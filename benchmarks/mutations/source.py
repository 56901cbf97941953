"""Mistakes made in the source of a formula, one operation at a time.

    terms(cls, name)         a term of a sum left out, or with the wrong sign
    functions(cls, name)     a function of jax left out: f(a) becomes a
    operations(cls, name)    both, and factors, powers, conditions and roots besides

are the edits of a method of a class; `edited(block, edit)` is the block with that method. A
new block has its mutants from its own lines.
"""

import ast
import copy
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

DROPPED, SIGN, FORGOTTEN, OPERATION = "a term", "a sign", "a function", "an operation"
OPERATORS = {ast.Add: "+", ast.Sub: "−"}
Change = tuple[str, str, ast.expr]  # the kind of edit, what it does, the new expression


class Edit(NamedTuple):
    """One change of one expression in one method."""

    kind: str
    what: str
    cls: type
    method: str
    node: int  # which expression, in the order of ast.walk
    change: int  # which of its changes


def terms(cls: type, method: str) -> list[Edit]:
    """Of every sum that is no part of another: a term left out, the second with a wrong sign."""
    nodes = list(ast.walk(parsed(cls, method)))
    sums = [a for a in nodes if isinstance(a, ast.BinOp) and type(a.op) in OPERATORS]
    inner = {id(below) for a in sums for below in ast.walk(a) if below is not a}
    found = [e for e in operations(cls, method) if e.kind in (DROPPED, SIGN)]
    return [e for e in found if id(nodes[e.node]) not in inner]


def functions(cls: type, method: str) -> list[Edit]:
    """Of every call of a function of jax: the function left out."""
    return [e for e in operations(cls, method) if e.kind == FORGOTTEN]


def operations(cls: type, method: str) -> list[Edit]:
    """Every change of every expression of the method; of one text the second says so."""
    found, seen = [], Counter()
    for i, node in enumerate(ast.walk(parsed(cls, method))):
        for j, (kind, what, _) in enumerate(changes(node)):
            seen[what] += 1
            name = what if seen[what] == 1 else f"{what}, place {seen[what]}"
            found.append(Edit(kind, name, cls, method, i, j))
    return found


def changes(node: ast.AST) -> Iterator[Change]:
    """The changes of one expression."""
    if isinstance(node, ast.BinOp):
        yield from of_operator(node)
    elif isinstance(node, ast.Call):
        yield from of_call(node)
    elif isinstance(node, ast.IfExp):
        yield (
            OPERATION,
            f"as if not {text(node.test)}",
            ast.IfExp(node.test, node.orelse, node.body),
        )
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield OPERATION, f"{text(node.operand)} for {text(node)}", node.operand


def of_operator(node: ast.BinOp) -> Iterator[Change]:
    """The changes of a + b, a − b, a b, a / b, a ** b."""
    a, b, op = node.left, node.right, node.op
    if isinstance(op, ast.Add | ast.Sub):
        right = ast.UnaryOp(ast.USub(), b) if isinstance(op, ast.Sub) else b
        other = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
        yield DROPPED, f"without {text(b)}", a
        yield DROPPED, f"without {text(a)}", right
        yield SIGN, f"{OPERATORS[type(other)]} {text(b)}", ast.BinOp(a, other, b)
        if text(b) == "o.eps" and isinstance(op, ast.Add):  # s + ε of optimizers, s a root
            hypot: Any = ast.parse(f"jnp.hypot({text(a)}, jnp.sqrt({text(b)}))", mode="eval").body
            yield OPERATION, f"{text(b)} inside the root", hypot
        if callee(a) == "sqrt" and isinstance(op, ast.Add):
            inside: Any = copy.copy(a)
            inside.args = [ast.BinOp(argument(a), op, b)]
            yield OPERATION, f"{text(b)} inside the root", inside
    if isinstance(op, ast.Mult):
        yield OPERATION, f"without the factor {text(a)}", b
    if isinstance(op, ast.Mult | ast.Div):
        yield OPERATION, f"without the factor {text(b)}", a
    if isinstance(op, ast.Pow):
        yield OPERATION, f"{text(a)} not to a power", ast.Call(ast.Name("abs", ast.Load()), [a], [])


def of_call(node: ast.Call) -> Iterator[Change]:
    """The changes of f(a, …): a alone, of a choice the first; a ratio upside down."""
    name = callee(node)
    inner = node.args[0] if node.args else None
    if name == "sqrt" and isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add):
        outside = ast.BinOp(ast.Call(node.func, [inner.left], []), inner.op, inner.right)
        yield OPERATION, f"{text(inner.right)} outside the root", outside
    if name == "hypot":
        a, b = node.args
        added = ast.BinOp(a, ast.Add(), ast.Call(ast.Name("abs", ast.Load()), [b], []))
        yield OPERATION, f"{text(b)} outside the root", added
        yield FORGOTTEN, f"hypot forgotten: {text(b)}", b
    if name == "ratio":
        a, b = node.args
        yield OPERATION, "upside down", ast.Call(node.func, [b, a], [])
    elif inner is not None and (
        name in ("where", "times") or text(node.func).startswith(("jnp.", "jax.nn."))
    ):
        yield FORGOTTEN, f"{name} forgotten: {text(argument(node))}", argument(node)


def callee(node: ast.AST) -> str:
    """The last name of the function that is called; "" for what is no call."""
    return text(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""


def argument(node: Any) -> ast.expr:
    """What a function is taken of."""
    return node.args[1 if callee(node) == "where" else 0]


def text(node: ast.AST) -> str:
    """As it is written."""
    return ast.unparse(node)


def owner_of(cls: type, method: str) -> type:
    """The class in which the method is written."""
    return next(c for c in cls.__mro__ if method in vars(c))


def parsed(cls: type, method: str) -> ast.FunctionDef:
    """The method, without annotations and docstring."""
    f = inspect.unwrap(vars(owner_of(cls, method))[method])
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(f))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list, tree.returns = [], None
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:]
    return tree


class Replaced(ast.NodeTransformer):
    """One expression for another; super() as the class itself would call it."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        """Both."""
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        """The new one in place of the old one."""
        if node is self.old:
            return self.new
        if isinstance(node, ast.Call) and text(node) == "super()":
            return ast.parse("super(owner_of_the_formula, self)", mode="eval").body
        return self.generic_visit(node)


@functools.cache
def spoiled_class(edit: Edit) -> type[Any]:
    """The class with the edited method."""
    cls, method = edit.cls, edit.method
    owner, tree = owner_of(cls, method), parsed(cls, method)
    node = list(ast.walk(tree))[edit.node]
    new = copy.deepcopy(list(changes(node))[edit.change][2])
    tree = ast.fix_missing_locations(Replaced(node, new).visit(tree))
    names = {**inspect.unwrap(vars(owner)[method]).__globals__, "owner_of_the_formula": owner}
    exec(compile(ast.Module([tree], []), f"<{cls.__name__}.{method}>", "exec"), names)
    body = {method: names[method], "__doc__": cls.__doc__, "__module__": __name__}
    return dataclass(frozen=True, init=False)(type(cls.__name__, (cls,), body))


def edited(block: Any, edit: Edit) -> Any:
    """The block with the edit in its method."""
    other = object.__new__(spoiled_class(edit))
    for f in fields(block):
        object.__setattr__(other, f.name, getattr(block, f.name))
    return other
