"""Functions of JAX in numbers of many digits: a jaxpr that is run by mpmath.

    exactly(f, x)        f(x) as numpy arrays of mpmath's numbers

Exponents have no limits, so that nothing overflows. What cancels must be larger than
10^(−digits). What only moves numbers is run by JAX on their places. A linear primitive without
an entry here (a convolution, a sum over windows) is run in float64.
"""

import functools
import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from jax.extend import core

MOVES = {  # every entry of the result is an entry of an argument
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "slice", "split",
    "dynamic_slice", "dynamic_update_slice", "gather", "concatenate", "pad", "copy", "copy_p",
}  # fmt: skip
SAME = {"convert_element_type", "reduce_precision", "stop_gradient", "optimization_barrier"}
IN_FLOAT64 = {  # linear ones, and the bits by which a formula splits a number in two
    "conv_general_dilated", "scatter-add", "reduce_window_sum", "select_and_scatter_add",
    "bitcast_convert_type",
}  # fmt: skip


def elementwise(f: Callable[..., Any], n: int = 1) -> Callable[..., np.ndarray]:
    """f for every entry of n arrays."""
    return lambda *arrays: np.asarray(np.frompyfunc(f, n, 1)(*arrays), object)


def logistic(x: Any) -> Any:
    """1 / (1 + e⁻ˣ)."""
    return 1 / (1 + mpmath.exp(-x))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "neg": np.negative, "abs": np.abs, "max": np.maximum, "min": np.minimum,
    "square": lambda x: x * x,
    "one_minus_square": lambda x: 1 - x * x, "pow": elementwise(mpmath.power, 2),
    "sign": elementwise(mpmath.sign),
    "exp": elementwise(mpmath.exp), "expm1": elementwise(mpmath.expm1),
    "log": elementwise(lambda x: mpmath.log(x) if x else mpmath.ninf),
    "log1p": elementwise(mpmath.log1p), "tanh": elementwise(mpmath.tanh),
    "sqrt": elementwise(mpmath.sqrt), "rsqrt": elementwise(lambda x: 1 / mpmath.sqrt(x)),
    "logistic": elementwise(logistic), "erf": elementwise(mpmath.erf),
    "erfc": elementwise(mpmath.erfc), "sin": elementwise(mpmath.sin),
    "cos": elementwise(mpmath.cos),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "is_finite": elementwise(mpmath.isfinite),
    "polynomial": lambda x, *c: functools.reduce(lambda y, c: y * x + c, reversed(c)),
    "integer_pow": lambda x, y: x**y, "clamp": lambda low, x, high: np.clip(x, low, high),
    "select_n": lambda which, *cases: np.choose(np.asarray(which, int), cases),
    "reduce_sum": lambda x, axes, **_: x.sum(axes), "reduce_max": lambda x, axes, **_: x.max(axes),
    "reduce_min": lambda x, axes, **_: x.min(axes),
    "argmax": lambda x, axes, **_: x.argmax(axes[0]),
}  # fmt: skip
PREDICATES = {"eq", "ne", "lt", "le", "gt", "ge", "is_finite"}


def exactly(f: Callable[..., Any], *args: Any, digits: int) -> Any:
    """f(*args), floating-point arrays as numpy arrays of mpmath's numbers."""
    with jax.enable_x64(True), mpmath.workdps(digits), np.errstate(all="ignore"):
        wide = jax.tree.map(widest, args)
        program, shape = jax.make_jaxpr(f, return_shape=True)(*wide)
        found = run(program.jaxpr, program.consts, [lifted(a) for a in jax.tree.leaves(wide)])
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def widest(a: Any) -> Any:
    """A floating-point array in float64."""
    return a.astype(jnp.float64) if floating(a) else a


def floating(a: Any) -> bool:
    """Whether `a` has numbers that JAX rounds."""
    return jnp.issubdtype(a.dtype, jnp.floating)


def is_exact(a: Any) -> bool:
    """Whether `a` has mpmath's numbers."""
    return isinstance(a, np.ndarray) and a.dtype == object


def lifted(a: Any) -> Any:
    """A floating-point array in mpmath's numbers, anything else as it is."""
    if is_exact(a) or not hasattr(a, "dtype") or not floating(a):
        return a
    return elementwise(lambda x: mpmath.mpf(float(x)))(np.asarray(a, float))


def lowered(a: Any) -> Any:
    """mpmath's numbers in float64."""
    return jnp.asarray(a.astype(float)) if is_exact(a) else a


