"""The cases, a module or more for each package; each has cases() → a list."""

PACKAGES = {
    "jax": ("jax_nn", "jax_special", "jax_linalg", "jax_lax"),
    "optax": ("optax_cases",),
    "jaxopt": ("jaxopt_cases",),
    "ott-jax": ("ott_cases",),
    "numpyro": ("numpyro_cases",),
    "tensorflow-probability": ("tfp_special", "tfp_cases"),
    "distrax": ("distrax_cases",),
    "rlax": ("rlax_cases",),
    "kfac-jax": ("kfac_cases",),
    "lineax": ("lineax_cases",),
    "optimistix": ("optimistix_cases",),
    "diffrax": ("diffrax_cases",),
    "equinox": ("equinox_cases",),
    "flax": ("flax_cases",),
    "tokamax": ("tokamax_cases",),
}
