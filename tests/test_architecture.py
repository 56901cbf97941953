"""The house keeps its own rules: floors, names, mirrors, quiet imports."""

import ast
import graphlib
import importlib
import pathlib
import subprocess
import sys

import pytest

import fnn

ROOT = pathlib.Path(fnn.__file__).parent
TESTS = pathlib.Path(__file__).parent
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py")

AROUND = sorted(
    p for name in ("experiments", "benchmarks") for p in (ROOT.parent / name).rglob("*.py")
)

FLOORS = [  # a module imports from lower floors only; the longest prefix decides
    ("records", "numerics", "sharding", "saving.interrupts", "devices.processes"),
    ("loops",),
    ("by_example", "devices.meshes", "devices.group"),
    ("errors", "factors", "initializers", "sequence", "sides", "stopping"),
    ("columns",),
    ("together", "skipping", "moving_average"),
    ("logits", "arrays", "kronecker", "mean", "targets", "named", "files"),
    ("layer", "composite", "loss", "ruling", "saving.folders", "saving.sharded"),
    ("layers", "losses", "penalties", "metrics", "several", "saving.writer"),
    ("driver", "nets", "devices.columns"),
    ("devices.cuts",),
    ("texts", "rules", "evaluation", "summaries", "interop", "checking", "watching", "caches"),
    ("curvature",),
    ("optim",),
    ("batches",),
    ("microbatches", "devices.rows"),
    ("updating", "donation", "carried", "accumulation"),
    ("plan",),
    ("one_step", "saving.settings", "saving.growing", "judging", "epochs", "streams.sources"),
    ("devices.placing",),
    ("example_sums", "clipping", "prediction", "decoding", "saving.packing", "streams.windows"),
    ("saving.checkpointing", "streams.mapped", "streams.reading", "streams.totals"),
    ("streams.sampler", "streams.sharing"),
    ("streams.flow",),
    ("streams.training", "streams.evaluating"),
    ("given",),
    ("checkpoints", "saving.resuming"),
    ("saving.pieces",),
    ("saving.streaming",),
    ("train",),
]
CHECKING = [("measure",), ("explain",), ("report", "blocks", "functions")]  # floors of its own

SHARED = {  # on one floor: contracts, composites' parts, formulas that contain others
    "fnn.records",
    "fnn.errors",
    "fnn.named",
    "fnn.sequence",
    "fnn.sides",
    "fnn.logits",
    "fnn.layer",
    "fnn.composite",
    "fnn.layers.activations",
    "fnn.layers.affine",
    "fnn.layers.attention",
    "fnn.layers.chunked",
    "fnn.layers.convolution",
    "fnn.layers.delta_rule",
    "fnn.layers.dense",
    "fnn.layers.distances",
    "fnn.layers.embedding",
    "fnn.layers.fused",
    "fnn.layers.in_place",
    "fnn.layers.kv_cache",
    "fnn.layers.normalization",
    "fnn.layers.places",
    "fnn.layers.recurrence",
    "fnn.layers.reparametrized",
    "fnn.layers.retention",
    "fnn.layers.rotary",
    "fnn.layers.seen",
    "fnn.layers.shared",
    "fnn.layers.sight",
    "fnn.layers.tiling",
    "fnn.layers.unembed",
    "fnn.layers.windows",
    "fnn.losses.binary",
    "fnn.losses.categorical",
    "fnn.losses.elementwise",
    "fnn.losses.logit_derivatives",
    "fnn.curvature.diagonals",
    "fnn.curvature.fisher",
    "fnn.curvature.likelihoods",
    "fnn.curvature.products",
    "fnn.nets.gpt",
    "fnn.nets.loading",
    "fnn.rules.per_example",
    "fnn.optim.optimizer",
    "fnn.optim.foreign",
    "fnn.optim.adam",
    "fnn.batches",
    "fnn.caches",
    "fnn.example_sums",
    "fnn.donation",
    "fnn.plan",
    "fnn.updating",
}

EXTRAS = {"fnn.files": {"safetensors"}}  # what an optional module may import besides


