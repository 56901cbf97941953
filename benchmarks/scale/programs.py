"""One case, compiled: python -m benchmarks.scale.programs NAME hand|autodiff prints it as JSON.

The process has as many devices as the case: XLA_FLAGS says so before it starts.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import fnn
from benchmarks.plain import best, plain
from benchmarks.scale.models import CASES, CONTEXT, EACH, SIZES, Case, plan_of
from benchmarks.scale.traffic import sent
from fnn.optim.optimizer import apply_updates


@dataclass(frozen=True, init=False)
class Cut(fnn.Repeat):
    """A Repeat whose plain form keeps the input of a block, and says that it is cut by rows."""


@plain.register
def _(net: Cut, params, x, key):
    """lax.scan of jax.checkpoint of the block."""

    def body(x, p):
        x = jax.lax.with_sharding_constraint(x, PartitionSpec("data"))
        return plain(net.inner, p, x, None), None

    return jax.lax.scan(jax.checkpoint(body), x, params)[0]


Step = Callable[[Any, Any], tuple[Any, Any]]


def compiled(case: Case, way: str) -> dict[str, Any]:
    """What the compiler says of a step."""
    size, mesh = SIZES[case.size], fnn.devices.mesh(case.data, case.model)
    plan = plan_of(size)
    shapes = jax.eval_shape(lambda key: fnn.start(plan, key), jax.random.key(0))
    state = fnn.devices.place(plan, shapes, mesh, case.how)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    n = EACH * case.data * case.model
    tokens = jax.ShapeDtypeStruct((n, CONTEXT), jnp.int32, sharding=rows)
    step = by_hand(plan) if way == "hand" else by_autodiff(plan)
    began = time.perf_counter()
    program = jax.jit(step, donate_argnums=0).lower(state, (tokens, tokens)).compile()
    seconds = time.perf_counter() - began
    memory: Any = program.memory_analysis()
    found = sent(f"{program.as_text()}")
    blocks = [s for s in found if s.turns >= size.n_layers]
    return {
        "parameters": sum(a.size for a in jax.tree.leaves(shapes.params)),
        "tokens": n * CONTEXT,
        "state": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "block": sum(s.turns * s.bytes for s in blocks) / size.n_layers,
        "rest": sum(s.turns * s.bytes for s in found if s not in blocks),
        "seconds": seconds,
    }


def by_hand(plan: fnn.Plan) -> Step:
    """The step of fnn."""
    return lambda state, batch: fnn.step(plan, state, batch)


def by_autodiff(plan: fnn.Plan) -> Step:
    """The same by jax.grad of the net as one writes it who knows what saves memory."""
    net = best(plan.net)
    net = net.with_children(
        {name: Cut(f.n, f.inner) if isinstance(f, fnn.Repeat) else f
         for name, f in net.children.items()}
    )  # fmt: skip

    def step(state, batch):
        with jax.sharding.use_abstract_mesh(state.layout.mesh.abstract_mesh):
            return on_mesh(state, *batch)

    def on_mesh(state, x, target):

        def value(params):
            z = plain(net, params, x, None)
            found = jax.nn.logsumexp(z, -1) - jnp.take_along_axis(z, target[..., None], -1)[..., 0]
            return found.mean()

        loss, grads = jax.value_and_grad(value)(state.params)
        updates, inner = plan.optimizer.update(grads, state.optimizer_state, state.params)
        params = apply_updates(state.params, updates)
        state = state._replace(params=params, optimizer_state=inner, step=state.step + 1)
        return state.layout.laid(state), loss

    return step


if __name__ == "__main__":
    chosen = next(case for case in CASES if case.name == sys.argv[1])
    print(json.dumps(compiled(chosen, sys.argv[2])))
