"""Mistakes in the formulas of single examples, and whether their definition notices them.

    uv run python -m benchmarks.mutations.examples [--only factors gradient_noise ...] [--every 1]

One operation at a time is changed in what fnn says of the gradients of single examples: the
factors, the rules, weighed and clipped sums, microbatches. Every mutant is asked for all these
quantities of nets small enough that jax.vmap of jax.grad, in float64, gives each by its definition;
a difference of 1e-9 of the largest entry, or an exception, kills it. One more question is whether a
bound holds in float32 where the steps of an example cancel, which is what slack is for.

Who survives that is left to the tests of the file it stands in and of those who use it, which know
the branches that no net here comes to. A mutant that nobody can tell from the original is right,
too: `EQUIVALENT` says which, and why.
"""

import ast
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

import fnn
from benchmarks.mutations.source import Replaced, changes
from fnn import by_example, clipping, columns, example_sums, factors, microbatches, together
from fnn.layers import convolution, seen
from fnn.losses import logit_derivatives
from fnn.rules import gradient_noise, per_example

LOSS = fnn.SoftmaxCrossEntropy()
RULES = fnn.rules.example_norms, fnn.rules.example_grads, fnn.rules.example_products
BOUND, EXACT = 0.3, 1e-9
CHOICE = "in a comparison"
EQUIVALENT = {  # word in the name of a mutant → why no result depends on it
    CHOICE: "of a choice between two right forms",
    "formed": "the same",
    "compact": "the same",
    "size: ": "an upper bound of what rounding hides; a larger one is right, too",
    "MORE": "the same",
    "ROUNDINGS": "of a margin",
    "asarray forgotten": "of a number, which the comparison takes as well",
    "maximum forgotten": "a bound that rounding alone passes",
}
USERS = "test_kronecker.py", "layers/test_conv_transpose.py"


class Mutant(NamedTuple):
    """One change of one expression of one function."""

    name: str  # module.function: what
    owner: Any  # a module or a class
    attribute: str
    node: int
    change: int


def functions() -> Iterator[tuple[str, Any, str]]:
    """(Module, owner, name) of every function that is mutated."""
    for cls in (factors.Outer, factors.Sum, factors.Rows, factors.Alone, together.Together):
        for method, f in vars(cls).items():
            if inspect.isfunction(f) and not method.startswith("__"):
                yield "factors", cls, method
    for cls in (columns.Columnwise, columns.Columns, logit_derivatives.LogitDerivatives):
        for method, f in vars(cls).items():
            if inspect.isfunction(f) and not method.startswith("__"):
                yield "columns", cls, method
    yield "factors", factors, "compact"
    yield "factors", together, "between"
    for f in ("combined", "in_turn", "lengths", "square_sum", "scaled", "selected", "steps"):
        yield "factors", by_example, f
    for method in ("gradient", "scaled", "each", "_each", "formed", "size", "_square_norms"):
        yield "convolution", convolution.Kernel, method
    for f in ("patches", "patch_products"):
        yield "convolution", seen, f
    for f in ("one_by_one", "square_norms", "total", "none_of"):
        yield "per_example", per_example, f
    for f in ("example_products", "example_slopes", "example_grads", "example_norms"):
        yield "per_example", per_example, f
    for f in ("noise_scale", "total_noise"):
        yield "gradient_noise", gradient_noise, f
    for f in ("at_once", "in_turn", "weighed_sum", "hidden"):
        yield "example_sums", example_sums, f
    yield "clipping", clipping, "bounded"
    yield "microbatches", microbatches, "accumulated"


def function(owner: Any, attribute: str) -> Any:
    """The function, of a rule the formula of any layer."""
    f = vars(owner)[attribute]
    f = f.formula.dispatch(object) if isinstance(f, fnn.rules.Rule) else f
    return inspect.unwrap(f)


