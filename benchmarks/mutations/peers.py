"""The checkers people have, asked as their documentation shows, in float64 where they can.

Each is asked twice: about the array-valued function itself ("vector"), and about a mean
of it ("mean"): the mean of the losses, or for a layer the mean squared difference from
fixed numbers. A mutant counts as killed where either question finds it.
"""

import time
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads

from benchmarks.mutations.mutants import Flat, custom, fixed

Ask = Callable[[Callable[..., Any], tuple[Any, ...]], None]


def with_check_grads(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """jax.test_util.check_grads; a custom_vjp has no forward mode."""
    check_grads(f, args, order=1, modes=("rev",))


def with_chex(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """chex.assert_numerical_grads."""
    chex.assert_numerical_grads(f, args, order=1, modes=("rev",))


PEERS: dict[str, Ask] = {
    "jax.test_util.check_grads": with_check_grads,
    "chex.assert_numerical_grads": with_chex,
}


def mean_of(f: Callable[..., Any], flat: Flat, *, is_loss: bool) -> Callable[..., Any]:
    """The function with a scalar behind it."""
    if is_loss:
        return lambda *leaves: f(*leaves).mean()
    shape = jax.eval_shape(flat.forward, flat.leaves)
    target = jnp.asarray(fixed(shape.shape), shape.dtype)
    return lambda *leaves: ((f(*leaves) - target) ** 2).mean()


def asked(flat: Flat, *, is_loss: bool) -> dict[str, dict[str, Any]]:
    """What every peer says: killed by the vector, by the mean, and the seconds of both."""
    f = custom(flat)
    forms = {"vector": jax.jit(f), "mean": jax.jit(mean_of(f, flat, is_loss=is_loss))}
    verdicts = {}
    for name, ask in PEERS.items():
        said: dict[str, Any] = {}
        start = time.perf_counter()
        for form, function in forms.items():
            said[form] = objects(ask, function, tuple(flat.leaves))
        verdicts[name] = {
            **said, "killed": any(said.values()), "seconds": time.perf_counter() - start
        }  # fmt: skip
    return verdicts


def objects(ask: Ask, f: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether the peer raises, whatever it raises."""
    try:
        ask(f, args)
    except Exception:
        return True
    return False
