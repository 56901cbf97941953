"""fnn.step in a jitted function that gives the old State's memory to the new one."""

from functools import partial

import jax
import jax.numpy as jnp

import fnn
from benchmarks.peers.steps import RATE, SURE, halved, heads, main


def gpt(p):
    """The net and the loss: the next byte."""
    (n_vocab, n), n_context, n_layers = p["table"].shape, len(p["positions"]), len(p["wq"])
    net = fnn.gpt(n_vocab, n, heads(n), n_layers, n_context)
    return net, fnn.LinearSoftmaxCrossEntropy()


def lstm(p):
    """The net and the loss: a class at every step."""
    (n_in, _), (n_hidden, n_out) = p["wx"].shape, p["w"].shape
    return fnn.Serial(fnn.LSTM(n_in, n_hidden), fnn.Dense(n_hidden, n_out)), CROSS_ENTROPY


def cnn(p):
    """The net and the loss: a class."""
    net = fnn.Serial(
        convolution(p["w1"]), fnn.ReLU(), convolution(p["w2"]), fnn.ReLU(),
        fnn.MaxPool2d(2), fnn.Flatten(),
        fnn.Dense(*p["w3"].shape), fnn.ReLU(), fnn.Dense(*p["w4"].shape),
    )  # fmt: skip
    return net, CROSS_ENTROPY


def mlp(p):
    """The net and the loss: a class."""
    return fnn.mlp([len(p["w1"]), *(len(p[f"b{i}"]) for i in (1, 2, 3))]), CROSS_ENTROPY


CROSS_ENTROPY = fnn.SoftmaxCrossEntropy()


def convolution(w):
    """3×3, the size kept."""
    _, _, n_in, n_out = w.shape
    return fnn.Conv2d(n_in, n_out, 3, padding="same")


def by_name(p):
    """The arrays of gpt under the names of its layers."""
    return {
        "embed": fnn.EmbeddingParams(p["table"]),
        "positions": fnn.EmbeddingParams(p["positions"]),
        "blocks": {
            "attention_norm": fnn.AffineParams(p["scale1"], p["b1"]),
            "attention": fnn.AttentionParams(*(p[f"w{a}"] for a in "qkvo")),
            "feed_forward_norm": fnn.AffineParams(p["scale2"], p["b2"]),
            "feed_forward": {
                "up": fnn.DenseParams(p["w_up"], p["b_up"]),
                "down": {"dense": fnn.DenseParams(p["w_down"], p["b_down"])},
            },
        },
        "norm": fnn.AffineParams(p["scale"], p["b"]),
        "head": fnn.UnembedParams(p["w"]),
    }


def built(name, params):
    """Net, loss, params: without names the arrays come in the order of the net's."""
    name, half = halved(name)
    net, loss = {"gpt": gpt, "lstm": lstm, "cnn": cnn, "mlp": mlp}[name](params)
    own = jax.tree.structure(jax.eval_shape(net.init, jax.random.key(0)))
    arranged = by_name(params) if name == "gpt" else own.unflatten(params.values())
    return fnn.Cast(net, "bfloat16") if half else net, loss, jax.tree.map(jnp.array, arranged)


def writer(params, x, target):
    """The function that writes the likeliest bytes, and gives their mean."""
    net, _, params = built("gpt", params)
    x = jnp.array(x)
    return lambda: fnn.generate(net, params, x, target.shape[1], temperature=0.0)[:, :SURE].mean()


def start(net, params, x, target):
    """The step of a net."""
    if net == "writing":
        return writer(params, x, target)
    net, loss, params = built(net, params)
    plan, batch = fnn.Plan(net, loss, fnn.optim.Adam(RATE)), (jnp.array(x), jnp.array(target))
    state = fnn.start(plan, None, params)

    @partial(jax.jit, donate_argnums=0)
    def update(state, batch):
        return fnn.step(plan, state, batch)

    def step():
        nonlocal state
        state, row = update(state, batch)
        return row["loss"]

    return step


if __name__ == "__main__":
    main(start)