def tree_of(owner: Any, attribute: str) -> ast.FunctionDef:
    """Its source, without decorators, annotations and docstring."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function(owner, attribute)))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list, tree.returns = [], None
    tree.body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return tree


def mutants(only: tuple[str, ...] = ()) -> list[Mutant]:
    """All of them that are Python, in the order of the source."""
    found = []
    for module, owner, attribute in functions():
        if only and module not in only:
            continue
        where, tree = owner.__name__.split(".")[-1], tree_of(owner, attribute)
        compared = [n.test for n in ast.walk(tree) if isinstance(n, ast.If | ast.IfExp)]
        compared = [n for n in compared if isinstance(n, ast.Compare)]
        within = {id(n) for test in compared for n in ast.walk(test)}
        for i, node in enumerate(ast.walk(tree)):
            place = f", {CHOICE}" * (id(node) in within)
            found += [
                Mutant(f"{where}.{attribute}: {what}{place}", owner, attribute, i, j)
                for j, (_, what, _) in enumerate(changes(node))
            ]
    return [mutant for mutant in found if code(mutant) is not None]


def code(mutant: Mutant) -> CodeType | None:
    """A module that defines the function with the mistake; None where that is no Python."""
    tree = tree_of(mutant.owner, mutant.attribute)
    node = list(ast.walk(tree))[mutant.node]
    new = copy.deepcopy(list(changes(node))[mutant.change][2])
    tree = ast.fix_missing_locations(Replaced(node, new).visit(tree))
    try:
        return compile(ast.Module([tree], []), "<mutant>", "exec")
    except SyntaxError:  # a starred expression by itself
        return None


@contextmanager
def made(mutant: Mutant) -> Iterator[None]:
    """The library with the mistake in it, and without it afterwards."""
    f, module = function(mutant.owner, mutant.attribute), code(mutant)
    assert module is not None
    names = {**f.__globals__, "owner_of_the_formula": mutant.owner}
    exec(module, names)
    wrong, right = names[f.__name__], f.__code__
    if "super" in wrong.__code__.co_names:  # a code that knows its class cannot be exchanged
        setattr(mutant.owner, mutant.attribute, wrong)
    else:
        f.__code__ = wrong.__code__
    try:
        yield
    finally:
        f.__code__ = right
        if isinstance(mutant.owner, type):
            setattr(mutant.owner, mutant.attribute, f)


class Task(NamedTuple):
    """A net with what it is asked about, and the gradients of its examples by autodiff."""

    net: Any
    loss: Any
    params: Any
    x: Any
    target: Any
    weights: Any
    grads: Any  # like params with the examples first; under Repeat behind the copies


def draw(*shape: int, seed: int = 1) -> jax.Array:
    """Normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@functools.cache
def tasks() -> list[Task]:
    """An MLP with weights; a CNN; a reader; tables that are the head, too, of logits in blocks."""
    rng = np.random.default_rng(0)
    tokens, labels = (jnp.asarray(rng.integers(0, 7, (4, 6))) for _ in range(2))
    embed, head = fnn.Embedding(7, 3), fnn.Dense(3, 7, bias=False)
    tied = fnn.Tied(fnn.Serial(embed=embed, bend=fnn.Tanh(), head=head), head="embed")
    blocks = fnn.Tied(
        fnn.Serial(embed=embed, bend=fnn.Tanh(), head=fnn.Unembed(3, 7)), head="embed"
    )
    head = fnn.Serial(fnn.Embedding(7, 3), fnn.Unembed(3, 7))
    wide = fnn.Serial(fnn.Dense(9, 8), fnn.Tanh(), fnn.LayerNorm(8), fnn.Dense(8, 7))
    cnn = fnn.Serial(
        fnn.Conv2d(1, 2, (2, 3), 2, padding=1), fnn.Conv2d(2, 4, 2, groups=2), fnn.Flatten(),
        fnn.Dense(24, 7),
    )  # fmt: skip
    some = jnp.array([1.0, 2.0, 0.0, 0.5])
    made = [
        (wide, draw(4, 9), labels[:, 0], some),
        (wide, draw(4, 2, 9), labels[:, :2], None),
        (cnn, draw(4, 4, 8, 1), labels[:, 0], None),
        (fnn.Serial(fnn.Embedding(7, 3), fnn.RNN(3, 4), fnn.Dense(4, 7)), tokens, labels, None),
        (tied, tokens, labels, jnp.where(tokens % 3 == 0, 0.5, 1.0)),
    ]
    in_blocks = fnn.LinearSoftmaxCrossEntropy(chunk=5)  # positions; 5 blocks of 2 classes
    rows = jax.nn.softmax(draw(4, 6, 7))
    made = [(net, LOSS, *rest) for net, *rest in made]
    made += [(net, in_blocks, tokens, t, None) for net in (blocks, head) for t in (labels, rows)]
    return [of(*each) for each in made]