def run(jaxpr: Any, consts: Any, args: list[Any]) -> list[Any]:
    """The results of a program."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(v: Any) -> Any:
        return (
            jnp.asarray(v.val, getattr(v.aval, "dtype", None))
            if isinstance(v, core.Literal)
            else known[v]
        )

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, results(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def results(eqn: Any, args: list[Any]) -> list[Any]:
    """What one equation gives."""
    name, params = eqn.primitive.name, eqn.params
    inner = [p for p in params.values() if hasattr(p, "eqns") or hasattr(p, "jaxpr")]
    if name in LOOPS:
        return LOOPS[name](eqn, args)
    if inner and name not in IN_FLOAT64:
        return call(inner[0], args)
    if not any(map(is_exact, args)):
        return listed(eqn, eqn.primitive.bind(*args, **params))
    args = list(map(lifted, args))
    if name in SAME:
        integers = not jnp.issubdtype(params.get("new_dtype", float), jnp.floating)
        return [lowered(a).astype(params["new_dtype"]) for a in args] if integers else args
    if name in MOVES:
        return moved(eqn, args)
    if name in IN_FLOAT64:
        return list(map(lifted, listed(eqn, eqn.primitive.bind(*map(lowered, args), **params))))
    if name == "dot_general":
        return [product(*args, *params["dimension_numbers"])]
    options = {k: params[k] for k in ("axes", "y") if k in params}
    found = OPERATIONS[name](*args, **options)
    return [np.asarray(found, bool if name in PREDICATES else object)]


def listed(eqn: Any, found: Any) -> list[Any]:
    """The results of a primitive as a list."""
    return list(found) if eqn.primitive.multiple_results else [found]


def call(program: Any, args: list[Any]) -> list[Any]:
    """The results of an inner program."""
    if hasattr(program, "jaxpr"):
        return run(program.jaxpr, program.consts, args)
    return run(program, (), args)


def moved(eqn: Any, args: list[Any]) -> list[Any]:
    """Entries of the arguments, found by moving their places."""
    entries, places = [mpmath.nan], []
    for a in args:
        places.append(a)
        if is_exact(a):
            places[-1] = jnp.arange(len(entries), len(entries) + a.size).reshape(a.shape)
            entries.extend(a.ravel())
    flat = np.array(entries, object)
    params = eqn.params | ({"fill_value": 0} if "fill_value" in eqn.params else {})
    found = listed(eqn, eqn.primitive.bind(*places, **params))
    return [flat[np.maximum(np.asarray(i), 0)].reshape(i.shape) for i in found]


def product(a: np.ndarray, b: np.ndarray, contracting: Any, batch: Any) -> np.ndarray:
    """dot_general: batch axes first, then what is left of a and of b."""
    letters = iter(string.ascii_letters)
    of_a, of_b = [next(letters) for _ in a.shape], [next(letters) for _ in b.shape]
    for i, j in zip((*contracting[0], *batch[0]), (*contracting[1], *batch[1]), strict=True):
        of_b[j] = of_a[i]
    first = [of_a[i] for i in batch[0]]
    rest = [k for k in (*of_a, *of_b) if (k in of_a) != (k in of_b)]
    return np.einsum(f"{''.join(of_a)},{''.join(of_b)}->{''.join(first + rest)}", a, b)


def scan(eqn: Any, args: list[Any]) -> list[Any]:
    """lax.scan, step by step.

    What is scanned or collected has one axis more outside of the body than inside; the names
    of the numbers of each differ from JAX to JAX.
    """
    body, length, reverse = (eqn.params[k] for k in ("jaxpr", "length", "reverse"))
    n_carry = sum(map(same_rank, eqn.outvars, body.jaxpr.outvars))
    n_whole = sum(map(same_rank, eqn.invars, body.jaxpr.invars))
    consts, carry, xs = args[: n_whole - n_carry], args[n_whole - n_carry : n_whole], args[n_whole:]
    steps: Any = range(length)
    collected = []
    for i in reversed(steps) if reverse else steps:
        found = call(body, [*consts, *carry, *[part(x, i) for x in xs]])
        carry = found[:n_carry]
        collected.append(found[n_carry:])
    stacked = zip(*(reversed(collected) if reverse else collected), strict=True)
    return [*carry, *map(together, stacked)]


def same_rank(a: Any, b: Any) -> bool:
    """Whether two variables have as many axes."""
    return len(a.aval.shape) == len(b.aval.shape)


def part(x: Any, i: int) -> Any:
    """x[i], an array also where it is one number."""
    return np.asarray(x[i], object) if is_exact(x) else x[i]


def together(arrays: tuple[Any, ...]) -> Any:
    """The results of all steps."""
    return np.stack(arrays) if any(map(is_exact, arrays)) else jnp.stack(arrays)


def branch(eqn: Any, args: list[Any]) -> list[Any]:
    """lax.cond and lax.switch."""
    branches = eqn.params["branches"]
    return call(branches[int(np.clip(int(args[0]), 0, len(branches) - 1))], args[1:])


def loop(eqn: Any, args: list[Any]) -> list[Any]:
    """lax.while_loop."""
    n = eqn.params["cond_nconsts"]
    of_cond, rest = args[:n], args[n:]
    of_body, state = rest[: eqn.params["body_nconsts"]], rest[eqn.params["body_nconsts"] :]
    while bool(call(eqn.params["cond_jaxpr"], [*of_cond, *state])[0]):
        state = call(eqn.params["body_jaxpr"], [*of_body, *state])
    return state


LOOPS = {"scan": scan, "cond": branch, "while": loop}
