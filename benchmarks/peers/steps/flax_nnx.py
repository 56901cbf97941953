"""Flax NNX and optax, through nnx.split and nnx.merge: nnx.jit costs more per call."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx  # pyright: ignore[reportMissingImports]

from benchmarks.peers.steps import EPS, RATE, blocks, heads, main

RNGS = nnx.Rngs(0)


class Block(nnx.Module):
    """Attention and MLP, each behind a LayerNorm."""

    def __init__(self, p):
        """From the arrays of one block."""
        n = len(p["scale1"])
        self.norm1, self.norm2 = norm(p["scale1"], p["b1"]), norm(p["scale2"], p["b2"])
        self.attention = nnx.MultiHeadAttention(
            heads(n), n, use_bias=False, decode=False, rngs=RNGS
        )
        for name in ("query", "key", "value"):
            kernel = p[f"w{name[0]}"].reshape(n, heads(n), -1)
            getattr(self.attention, name).kernel[...] = kernel
        self.attention.out.kernel[...] = p["wo"].reshape(heads(n), -1, n)
        self.up, self.down = linear(p["w_up"], p["b_up"]), linear(p["w_down"], p["b_down"])

    def __call__(self, x):
        """Two residual sums."""
        x = x + self.attention(self.norm1(x), is_causal=True)
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class GPT(nnx.Module):
    """Logits of the next byte."""

    def __init__(self, p):
        """From the arrays of the net."""
        self.table = nnx.Embed(*p["table"].shape, rngs=RNGS)
        self.table.embedding[...] = p["table"]
        self.positions = nnx.Param(jnp.array(p["positions"]))
        self.blocks = nnx.List(map(Block, blocks(p)))
        self.norm, self.head = norm(p["scale"], p["b"]), linear(p["w"])

    def __call__(self, x):
        """All positions at once."""
        y = self.table(x) + self.positions
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y))


class LSTM(nnx.Module):
    """Logits at every step."""

    def __init__(self, p):
        """From the arrays of the net."""
        cell: Any = nnx.OptimizedLSTMCell(len(p["wx"]), len(p["wh"]), rngs=RNGS)
        cell.dense_i.kernel[...], cell.dense_h.kernel[...] = p["wx"], p["wh"]
        cell.dense_h.bias[...] = p["b"]
        self.lstm: Any = nnx.RNN(cell, rngs=RNGS)
        self.out = linear(p["w"], p["b_out"])

    def __call__(self, x):
        """All steps at once."""
        return self.out(self.lstm(x))


class CNN(nnx.Module):
    """Logits."""

    def __init__(self, p):
        """From the arrays of the net."""
        self.conv1, self.conv2 = convolution(p["w1"], p["b1"]), convolution(p["w2"], p["b2"])
        self.hidden, self.out = linear(p["w3"], p["b3"]), linear(p["w4"], p["b4"])

    def __call__(self, x):
        """All images at once."""
        y = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        y = nnx.max_pool(y, (2, 2), (2, 2))
        return self.out(nnx.relu(self.hidden(y.reshape(len(y), -1))))


def filled(module, w, b):
    """The module with these arrays for its own."""
    module.kernel[...] = w
    if b is not None:
        module.bias[...] = b
    return module


def linear(w, b=None):
    """A Linear with these weights."""
    return filled(nnx.Linear(*w.shape, use_bias=b is not None, rngs=RNGS), w, b)


def norm(scale, b):
    """LayerNorm."""
    module: Any = nnx.LayerNorm(len(scale), epsilon=EPS, rngs=RNGS)
    module.scale[...], module.bias[...] = scale, b
    return module


def convolution(w, b):
    """3×3, the size kept."""
    _, _, n_in, n_out = w.shape
    return filled(nnx.Conv(n_in, n_out, (3, 3), padding="SAME", rngs=RNGS), w, b)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def update(definition, state, x, target):
    """One step."""
    model, optimizer = nnx.merge(definition, state)

    def value(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), target).mean()

    loss, grads = nnx.value_and_grad(value)(model)
    optimizer.update(model, grads)
    return nnx.state((model, optimizer)), loss


def start(net, params, x, target):
    """The step of a net."""
    model = {"gpt": GPT, "lstm": LSTM, "cnn": CNN}[net](params)
    optimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)
    definition, state = nnx.split((model, optimizer))
    x, target = jnp.array(x), jnp.array(target)

    def step():
        nonlocal state
        state, loss = update(definition, state, x, target)
        return loss

    return step


if __name__ == "__main__":
    main(start)
