"""Steps inside the backward pass: peak memory and time, against the step behind it.

Three programs make the same step of the same net from the same params, each with its State donated:
fnn.Plan with in_backward=True and without, and jax.value_and_grad of the plain net with optax. Peak
memory is what XLA says of arguments, temporaries and results, less what is donated. The programs
run in turn; a time is the median of ratios within a turn.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from benchmarks.case import draw, labels
from benchmarks.measure import Effort, peak, times
from benchmarks.plain import best, plain, plain_losses

MIB = 2**20
AGREE = {"float32": 1e-3, "bfloat16": 2**-8}  # relative difference of the first three losses
Programs = list[tuple[Any, Any]]  # (compiled (state, x, target) → (state, loss), first state)


class Update(NamedTuple):
    """One net with one optimizer: MiB of the three programs, and ratios inside / another."""

    name: str
    inside: float
    behind: float
    plain: float
    time: float  # of behind
    low: float
    high: float
    time_plain: float
    target: float  # of time


def mlp(n: int = 24, width: int = 512, batch: int = 16) -> tuple[Any, ...]:
    """A deep perceptron in a Repeat."""
    net = fnn.Repeat(n, fnn.Serial(fnn.Dense(width, width), fnn.ReLU()))
    return net, fnn.SquaredError(), draw(batch, width), draw(batch, width, seed=3)


def gpt(
    n: int = 8, width: int = 256, t: int = 64, batch: int = 2, heads: int = 4, n_vocab: int = 256
) -> tuple[Any, ...]:
    """A language model, by default of bytes."""
    net, tokens = fnn.gpt(n_vocab, width, heads, n, t), labels(batch, t + 1, classes=n_vocab)
    return net, fnn.LinearSoftmaxCrossEntropy(), tokens[:, :-1], tokens[:, 1:]


def half(n: int, width: int, t: int, batch: int, **sizes: int) -> tuple[Any, ...]:
    """The same in bfloat16, of float32 masters."""
    net, *rest = gpt(n, width, t, batch, **sizes)
    return fnn.Cast(net, "bfloat16"), *rest


def clipped(optimizer: Any) -> Any:
    """The same, behind a clip by the norm of the whole gradient that is always active."""
    return fnn.optim.Chain(fnn.optim.ClipByNorm(1e-3), optimizer)


OPTIMIZERS = {  # name → (fnn's, optax's, the target of time)
    "SGD": (fnn.optim.SGD(0.1), optax.sgd(0.1), 1.02),
    "clip, SGD": (
        clipped(fnn.optim.SGD(0.1)),
        optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1)),
        1.7,
    ),
    "Momentum": (fnn.optim.Momentum(0.1), optax.sgd(0.1, momentum=0.9), 1.02),
    "Adam": (fnn.optim.Adam(1e-3), optax.adam(1e-3), 1.02),
    "clip, Adam": (
        clipped(fnn.optim.Adam(1e-3)),
        optax.chain(optax.clip_by_global_norm(1e-3), optax.adam(1e-3)),
        1.7,
    ),
}


NETS = {  # name → (what makes it, of which sizes)
    "MLP, 24 × 512, batch 16": (mlp, {}),
    "MLP, 24 × 512, batch 512": (mlp, {"batch": 512}),
    "GPT, 8 blocks of 256, 2 × T 64": (gpt, {}),
    "GPT, 8 blocks of 256, 8 × T 256": (gpt, {"t": 256, "batch": 8}),
}
LARGE = {  # for an accelerator
    "GPT, 12 blocks of 768, V 50257, 8 × T 1024, bfloat16": (
        half,
        {"n": 12, "width": 768, "t": 1024, "batch": 8, "heads": 12, "n_vocab": 50257},
    ),
}
TINY = {mlp: {"n": 2, "width": 16}, half: {"n": 2, "width": 16, "t": 8, "batch": 2}}
ADAM = ("Adam", "clip, Adam")


def updates(
    effort: Effort = Effort(),
    nets: Mapping[str, tuple[Any, Any]] = NETS,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
    *,
    quick: bool = False,
) -> list[Update]:
    """Every net with every optimizer; `quick`: the first net alone, tiny, with the first."""
    rows = [(net, *nets[net], name) for net in nets for name in optimizers]
    return [
        measured(f"{net}, {name}", make(**TINY[make] if quick else sizes), OPTIMIZERS[name], effort)
        for net, make, sizes, name in (rows[:1] if quick else rows)
    ]


def measured(
    name: str, task: tuple[Any, ...], optimizers: tuple[Any, Any, float], effort: Effort
) -> Update:
    """One row, after all three first losses and second losses agreed."""
    (net, loss, x, goal), (ours, theirs, target) = task, optimizers
    parts = [step_of(net, loss, ours, inside=inside) for inside in (True, False)]
    programs, memory = [], []
    for step, first in [*parts, plain_step(net, loss, theirs)]:
        state = first(net.init(jax.random.key(0)))
        program = jax.jit(step, donate_argnums=0).lower(state, x, goal).compile()
        memory.append(peak(program) / MIB)
        programs.append(turning(program, state, x, goal))
    losses = np.array([[float(run()) for _ in range(3)] for run in programs])
    limit = AGREE[getattr(net, "dtype", "float32")] * np.abs(losses[0]).max()
    assert np.abs(losses - losses[0]).max() <= limit, (name, losses)
    seconds = times(programs, (), effort)
    low, middle, high = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75))
    plainly = float(np.median(seconds[:, 0] / seconds[:, 2]))
    inside, behind, plain = memory
    return Update(name, inside, behind, plain, middle, low, high, plainly, target)


def step_of(net: Any, loss: Any, optimizer: Any, *, inside: bool) -> Any:
    """A step of fnn's, and what makes its first state."""
    plan = fnn.Plan(net, loss, optimizer, in_backward=inside)

    def step(state, x, target):
        state, row = fnn.step(plan, state, (x, target))
        return state, row["loss"]

    return step, lambda params: fnn.start(plan, None, params)


def plain_step(net: Any, loss: Any, optimizer: Any) -> Any:
    """The same in plain JAX, and what makes its first state."""
    written = best(net)

    def step(state, x, target):
        params, inner = state

        def value(params):
            y = plain(written, params, x, None).astype(jnp.float32)
            return plain_losses(loss, y, target).mean()

        value, grads = jax.value_and_grad(value)(params)
        changes, inner = optimizer.update(grads, inner, params)
        return (optax.apply_updates(params, changes), inner), value

    return step, lambda params: (params, optimizer.init(params))


def turning(program: Any, state: Any, x: Any, target: Any) -> Callable[[], jax.Array]:
    """One step after another, each from the State of the one before."""
    held = [jax.tree.map(jnp.copy, state)]

    def run():
        held[0], loss = program(held[0], x, target)
        jax.block_until_ready(held[0])
        return loss

    return run
