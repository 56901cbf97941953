"""Double precision for the time of a check, whatever the caller's flag is.

`jax.enable_x64` holds for the calling thread. A callback inside a forward runs on another
one, which sees the flag of the process: only for such a forward that flag is set too, and
set back afterwards.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from fnn.checking.measure.jaxprs import uses


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Double precision on this thread; no alarm for NaN, which some points have on purpose."""
    with jax.enable_x64(True), jax.debug_nans(False), jax.debug_infs(False):
        yield


@contextlib.contextmanager
def double_in_callbacks(program: Any) -> Iterator[None]:
    """Double precision on all threads, if the traced program calls back."""
    if not uses(program.jaxpr, "callback"):
        yield
        return
    with ThreadPoolExecutor(1) as other:
        before = other.submit(jax.config.read, "jax_enable_x64").result()
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
