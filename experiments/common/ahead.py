"""The arguments of a command, read ahead of its module: --help and mistakes wait for no import.

An experiment begins with imports that take seconds. Its Config needs hardly any of them: of all
statements of the module those that bind Config and QUICK, those that bind a name in these, and so
on. They are executed here alone, in their order, and read the arguments. Where these are right the
module runs, from its beginning, and reads them again; where Config needs more, --help takes longer.
"""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from experiments.common import cli

ROOT = Path(__file__).parents[2]


def answer(module: str, argv: Sequence[str]) -> None:
    """End the process where these arguments of a module ask for help, or are a mistake."""
    place = ROOT.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file() and hasattr(settings := part(file, {"Config", "QUICK"}), "Config"):
            right = []
            quick = getattr(settings, "QUICK", None)
            code = cli.run(right.append, settings.Config, argv, quick=quick, module=module)
            if not right:
                sys.exit(code)


def part(file: Path, names: set[str]) -> ModuleType:
    """The module of a file, as far as these names need it."""
    module = ModuleType(f"a part of {file}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where the comments of a Config's fields are looked up
    body = needed(ast.parse(file.read_text("utf-8")).body, names)
    exec(compile(ast.Module(body, []), file, "exec"), vars(module))
    return module


def needed(body: Sequence[ast.stmt], names: set[str]) -> list[ast.stmt]:
    """The statements that bind these names, or names that they use; of imports, what is used."""
    wanted, found = set(names), []
    for statement in reversed(body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            statement.names = [a for a in statement.names if bound(a) & wanted]
        if bound(statement) & wanted:
            wanted |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            found.append(statement)
    return found[::-1]


def bound(node: ast.AST) -> set[str]:
    """The names that a statement, or a part of it, binds in its module."""
    match node:
        case ast.alias(name, as_name):
            return {as_name or name.partition(".")[0]}
        case ast.ClassDef(name) | ast.FunctionDef(name):
            return {name}
        case ast.Name(name, ast.Store()):
            return {name}
    return set().union(*map(bound, ast.iter_child_nodes(node)))
