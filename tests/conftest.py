"""Double precision, no silent promotion: a wrong formula must not hide in rounding."""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
