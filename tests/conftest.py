"""Double precision, no silent promotion: a wrong formula must not hide in rounding.

Tests compile much and compute little, so XLA is told to do that in the shortest way. What
a file has compiled is forgotten after it, as a process may hold only so many programs; on
the disk, in a folder of the run's own, it stays for the files behind it.
"""

import importlib.metadata
import os
import tempfile

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones refuse this flag
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # else a worker, or a folder one has chosen
    programs = tempfile.TemporaryDirectory(prefix="fnn-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_report_header():
    return f"device: {jax.devices()[0].device_kind}"


@pytest.fixture(scope="module", autouse=True)
def compiled():
    yield
    jax.clear_caches()
