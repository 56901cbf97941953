"""Tests of fnn.checking.measure.double."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.double import double_in_callbacks


def calling(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


PLAIN, CALLING = (jax.make_jaxpr(f)(jnp.ones(2)) for f in (jnp.sin, jax.jit(calling)))


def on_another_thread():
    with ThreadPoolExecutor(1) as other:
        return other.submit(jax.config.read, "jax_enable_x64").result()


@pytest.fixture
def single():
    """The flag of the process, off for the time of a test."""
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize(("program", "inside"), [(PLAIN, False), (CALLING, True)])
def test_the_flag_of_the_process_is_set_for_callbacks_only_and_set_back(single, program, inside):
    with double_in_callbacks(program):
        assert on_another_thread() == inside
    assert not on_another_thread()


def test_the_flag_is_set_back_after_an_error(single):
    with pytest.raises(KeyError), double_in_callbacks(CALLING):
        raise KeyError
    assert not on_another_thread()


SINGLE = """
import jax, jax.numpy as jnp, numpy as np, fnn

def called(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x,
                             vmap_method="sequential").sum()

def failing(x):
    raise ValueError("backward")

def still_single():
    assert jax.config.jax_enable_x64 is False
    assert jnp.ones(1).dtype == "float32"
    assert jax.jit(lambda x: x * 2)(jnp.ones(1)).dtype == "float32"

x = jnp.linspace(0.1, 0.9, 5)
for f in (lambda x: jnp.sin(x).sum(), called):
    assert fnn.check_gradient(f, jnp.cos, x)
    still_single()
    report = fnn.check_gradient(f, lambda x: 1.00001 * jnp.cos(x), x)
    assert not report and report.findings[0].error < 1e-4, report
    still_single()
    try:
        fnn.check_gradient(f, failing, x)
    except ValueError as error:
        assert "backward" in str(error)
    else:
        raise AssertionError
    still_single()
"""


@pytest.mark.slow
def test_a_check_in_a_process_of_single_precision_is_double_and_leaves_it_single():
    subprocess.run([sys.executable, "-W", "error", "-c", SINGLE], check=True)
