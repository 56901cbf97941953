"""Rules of diffrax: adjoints of differential equations."""

from collections.abc import Callable

import diffrax as dfx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.conformance.case import Case

Y, K = np.array([1.0, 0.5]), np.array(0.7)
STEPS = "the adjoint equation is solved by steps of its own"


def field(t: jax.Array, y: jax.Array, k: jax.Array) -> jax.Array:
    """A pendulum with friction k."""
    return jnp.stack([y[1], -jnp.sin(y[0]) - k * y[1]])


def solve(adjoint, solver=None, dt: float | None = 0.05, at: tuple[float, ...] = ()) -> Callable:
    """The state at the end, or at given times."""

    def f(y: jax.Array, k: jax.Array) -> jax.Array:
        saved = dfx.SaveAt(ts=jnp.array(at)) if at else dfx.SaveAt(t1=True)
        tight = dfx.PIDController(rtol=1e-9, atol=1e-9)
        return dfx.diffeqsolve(
            dfx.ODETerm(field), solver or dfx.Tsit5(), 0.0, 0.5, dt, y, k, saveat=saved,
            adjoint=adjoint, stepsize_controller=dfx.ConstantStepSize() if dt else tight,
            max_steps=256).ys  # fmt: skip

    return f


def cases() -> list[Case]:
    """By the adjoint."""
    checkpointed = dfx.RecursiveCheckpointAdjoint()
    interpolated = dfx.CubicInterpolation
    return [
        Case("diffrax.RecursiveCheckpointAdjoint", solve(checkpointed), (Y, K)),
        Case("diffrax.RecursiveCheckpointAdjoint, Heun, saved",
             solve(checkpointed, dfx.Heun(), at=(0.1, 0.33, 0.5)), (Y, K)),
        Case("diffrax.DirectAdjoint", solve(dfx.DirectAdjoint(), dfx.Heun(), 0.1), (Y, K)),
        Case("diffrax.BacksolveAdjoint",
             solve(dfx.BacksolveAdjoint(stepsize_controller=dfx.PIDController(
                 rtol=1e-9, atol=1e-9), solver=dfx.Tsit5()), dt=None), (Y, K), only_here=True,
             inexact=STEPS),
        Case("diffrax.BacksolveAdjoint, coarse steps",
             solve(dfx.BacksolveAdjoint(), dfx.Heun(), 0.1), (Y, K), only_here=True,
             inexact=STEPS),
        Case("diffrax.ImplicitAdjoint", steady, (np.array(0.6),), only_here=True,
             inexact="the equation is stopped near its steady state"),
        Case("diffrax.CubicInterpolation", lambda y: interpolated(
            jnp.linspace(0.0, 1.0, 4), dfx.backward_hermite_coefficients(
                jnp.linspace(0.0, 1.0, 4), y)).evaluate(0.4), (np.array([0.3, -0.7, 1.2, 0.1]),)),
    ]  # fmt: skip


def steady(k: jax.Array) -> jax.Array:
    """The state a damped equation ends in."""

    def f(t, y, k):
        return k - y - 0.1 * y**3

    event = dfx.Event(dfx.steady_state_event(rtol=1e-9, atol=1e-9))
    return dfx.diffeqsolve(
        dfx.ODETerm(f), dfx.Tsit5(), 0.0, 40.0, 0.1, jnp.array(0.0), k,
        adjoint=dfx.ImplicitAdjoint(), stepsize_controller=dfx.PIDController(rtol=1e-8, atol=1e-8),
        event=event, max_steps=4096).ys[0]  # fmt: skip
