"""Tests of fnn.checking.measure.eager."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.eager import BackwardError, agrees, eager

X = jnp.array([[0.5, 2.0, 1.0], [-1.0, 3.0, 0.25]])
DY = [jnp.ones((2, 3))]


def run(f, backward=lambda x, dy: dy, x=X, dy=DY):
    return eager(from_vjp("f", f, backward, (x,), ("x",)), dy)


def test_the_first_run_gives_the_gradient_without_jit():
    (dx,) = run(jnp.sin, lambda x, dy: jnp.cos(x) * dy)
    np.testing.assert_array_equal(dx, jnp.cos(X))


def test_a_nan_of_the_forward_names_its_place_its_operation_and_the_inputs():
    text = r"f: forward gives nan at index \[1, 0\] of output 0: .*log.* x in \[-1, 3\]; check at"
    with pytest.raises(ValueError, match=text):
        run(lambda x: jnp.log(x))


def test_an_infinity_of_the_forward_is_told_too():
    with pytest.raises(ValueError, match=r"gives inf at index \[0, 2\] of output 0: .*zero"):
        run(lambda x: 1 / (x - 1))


def test_a_nan_behind_a_callback_is_told_without_its_operation():
    def f(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda a: np.full(a.shape, np.nan), shape, x)

    with pytest.raises(ValueError, match=r"gives nan at index \[0, 0\] of output 0.* The inputs"):
        run(f)


def test_a_forward_that_changes_is_refused():
    count = itertools.count(1)
    text = r"f: forward is not deterministic: .* at index \[0, 0\] of output 0; draw random"
    with pytest.raises(ValueError, match=text):
        run(lambda x: x * next(count))


@pytest.mark.parametrize("kind", [ValueError, TypeError, IndexError])
def test_an_error_inside_of_backward_names_who(kind):
    def backward(x, dy):
        raise kind("my own words\nand more")

    with pytest.raises(Exception, match="my own words") as caught:
        run(jnp.sin, backward)
    assert isinstance(caught.value, BackwardError | IndexError)
    if isinstance(caught.value, BackwardError):
        plain = caught.value.plain()
        assert type(plain) is kind
        assert str(plain) == f"f: backward fails with {kind.__name__}: my own words"


def test_an_unfinished_backward_passes_through():
    def backward(x, dy):
        raise NotImplementedError("write me")

    with pytest.raises(NotImplementedError, match="^write me$"):
        run(jnp.sin, backward)


def test_the_checkers_own_errors_are_not_wrapped():
    with pytest.raises(ValueError, match=r"^f: the gradient for x must have shape"):
        run(jnp.sin, lambda x, dy: dy.T)


@pytest.mark.parametrize(
    ("backward", "same"),
    [
        (lambda x, dy: jnp.cos(x) * dy, True),
        (lambda x, dy: jnp.cos(x) * dy * 1.001, False),
        (lambda x, dy: dy @ jnp.ones((7, 7)), False),
    ],
)
def test_agreement_at_one_random_dy(backward, same):
    assert agrees(from_vjp("f", jnp.sin, backward, (X,), ("x",))) == same
