"""Tests of fnn.losses.elementwise, by a loss that is written here."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.losses.elementwise import Elementwise


@dataclass(frozen=True)
class LogCosh(Elementwise):
    """losses = Σ_j log cosh(y_j − t_j)."""

    def f(self, y, t):
        """log cosh(y − t)."""
        return jnp.log(jnp.cosh(y - t))

    def df(self, y, t):
        """tanh(y − t)."""
        return jnp.tanh(y - t)


def test_contract_of_a_loss_that_gives_only_f_and_its_derivative():
    check_loss(LogCosh(), noise(5, 3), noise(5, 3, seed=2))


@dataclass(frozen=True)
class WrongSlope(LogCosh):
    """A derivative that is one part in a million off."""

    def df(self, y, t):
        """1.000001 tanh(y − t)."""
        return 1.000001 * jnp.tanh(y - t)


@dataclass(frozen=True)
class WrongPass(LogCosh):
    """A value_and_backward that is not forward, then backward."""

    def value_and_backward(self, y, target, dl):
        """Losses that are a little off."""
        losses, dy = super().value_and_backward(y, target, dl)
        return losses + 1e-6, dy


@dataclass(frozen=True)
class Multiplied(LogCosh):
    """dl = 0 multiplies where it should leave out."""

    def backward(self, cache, dl):
        """dl ℓ′."""
        return dl[:, None] * self.entries(self.df, *cache)


@pytest.mark.parametrize("loss", [WrongSlope(), WrongPass(), Multiplied()], ids=repr)
def test_contract_refuses(loss):
    with pytest.raises(AssertionError):
        check_loss(loss, noise(5, 3), noise(5, 3, seed=2))


def test_last_axis_is_summed_and_others_stay():
    y = noise(2, 3, 4)
    losses, _ = LogCosh().forward(y, jnp.zeros((2, 3, 4)))
    np.testing.assert_allclose(losses, np.log(np.cosh(y)).sum(-1))


def test_rank_one_counts_as_one_output():
    y, t = noise(5), noise(5, seed=2)
    losses, cache = LogCosh().forward(y, t)
    column, column_cache = LogCosh().forward(y[:, None], t[:, None])
    dl = jnp.arange(5.0)
    dy, column_dy = LogCosh().backward(cache, dl), LogCosh().backward(column_cache, dl)
    np.testing.assert_allclose(losses, column)
    np.testing.assert_allclose(dy, column_dy[:, 0])


# S01 and S02: whatever numpy would broadcast, and does not mean the same.
@pytest.mark.parametrize(
    ("y", "target", "message"),
    [
        ((4, 1), (4,), r"\[4, 1\], got \[4\]; write target\[:, None\] or y\[:, 0\]\."),
        ((4,), (4, 1), r"\[4\], got \[4, 1\]; write target\[\.\.\., 0\]\."),
        ((4,), (1,), r"\[4\], got \[1\]\."),
        ((4,), (), r"\[4\], got \[\]\."),
        ((4, 4), (4,), r"\[4, 4\], got \[4\]\."),
        ((4, 3), (1, 3), r"\[4, 3\], got \[1, 3\]\."),
    ],
    ids=str,
)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_nothing_is_broadcast(y, target, message, jit):
    forward = jax.jit(LogCosh().forward) if jit else LogCosh().forward
    with pytest.raises(ValueError, match=r"^LogCosh\(\): target must have y's shape " + message):
        forward(jnp.zeros(y), jnp.zeros(target))


@pytest.mark.parametrize(
    ("y", "target", "message"),
    [
        (jnp.zeros(3), [0.0, 0, 0], "target must be an array, got list"),
        (jnp.zeros(3), 0.0, "target must be an array, got float"),
        (jnp.zeros(3), jnp.zeros(3, complex), "target must hold real numbers, got complex128"),
        (jnp.zeros(3), np.array(["a"] * 3), "target must hold real numbers, got <U1"),
        (jnp.zeros(3), np.array([None] * 3), "target must hold real numbers, got object"),
        (jnp.zeros(3, complex), jnp.zeros(3), "y must be floating, got complex128"),
        (jnp.zeros(3, int), jnp.zeros(3), "y must be floating, got int64; convert it with y.as"),
    ],
    ids=["list", "scalar", "complex", "text", "object", "complex y", "integer y"],
)
def test_what_is_no_array_of_real_numbers_is_refused(y, target, message):
    with pytest.raises(TypeError, match=r"^LogCosh\(\): " + message):
        LogCosh().forward(y, target)


def test_single_number_is_refused():
    with pytest.raises(ValueError, match=r"y must have shape \[B, ...\], got \[\]"):
        LogCosh().forward(jnp.zeros(()), jnp.zeros(()))
