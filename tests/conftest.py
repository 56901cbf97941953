"""Double precision, no silent promotion: a wrong formula must not hide in rounding.

Tests compile much and compute little, so XLA is told not to optimise.
"""

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
