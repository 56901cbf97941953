"""Double precision, no silent promotion: a wrong formula must not hide in rounding.

Tests compile much and compute little, so XLA is told to do that in the shortest way. What
a file has compiled is forgotten after it: a process may hold only so many programs.
"""

import importlib.metadata
import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones refuse this flag
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    yield
    jax.clear_caches()
