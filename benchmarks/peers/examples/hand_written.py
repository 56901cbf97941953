"""fnn: one forward and one fold."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.peers.examples import main
from benchmarks.peers.steps import hand_written

LOSS = fnn.SoftmaxCrossEntropy()


def built(name, params):
    """Net and params, and their names in the same tree."""
    if name != "mlp":
        net, _, arranged = hand_written.built(name, params)
    else:
        sizes = [len(params["w1"]), *(len(params[f"b{i}"]) for i in (1, 2, 3))]
        net = fnn.mlp(sizes)
        own = jax.tree.structure(jax.eval_shape(net.init, jax.random.key(0)))
        arranged = jax.tree.map(jnp.array, own.unflatten(params.values()))
    if name == "gpt":
        names = jax.tree.leaves(hand_written.by_name({k: k for k in params}))
    else:
        names = list(params)
    return net, arranged, names


def named(names, grads):
    """name → gradient."""
    return {k: np.asarray(g) for k, g in zip(names, jax.tree.leaves(grads), strict=True)}


def runner(f, names, *args):
    """The function that runs f, compiled, and waits; what names are for only when asked."""
    program = jax.jit(f).lower(*args).compile()

    def run():
        found = jax.block_until_ready(program(*args))
        return found if isinstance(found, jax.Array) else Named(names, found)

    return run


class Named(dict):
    """Gradients, named once somebody looks."""

    def __init__(self, names, grads):
        """Nothing is copied."""
        super().__init__()
        self.names, self.grads = names, grads

    def items(self):
        """(name, array)."""
        return named(self.names, self.grads).items()


def start(quantity, net, params, x, target, max_norm):
    """example_norms, or clipped_grad."""
    net, params, names = built(net, params)

    def norms(params, x, target):
        done = fnn.fold(net, LOSS, params, x, target, rule=fnn.rules.example_norms)
        return jnp.sqrt(fnn.rules.total(done.result))

    def clipped(params, x, target):
        return fnn.clipped_grad(net, LOSS, params, x, target, max_norm)[1]

    f = {"norms": norms, "clipped": clipped}[quantity]
    return runner(f, names, params, jnp.array(x), jnp.array(target))


if __name__ == "__main__":
    main(start)
