"""fnn: folds with rules, and products of curvature."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.peers.examples import main, measured
from benchmarks.peers.steps import hand_written
from fnn.kronecker import is_blocks

LOSS = fnn.SoftmaxCrossEntropy()


def built(name, params):
    """Net and params, and their names in the same tree."""
    net, _, arranged = hand_written.built(name, params)
    if name == "gpt":
        names = jax.tree.leaves(hand_written.by_name({k: k for k in params}))
    else:
        names = list(params)
    return net, arranged, names


def named(names, grads):
    """name → gradient."""
    return {k: np.asarray(g) for k, g in zip(names, jax.tree.leaves(grads), strict=True)}


def runner(f, names, *args, shown=None):
    """The function that runs f, compiled, and waits.

    Trees are named when somebody looks, after `shown` made them of what f found.
    """
    program = jax.jit(f).lower(*args).compile()

    def run():
        found = jax.block_until_ready(program(*args))
        return found if isinstance(found, jax.Array) else Named(names, found, shown)

    return measured(run, program)


class Named(dict):
    """Gradients, named once somebody looks."""

    def __init__(self, names, found, shown):
        """Nothing is copied."""
        super().__init__()
        self.names, self.found, self.shown = names, found, shown

    def items(self):
        """(name, array)."""
        return named(self.names, self.shown(self.found) if self.shown else self.found).items()


def start(quantity, net, params, x, target, given):
    """One function of fnn for each quantity."""
    net, params, names = built(net, params)
    x, target = jnp.array(x), jnp.array(target)
    if not isinstance(given, dict):
        return runner(of_examples(quantity, net, given), names, params, x, target)
    v = like(names, params, given)
    if quantity == "kfac":
        run = of_factors(net)
        return runner(run, names, params, x, target, shown=lambda b: multiplied(b, v))
    return runner(of_curvature(quantity, net), names, params, x, target, v)


def like(names, params, given):
    """The tree of params with arrays by name in it."""
    return jax.tree.unflatten(jax.tree.structure(params), [jnp.array(given[k]) for k in names])


def of_examples(quantity, net, max_norm):
    """example_norms, or clipped_grad."""

    def norms(params, x, target):
        done = fnn.fold(net, LOSS, params, x, target, rule=fnn.rules.example_norms)
        return jnp.sqrt(fnn.rules.total(done.result))

    def clipped(params, x, target):
        return fnn.clipped_grad(net, LOSS, params, x, target, max_norm)[1]

    return {"norms": norms, "clipped": clipped}[quantity]


def of_curvature(quantity, net):
    """Products with a direction, and a diagonal."""

    def f(params, x, target, v):
        if quantity == "diagonal":
            return fnn.curvature.gauss_newton_diagonal(net, LOSS, params, x, target)
        product = getattr(fnn.curvature, f"{quantity}_product")
        return product(net, LOSS, params, x, target, v)

    return f


def of_factors(net):
    """Blocks of every layer."""
    return lambda params, x, target: (
        fnn.fold(net, LOSS, params, x, target, rule=fnn.rules.kfac()).result
    )


def multiplied(blocks, v):
    """(A ⊗ G) v, of layers that have no other blocks."""

    def layer(block, v):
        found = {}
        for k in block.kronecker:
            found |= k.arrays(k.rows @ k.matrix(v) @ k.columns)
        return v._replace(**found)

    return jax.tree.map(layer, blocks, v, is_leaf=is_blocks)


if __name__ == "__main__":
    main(start)
