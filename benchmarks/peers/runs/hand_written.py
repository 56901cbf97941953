"""fnn.fit: the whole run is one jitted scan."""

import jax

import fnn
from benchmarks.peers.runs import BATCH, HIDDEN, RATE, main


def run(x, target, epochs, seed):
    """One call."""
    net = fnn.mlp([x.shape[1], HIDDEN, 10])
    key, loss = jax.random.key(seed), fnn.SoftmaxCrossEntropy()
    state, _ = fnn.fit(
        net, loss, fnn.optim.Adam(RATE), net.init(key), (x, target),
        epochs=epochs, batch_size=BATCH, key=key,
    )  # fmt: skip
    jax.block_until_ready(state.params)
    return lambda: float(fnn.accuracy(net.forward(state.params, x)[0], target).mean())


if __name__ == "__main__":
    main([run])
