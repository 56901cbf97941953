"""Equinox and optax: a layer sees one example, jax.vmap the batch."""

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import optax

from benchmarks.peers.steps import RATE, blocks, heads, main

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(RATE)


class Block(eqx.Module):
    """Attention and MLP, each behind a LayerNorm."""

    norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm2: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, p):
        """From the arrays of one block."""
        self.norm1, self.norm2 = norm(p["scale1"], p["b1"]), norm(p["scale2"], p["b2"])
        n = len(p["scale1"])
        attention = eqx.nn.MultiheadAttention(heads(n), n, key=KEY)
        names = "query_proj", "key_proj", "value_proj", "output_proj"
        weights = [p[w].T for w in ("wq", "wk", "wv", "wo")]
        self.attention = filled(attention, lambda a: [getattr(a, n).weight for n in names], weights)
        self.up, self.down = linear(p["w_up"], p["b_up"]), linear(p["w_down"], p["b_down"])

    def __call__(self, x):
        """Two residual sums."""
        y, mask = jax.vmap(self.norm1)(x), jnp.tri(len(x), dtype=bool)
        x = x + self.attention(y, y, y, mask)
        y = jax.vmap(self.up)(jax.vmap(self.norm2)(x))
        return x + jax.vmap(self.down)(jax.nn.gelu(y))


class GPT(eqx.Module):
    """Logits of the next byte."""

    table: eqx.nn.Embedding
    positions: jax.Array
    blocks: list[Block]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, p):
        """From the arrays of the net."""
        self.table = eqx.nn.Embedding(weight=jnp.array(p["table"]))
        self.positions = jnp.array(p["positions"])
        self.blocks = list(map(Block, blocks(p)))
        self.norm, self.head = norm(p["scale"], p["b"]), linear(p["w"])

    def __call__(self, x):
        """All positions at once."""
        y = jax.vmap(self.table)(x) + self.positions
        for block in self.blocks:
            y = block(y)
        return jax.vmap(self.head)(jax.vmap(self.norm)(y))


class LSTM(eqx.Module):
    """Logits at every step."""

    cell: eqx.nn.LSTMCell
    out: eqx.nn.Linear

    def __init__(self, p):
        """From the arrays of the net."""
        cell = eqx.nn.LSTMCell(len(p["wx"]), len(p["wh"]), key=KEY)
        own = [p["wx"].T, p["wh"].T, p["b"]]
        self.cell = filled(cell, lambda c: [c.weight_ih, c.weight_hh, c.bias], own)
        self.out = linear(p["w"], p["b_out"])

    def __call__(self, x):
        """A scan over the steps."""

        def step(state, x):
            state = self.cell(x, state)
            return state, state[0]

        zero = jnp.zeros(self.cell.hidden_size)
        _, y = jax.lax.scan(step, (zero, zero), x)
        return jax.vmap(self.out)(y)


def cnn(p):
    """Logits; images and weights with the channels first."""
    side = int((len(p["w3"]) / len(p["b2"])) ** 0.5)
    w3 = p["w3"].reshape(side, side, len(p["b2"]), -1).transpose(2, 0, 1, 3)
    relu, flat = eqx.nn.Lambda(jax.nn.relu), eqx.nn.Lambda(jnp.ravel)
    return eqx.nn.Sequential([
        convolution(p["w1"], p["b1"]), relu, convolution(p["w2"], p["b2"]), relu,
        eqx.nn.MaxPool2d(2, 2), flat,
        linear(w3.reshape(p["w3"].shape), p["b3"]), relu, linear(p["w4"], p["b4"]),
    ])  # fmt: skip


def filled(module, where, arrays):
    """The module with these arrays for its own."""
    return eqx.tree_at(where, module, list(map(jnp.array, arrays)))


def weighted(module, w, b):
    """The module with this weight and, if it has one, this bias."""
    if b is None:
        return filled(module, lambda m: [m.weight], [w])
    return filled(module, lambda m: [m.weight, m.bias], [w, b])


def linear(w, b=None):
    """Equinox keeps the transposed w."""
    return weighted(eqx.nn.Linear(*w.shape, use_bias=b is not None, key=KEY), w.T, b)


def norm(scale, b):
    """LayerNorm."""
    return weighted(eqx.nn.LayerNorm(len(scale)), scale, b)


def convolution(w, b):
    """3×3, the size kept."""
    _, _, n_in, n_out = w.shape
    module = eqx.nn.Conv2d(n_in, n_out, 3, padding="SAME", key=KEY)
    return weighted(module, w.transpose(3, 2, 0, 1), b[:, None, None])


@eqx.filter_jit(donate="all-except-first")
def update(batch, model, state):
    """One step."""
    x, target = batch

    def value(model):
        y = jax.vmap(model)(x)
        return optax.softmax_cross_entropy_with_integer_labels(y, target).mean()

    loss, grads = eqx.filter_value_and_grad(value)(model)
    updates, state = OPTIMIZER.update(grads, state, model)
    return eqx.apply_updates(model, updates), state, loss


def start(net, params, x, target):
    """The step of a net."""
    model = {"gpt": GPT, "lstm": LSTM, "cnn": cnn}[net](params)
    batch = jnp.array(x.transpose(0, 3, 1, 2) if net == "cnn" else x), jnp.array(target)
    state = OPTIMIZER.init(eqx.filter(model, eqx.is_array))

    def step():
        nonlocal model, state
        model, state, loss = update(batch, model, state)
        return loss

    return step


if __name__ == "__main__":
    main(start)