def of(net: Any, loss: Any, x: Any, target: Any, weights: Any) -> Task:
    """A task, and its definition."""
    params = net.init(jax.random.key(0))
    shape = jax.eval_shape(lambda: loss.forward(net.forward(params, x)[0], target)[0]).shape
    w = jnp.ones(shape) if weights is None else weights

    def mean(params, x, target, w):
        losses = loss.forward(net.forward(params, x[None])[0], target[None])[0][0]
        return (w * losses).sum() / jnp.where(w.sum() == 0, 1, w.sum())

    w = jnp.broadcast_to(w.reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)
    grads = jax.jit(jax.vmap(jax.grad(mean), (None, 0, 0, 0)))(params, x, target, w)
    return Task(net, loss, params, x, target, weights, (grads, w.reshape(4, -1).sum(1)))


def wanted(task: Task) -> list[Any]:
    """Every quantity by its definition."""
    grads, w = task.grads
    g = jnp.concatenate([a.reshape(4, -1) for a in jax.tree.leaves(grads)], 1)
    v = jnp.concatenate([a.reshape(-1) for a in jax.tree.leaves(direction(task))])
    n, s = jnp.sqrt((g**2).sum(1)), w / w.sum()
    c, q = jnp.where(w == 0, 0, jnp.minimum(1, BOUND / jnp.where(n == 0, 1, n))), (s**2).sum()
    variance = (s @ n**2 - ((s @ g) ** 2).sum()) / (1 - q)
    noise = jnp.stack([variance, ((s @ g) ** 2).sum() - q * variance])
    squared = jnp.where(w > 0, n**2, 0) @ g
    return [noise, c @ g, n, n**2, g, g @ g.T, g @ v, c @ g, squared]


def direction(task: Task) -> Any:
    """Some direction like params."""
    return jax.tree.map(jnp.cos, task.params)


def found(task: Task) -> Iterator[Any]:
    """The same quantities as fnn computes them, one after another."""
    args = task.net, task.loss, task.params, task.x, task.target
    both = (fnn.rules.backprop, fnn.rules.noise_scale)
    made = fnn.fold(*args, weights=task.weights, rule=both).result[1]
    yield jnp.stack(fnn.rules.total_noise(made))

    def summed(c, **how):
        return fnn.clipped_grad(*args, c, weights=task.weights, norms=True, **how)

    _, clipped, n = summed(BOUND)
    yield from (line(clipped), n)
    rules = (*RULES, fnn.rules.example_slopes.given(direction(task)))
    norms, grads, products, slopes = fnn.fold(*args, weights=task.weights, rule=rules).result
    yield fnn.rules.total(norms)
    yield jnp.concatenate([a.reshape(4, -1) for a in jax.tree.leaves(grads)], 1)
    yield jax.tree.reduce(jnp.add, products)
    yield fnn.rules.total(slopes)
    yield line(summed(BOUND, microbatch=3)[1])
    yield line(summed(jnp.square)[1])


def line(tree: Any) -> jax.Array:
    """All entries one after another."""
    return jnp.concatenate([a.reshape(-1) for a in jax.tree.leaves(tree)])


def holds() -> bool:
    """Whether a bound holds in float32 where two steps of an example cancel, and no row is NaN."""
    net, rng = fnn.Dense(16, 16, bias=False), np.random.default_rng(0)
    params = jax.tree.map(lambda a: a.astype("float32"), net.init(jax.random.key(0)))
    x = np.tile(5 * rng.standard_normal((64, 1, 16)), (1, 2, 1))
    x = jnp.asarray(x + 1e-4 * rng.standard_normal(x.shape), "float32")
    d = 10 * rng.standard_normal((64, 1, 16)) * [[[1], [-1]]]
    d = jnp.asarray(d + 1e-3 * rng.standard_normal(d.shape), "float32")
    target = net.forward(params, x)[0] + d

    def length(x, target):
        run = functools.partial(fnn.clipped_grad, net, fnn.SquaredError(), params)
        both = [run(x[None], target[None], 0.01, per_layer=p)[1] for p in (False, True)]
        return jnp.stack([jnp.sqrt((g.w**2).sum()) for g in both])

    lengths = jax.vmap(length)(x, target)
    return bool(np.isfinite(lengths).all() and lengths.max() <= 0.01 * (1 + 1e-5))


