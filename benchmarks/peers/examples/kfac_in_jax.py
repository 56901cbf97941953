"""kfac-jax: its exact products and its Kronecker factors, of a plain net under jax.jit.

Its newest version, 0.0.8, knows jax up to 0.8, and fnn from 0.10 on: nothing of fnn is here.
"""

import jax
import jax.numpy as jnp
import kfac_jax  # pyright: ignore[reportMissingImports]
import optax

from benchmarks.peers.examples import main, measured
from benchmarks.peers.steps.plain_jax import cnn, mlp


def start(quantity, net, params, x, target, v):
    """A product, or an estimate of the factors from nothing."""
    logits = {"mlp": mlp, "cnn": cnn}[net]
    params, v, batch = jax.tree.map(jnp.array, (params, v, (x, target)))

    def loss(params, batch):
        x, target = batch
        y = logits(params, x)
        kfac_jax.register_softmax_cross_entropy_loss(y, target)
        return optax.softmax_cross_entropy_with_integer_labels(y, target).mean()

    if quantity == "kfac":
        return factors(loss, params, batch, v)
    exact = kfac_jax.ImplicitExactCurvature(loss)
    product = {"hessian": exact.multiply_hessian, "gauss_newton": exact.multiply_ggn}[quantity]
    compute = jax.jit(lambda params, batch, v: product((params, batch), v))
    program = compute.lower(params, batch, v).compile()
    return measured(lambda: jax.block_until_ready(program(params, batch, v)), program)


def factors(loss, params, batch, v):
    """Of the empirical Fisher matrix, B times that of kfac-jax, which divides by B twice."""
    blocks = kfac_jax.BlockDiagonalCurvature(loss, default_estimation_mode="fisher_empirical")
    key = jax.random.PRNGKey(0)
    begun = blocks.init(
        rng=key, func_args=(params, batch), exact_powers_to_cache=None,
        approx_powers_to_cache=None, cache_eigenvalues=False,
    )  # fmt: skip

    @jax.jit
    def estimate(params, batch, state):
        return blocks.update_curvature_matrix_estimate(
            state=state, ema_old=0.0, ema_new=1.0, identity_weight=0.0,
            batch_size=len(batch[1]), rng=key, func_args=(params, batch),
        )  # fmt: skip

    def product(state):
        found = blocks.multiply(
            state=state, parameter_structured_vector=v, identity_weight=0.0,
            exact_power=True, use_cached=False, pmap_axis_name=None,
        )  # fmt: skip
        return {k: len(batch[1]) * a for k, a in found.items()}

    program = estimate.lower(params, batch, begun).compile()

    def run():
        return Later(product, jax.block_until_ready(program(params, batch, begun)))

    return measured(run, program)


class Later(dict):
    """The factors times the direction, once somebody looks."""

    def __init__(self, product, state):
        """Nothing is multiplied."""
        super().__init__()
        self.product, self.state = product, state

    def items(self):
        """(name, array)."""
        return self.product(self.state).items()


if __name__ == "__main__":
    main(start)
