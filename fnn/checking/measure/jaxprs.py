"""Traced programs: what is in them, how precisely they compute, and a replay of a forward.

    uses, precision     walk a jaxpr, the programs inside of it (jit, scan, ...) included
    trace               a forward as a `Graph`: its operations, what jit encloses inlined
    replay              the operations once more, some results or derivatives changed

Only this file and `plain` read JAX's own data structures.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Literal

from fnn.checking.measure.comparison import EPS
from fnn.checking.measure.problem import Leaves, Problem, autodiff
from fnn.numerics import is_floating

ROOMS = os.path.dirname(os.path.dirname(__file__))
OURS = tuple(path + os.sep for path in (os.path.dirname(jax.__file__), ROOMS))


def uses(jaxpr: Any, primitive: str) -> bool:
    """Whether a program contains an operation whose name contains `primitive`."""
    return any(
        primitive in eqn.primitive.name or any(uses(inner, primitive) for inner in programs(eqn))
        for eqn in jaxpr.eqns
    )


def programs(eqn: Any) -> list[Any]:
    """The programs inside an operation (of jit, scan, custom_jvp, ...)."""
    found = []
    for value in eqn.params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns") and hasattr(inner, "invars"):
                found.append(inner)
    return found


def precision(program: Any, wrt: tuple[int, ...]) -> float:
    """The largest rounding unit among what the traced program computes from inputs `wrt`."""
    jaxpr = program.jaxpr
    return max(EPS, _precision(jaxpr, [i in wrt for i in range(len(jaxpr.invars))]))


def _precision(jaxpr: Any, active: list[bool]) -> float:
    """The rounding unit of what depends on the active inputs."""
    depends = {v for v, moves in zip(jaxpr.invars, active, strict=True) if moves}
    eps = EPS
    for eqn in jaxpr.eqns:
        used = [not isinstance(v, Literal) and v in depends for v in eqn.invars]
        if not any(used):
            continue
        depends.update(eqn.outvars)
        floating = [v.aval.dtype for v in eqn.outvars if _is_floating(v.aval)]
        eps = max(eps, *(float(jnp.finfo(dtype).eps) for dtype in floating), EPS)
        for inner in programs(eqn):
            n = len(inner.invars)
            eps = max(eps, _precision(inner, used[-n:] if len(used) >= n else [True] * n))
    return eps


def _is_floating(aval: Any) -> bool:
    """Whether an abstract value is a floating-point array."""
    return hasattr(aval, "dtype") and is_floating(aval)


class Node(NamedTuple):
    """One operation, its operands (an id or a Literal) and the ids of its results."""

    eqn: Any
    ins: tuple[Any, ...]
    outs: tuple[int, ...]


class Graph(NamedTuple):
    """A traced forward, what jit encloses included."""

    inputs: tuple[int, ...]
    consts: dict[int, Any]
    nodes: list[Node]
    outputs: tuple[Any, ...]
    active: frozenset[int]  # the ids that depend on a differentiated leaf

    @property
    def paths(self) -> list[tuple[int, int]]:
        """The operations and their operands through which a derivative comes back."""
        return [
            (i, k)
            for i, node in enumerate(self.nodes)
            for k, r in enumerate(node.ins)
            if isinstance(r, int) and r in self.active
            if node.eqn.primitive.name != "stop_gradient"
        ]


Values = dict[int, Array]  # by id
Weights = dict[tuple[int, int], Array]  # by path: they multiply the derivative
Alter = Callable[[Any, list[Any], Values], Any]  # (y, operands, values so far) → y


def trace(problem: Problem, leaves: Leaves) -> Graph:
    """The forward's operations."""
    closed = jax.make_jaxpr(problem.forward)(leaves)
    consts: dict[int, Any] = {}
    nodes: list[Node] = []
    count = iter(range(10**9))

    def inline(jaxpr, values, ins):
        ids: dict[Any, Any] = {}
        for v, value in zip(jaxpr.constvars, values, strict=True):
            ids[v] = next(count)
            consts[ids[v]] = value
        ids.update(zip(jaxpr.invars, ins, strict=True))

        def ref(v):
            return v if isinstance(v, Literal) else ids[v]

        for eqn in jaxpr.eqns:
            operands = tuple(ref(v) for v in eqn.invars)
            if eqn.primitive.name in ("jit", "pjit"):
                inner = eqn.params["jaxpr"]
                results = inline(inner.jaxpr, inner.consts, operands)
            else:
                results = tuple(next(count) for _ in eqn.outvars)
                nodes.append(Node(eqn, operands, results))
            ids.update(zip(eqn.outvars, results, strict=True))
        return tuple(ref(v) for v in jaxpr.outvars)

    inputs = tuple(next(count) for _ in closed.jaxpr.invars)
    outputs = inline(closed.jaxpr, closed.consts, inputs)
    active = {inputs[i] for i in problem.wrt}
    for node in nodes:
        if any(i in active for i in node.ins if isinstance(i, int)):
            results = zip(node.outs, node.eqn.outvars, strict=True)
            active.update(i for i, v in results if _is_floating(v.aval))
    return Graph(inputs, consts, nodes, outputs, frozenset(active))


