"""kfac-jax: its exact products and its Kronecker factors, of the plain net under jax.jit."""

import jax
import jax.numpy as jnp
import kfac_jax  # pyright: ignore[reportMissingImports]

from benchmarks.peers.examples import main
from benchmarks.peers.examples.hand_written import LOSS, built, like, runner
from benchmarks.plain import best, plain, plain_losses


def start(quantity, net, params, x, target, v):
    """A product, or an estimate of the factors from nothing."""
    net, params, names = built(net, params)
    batch, v = (jnp.array(x), jnp.array(target)), like(names, params, v)

    def loss(params, batch):
        x, target = batch
        y = plain(best(net), params, x, None)
        kfac_jax.register_softmax_cross_entropy_loss(y, target)
        return plain_losses(LOSS, y, target).mean()

    if quantity == "kfac":
        return factors(loss, names, params, batch, v)
    exact = kfac_jax.ImplicitExactCurvature(loss)
    product = {"hessian": exact.multiply_hessian, "gauss_newton": exact.multiply_ggn}[quantity]
    return runner(lambda params, batch, v: product((params, batch), v), names, params, batch, v)


def factors(loss, names, params, batch, v):
    """Of the empirical Fisher matrix."""
    blocks = kfac_jax.BlockDiagonalCurvature(loss, default_estimation_mode="fisher_empirical")
    key = jax.random.PRNGKey(0)
    state = blocks.init(
        rng=key, func_args=(params, batch), exact_powers_to_cache=None,
        approx_powers_to_cache=None, cache_eigenvalues=False,
    )  # fmt: skip

    def f(params, batch, state):
        return blocks.update_curvature_matrix_estimate(
            state=state, ema_old=0.0, ema_new=1.0, identity_weight=0.0,
            batch_size=len(batch[1]), rng=key, func_args=(params, batch),
        )  # fmt: skip

    def shown(state):
        return blocks.multiply(
            state=state, parameter_structured_vector=v, identity_weight=0.0,
            exact_power=True, use_cached=False, pmap_axis_name=None,
        )  # fmt: skip

    return runner(f, names, params, batch, state, shown=shown)


if __name__ == "__main__":
    main(start)