def name_of(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor_of(module):
    """The floor of a module, and the one inside the checker."""
    first, *rest = module.split(".")[1:]
    inside = place_in(CHECKING, rest[0]) if first == "checking" and rest else 0
    return place_in(FLOORS, ".".join([first, *rest[:1]]), first), inside


def place_in(floors, *names):
    """The floor that has the first of the names, else that of the next."""
    return next(i for name in names for i, floor in enumerate(floors) if name in floor)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_lower_floors_and_from_jax_and_numpy_only(path):
    module = name_of(path)
    for imported in imports_of(path):
        if not imported.startswith("fnn"):
            allowed = sys.stdlib_module_names | {"jax", "numpy"} | EXTRAS.get(module, set())
            assert imported.split(".")[0] in allowed
        elif floor_of(imported) == floor_of(module):
            shared = imported in SHARED or "checking" in imported
            assert shared, f"{module} imports its sibling {imported}"
        else:
            assert floor_of(imported) < floor_of(module), f"{module} imports {imported}"


def test_no_imports_go_in_a_circle():
    imports = {name_of(path): set(imports_of(path)) for path in MODULES}
    graphlib.TopologicalSorter(imports).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_its_test_file(path):
    relative = path.relative_to(ROOT)
    assert (TESTS / relative.parent / f"test_{relative.name}").is_file()


@pytest.mark.parametrize("path", [*MODULES, *AROUND], ids=name_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:2] or node.body[:1]  # after the docstring
            assert node.end_lineno - first[0].lineno < 40, node.name


def public_names():
    late = {n: getattr(fnn, n) for n in importlib.import_module("fnn.checking").EXPORTS}
    return {n: v for n, v in (vars(fnn) | late).items() if not n.startswith("_")}


def test_no_public_name_is_the_name_of_a_module():
    values = {n for n, v in public_names().items() if type(v).__name__ != "module"}
    assert not values & {p.stem for p in ROOT.glob("*.py")}
    assert not values & {p.name for p in ROOT.iterdir() if p.is_dir()}


def test_optimizers_rules_and_initializers_are_public_in_their_namespaces_only():
    homes = "fnn.optim", "fnn.rules", "fnn.initializers", "fnn.curvature"
    homes_of = {n: getattr(v, "__module__", "") or "" for n, v in public_names().items()}
    assert not [n for n, home in homes_of.items() if home.startswith(homes)]


@pytest.mark.parametrize("name", sorted(n for n, v in public_names().items() if callable(v)))
def test_every_public_name_has_a_docstring_of_its_own(name):
    value = getattr(fnn, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # what dataclass would write


@pytest.mark.parametrize("folder", ["layers", "losses", "optim", "curvature"])
def test_every_formula_file_names_its_source_and_its_equations(folder):
    routes = {"serial", "repeat", "scale", "cast", "recompute", "windows", "recurrence"}
    routes |= {"flatten", "tiling", "unembed", "places", "reparametrized", "in_place"}
    plumbing = {"optimizer", "foreign", "chain", "elementwise"}
    for path in sorted((ROOT / folder).glob("*.py")):
        if path.stem not in routes | plumbing | {"__init__"}:
            doc = ast.get_docstring(ast.parse(path.read_text()))
            assert "Source" in doc, path
            assert "=" in doc or "←" in doc or "→" in doc, path


QUIET = """
import sys, warnings
warnings.simplefilter("error")
import jax
before = jax.config.values.copy()
import fnn
assert jax.config.values == before, "flags changed"
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a backend started"
for late in ("fnn.checking", "fnn.checkpoints", "fnn.files", "fnn.saving.resuming"):
    assert late not in sys.modules, f"{late} came along"
loaded = {m.split(".")[0] for m in sys.modules}
others = {"optax", "chex", "sklearn", "matplotlib", "flax", "torch", "safetensors"}
assert not loaded & others, loaded
"""


def test_import_is_quiet_and_brings_nothing_but_jax_and_numpy():
    subprocess.run([sys.executable, "-c", QUIET], check=True)


def test_all_names_resolve_and_modules_import():
    for path in MODULES:
        importlib.import_module(name_of(path))