def leaves_out() -> bool:
    """Whether an example that is not finite leaves the clipped sum as it is."""
    task = tasks()[1]
    args = task.net, LOSS, task.params
    rest = jnp.array([0, 1, 3])
    want = fnn.clipped_grad(*args, task.x[rest], task.target[rest], BOUND)[1]
    made = fnn.clipped_grad(*args, task.x.at[2].set(jnp.nan), task.target, BOUND)[1]
    return close(line(made), line(want))


def close(a: Any, b: Any) -> bool:
    """Whether two arrays are the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(abs(a - b).max() <= EXACT * abs(b).max())


def right(n: int | None = None) -> bool:
    """Whether everything is as it is defined, of the first n tasks or of all.

    Nothing is compiled, for a program keeps what it has seen.
    """
    known = [*zip(tasks(), definitions(), strict=True)][:n]
    with jax.disable_jit():
        for task, want in known:
            if not all(close(a, b) for a, b in zip(found(task), want, strict=True)):
                return False
        return holds() and leaves_out()


@functools.cache
def definitions() -> list[list[Any]]:
    """Of all tasks."""
    return [wanted(task) for task in tasks()]


def killed(mutant: Mutant, n: int | None = None) -> bool:
    """Whether it is told from the original, in the first n tasks or in all."""
    with made(mutant):
        try:
            return not right(n)
        except Exception:  # a mutant may do anything
            return True


def noticed(mutant: Mutant) -> bool:
    """Whether the tests of its file fail, in a process of their own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(failing, mutants().index(mutant)).result()


def failing(place: int) -> bool:
    """Whether tests fail with the mutant that stands at this place of all."""
    mutant, home = mutants()[place], Path(fnn.__file__).parent
    path = Path(inspect.getfile(function(mutant.owner, mutant.attribute))).relative_to(home)
    tests = [home.parent / "tests" / p for p in (path.with_name(f"test_{path.name}"), *USERS)]
    quiet = ["-qx", "-n0", "--no-header", "--tb=no", "-W", "ignore::pytest.PytestWarning"]
    with made(mutant):
        return pytest.main([*quiet, *map(str, tests)]) == pytest.ExitCode.TESTS_FAILED


def why(mutant: Mutant) -> str:
    """Why nobody can tell it from the original; "" where somebody should."""
    return next((reason for word, reason in EQUIVALENT.items() if word in mutant.name), "")


@dataclass(frozen=True)
class Options:
    """Which mutants are made."""

    only: tuple[str, ...] = ()
    """Modules, such as factors."""
    every: int = 1
    """Every n-th mutant only."""


def table(results: dict[Mutant, bool]) -> str:
    """A row per function."""
    rows: dict[str, list[int]] = {}
    for mutant, dead in results.items():
        row = rows.setdefault(mutant.name.split(":")[0], [0, 0, 0])
        row[0] += 1
        row[1] += dead
        row[2] += not dead and bool(why(mutant))
    lines = ["| formula | mutants | killed | equivalent |", "|---|---|---|---|"]
    lines += [f"| {name} | {n} | {k} | {e} |" for name, (n, k, e) in rows.items()]
    sums = np.sum(list(rows.values()), 0)
    return "\n".join([*lines, "| **all** | " + " | ".join(f"**{s}**" for s in sums) + " |"])


def main(options: Options, say: Callable[[str], None] = print) -> dict[Mutant, bool]:
    """Make the mutants, and say who was noticed."""
    jax.config.update("jax_enable_x64", True)
    assert right(), "the library itself is not as it is defined"
    results: dict[Mutant, bool] = {}
    for mutant in mutants(options.only)[:: options.every]:
        by_definition = killed(mutant)
        results[mutant] = by_definition or noticed(mutant)
        how = "killed" if by_definition else "killed by a test" if results[mutant] else "ALIVE"
        say(f"{how}: {mutant.name}  {'' if results[mutant] else why(mutant)}")
    say(table(results))
    return results


if __name__ == "__main__":
    main(tyro.cli(Options))
