"""fnn.fit: the whole run is one jitted scan."""

import jax

import fnn
from benchmarks.peers.runs import BATCH, HIDDEN, RATE, main


def run(x, target, epochs, seed):
    """One call."""
    net = fnn.mlp([x.shape[1], HIDDEN, 10])
    plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(RATE))
    state = fnn.start(plan, jax.random.key(seed))
    state, _ = fnn.fit(plan, state, (x, target), epochs=epochs, batch_size=BATCH)
    jax.block_until_ready(state.params)
    return lambda: float(fnn.accuracy(net.forward(state.params, x)[0], target).mean())


if __name__ == "__main__":
    main([run])
