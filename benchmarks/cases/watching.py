"""What looking inside costs a training run: fnn.fit with a Watch against fnn.fit without one."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.case import Case, Net, Pair, Table, draw, labels

NORMS = (
    fnn.rules.gradient_norms, fnn.rules.update_norms, fnn.rules.weight_norms,
    fnn.rules.update_ratios, fnn.rules.dead_units,
)  # fmt: skip
ALL = (*NORMS, fnn.rules.saturation, fnn.rules.delta_norms, fnn.rules.non_finite)


def run(
    net: Net, loss: Any, x: jax.Array, target: jax.Array, batch: int, watch: Any, epochs: int = 1
) -> Pair:
    """Some epochs of Adam; both end with the same params."""
    plan = fnn.Plan(net, loss, fnn.optim.Adam(1e-3))
    states = fnn.start(plan, jax.random.key(0))

    def fit(watch):
        def trained(plan, state, x, target):
            plan = plan.with_fields(watch=watch)
            state, history = fnn.fit(plan, state, (x, target), epochs=epochs, batch_size=batch)
            seen = jax.tree.leaves(history.get("watch", ()))  # all of it is read
            read = sum((jnp.nan_to_num(a).sum() for a in seen), jnp.zeros(()))
            return state.params, history["loss"] + 0 * read

        return trained

    return Pair(fit(watch), fit(None), (plan, states, x, target))


def digits(what: Any, every: int) -> Pair:
    """64-64-10, batches of 32, 20 × 56 steps: as in the table of training runs."""
    x, target = draw(1792, 64), labels(1792, classes=10)
    watch = fnn.Watch(*what, every=every)
    return run(fnn.mlp([64, 64, 10]), fnn.SoftmaxCrossEntropy(), x, target, 32, watch, epochs=20)


def wide(what: Any, every: int) -> Pair:
    """256-512-512-10, batches of 128, 20 steps."""
    x, target = draw(2560, 256), labels(2560, classes=10)
    watch = fnn.Watch(*what, every=every)
    return run(fnn.mlp([256, 512, 512, 10]), fnn.SoftmaxCrossEntropy(), x, target, 128, watch)


def gpt(what: Any, every: int) -> Pair:
    """2 blocks of 128, 8 × T 128, 20 steps."""
    tokens, watch = labels(160, 129, classes=256), fnn.Watch(*what, every=every)
    net, loss = fnn.gpt(256, 128, 4, 2, 128), fnn.LinearSoftmaxCrossEntropy()
    return run(net, loss, tokens[:, :-1], tokens[:, 1:], 8, watch)


def cases() -> tuple[Case, ...]:
    """Every net, with norms and with all, at intervals 10 and 1."""
    nets = {
        "64-64-10, batch 32": digits, "256-512-512-10, batch 128": wide,
        "GPT, 2 blocks of 128, 8 × T 128": gpt,
    }  # fmt: skip
    return tuple(
        Case(f"{name}, {words}, interval {every}", lambda f=f, w=w, e=every: f(w, e))
        for name, f in nets.items()
        for words, w in (("norms and dead units", NORMS), ("all eight", ALL))
        for every in (10, 1)
    )


WATCHING = Table(
    "Looking inside",
    "fnn.fit with a Watch, against fnn.fit without one: Adam, 1120, 20 and 20 steps. Norms "
    "are those of gradient, update and weight, with the ratio of the last two; all are saturation, "
    "norms of δ and shares that are not finite besides.",
    cases(),
)