def bind(eqn: Any, operands: list[Any]) -> list[Any]:
    """The results of one operation."""
    got = eqn.primitive.get_bind_params(eqn.params)
    functions, params = got if isinstance(got, tuple) else ((), got)
    out = eqn.primitive.bind(*functions, *operands, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def read(values: Values, refs: tuple[Any, ...]) -> list[Any]:
    """The values of operands."""
    return [values[r] if isinstance(r, int) else r.val for r in refs]


@jax.custom_vjp
def weigh(a: Array, c: Array) -> Array:
    """a, with c times its derivative."""
    return a


weigh.defvjp(lambda a, c: (a, c), lambda c, da: (jnp.asarray(c, da.dtype) * da, jnp.zeros_like(c)))


def replay(
    graph: Graph,
    leaves: Leaves,
    weights: Weights | None = None,
    alter: dict[int, Alter] | None = None,
) -> Values:
    """The value of every id, with weights on some paths, and some results altered."""
    values: Values = graph.consts | dict(zip(graph.inputs, leaves, strict=True))
    weights, alter = weights or {}, alter or {}
    for i, node in enumerate(graph.nodes):
        operands = [
            weigh(a, weights[i, k]) if (i, k) in weights else a
            for k, a in enumerate(read(values, node.ins))
        ]
        out = bind(node.eqn, operands)
        if i in alter:
            out = [alter[i](out[0], operands, values), *out[1:]]
        values.update(zip(node.outs, out, strict=True))
    return values


def gradient(
    problem: Problem,
    graph: Graph,
    leaves: Leaves,
    dy: Leaves,
    weights: Weights | None = None,
    alter: dict[int, Alter] | None = None,
) -> Leaves:
    """The gradient of the graph, altered like a replay."""

    def forward(leaves):
        return read(replay(graph, leaves, weights, alter), graph.outputs)

    return autodiff(forward, problem.wrt, leaves, dy)


def name_of(eqn: Any) -> str:
    """The name of an operation, or of the function that JAX's own rules stand for."""
    name = eqn.primitive.name
    if name == "custom_jvp_call":
        info = getattr(getattr(eqn.params.get("call_jaxpr"), "jaxpr", None), "debug_info", None)
        name = getattr(info, "func_name", name)
    return name


def line_of(eqn: Any) -> str:
    """file:line of the person's code that made an operation, or nothing."""
    frames = getattr(getattr(eqn.source_info, "traceback", None), "frames", ()) or ()
    for frame in frames:
        if not frame.file_name.startswith(("<", *OURS)):
            return f"{os.path.basename(frame.file_name)}:{frame.line_num}"
    return ""
