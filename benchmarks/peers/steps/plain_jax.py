"""jax.value_and_grad and optax: functions of a dictionary of arrays."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from benchmarks.peers.steps import EPS, OUTSIDE, RATE, SURE, blocks, halved, heads, main

OPTIMIZER = optax.adam(RATE)


def norm(x, scale, b):
    """LayerNorm."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + EPS) * scale + b


def attention(p, x):
    """Causal."""
    shape = *x.shape[:2], heads(x.shape[2]), -1
    q, k, v = ((x @ p[w]).reshape(shape) for w in ("wq", "wk", "wv"))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=fastest(q))
    return y.reshape(x.shape) @ p["wo"]


def fastest(q: jax.Array) -> Literal["cudnn"] | None:
    """What jax.nn is to use: cuDNN's kernel on a GPU, for heads that it takes."""
    takes = q.dtype.itemsize == 2 and q.shape[-1] % 8 == 0
    return "cudnn" if jax.default_backend() == "gpu" and takes else None


def gpt(p, x):
    """Logits of the next byte."""
    y = p["table"][x] + p["positions"][: x.shape[1]]
    for q in p["blocks"]:
        y = y + attention(q, norm(y, q["scale1"], q["b1"]))
        z = norm(y, q["scale2"], q["b2"]) @ q["w_up"] + q["b_up"]
        y = y + jax.nn.gelu(z) @ q["w_down"] + q["b_down"]
    return norm(y, p["scale"], p["b"]) @ p["w"]


def lstm(p, x):
    """Logits at every step."""

    def cell(state, x):
        h, c = state
        z = x @ p["wx"] + h @ p["wh"] + p["b"]
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((len(x), p["wh"].shape[0]), x.dtype)
    _, y = jax.lax.scan(cell, (zero, zero), x.swapaxes(0, 1))
    return y.swapaxes(0, 1) @ p["w"] + p["b_out"]


def convolution(x, w, b):
    """3×3, the size kept."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers) + b


def cnn(p, x):
    """Logits."""
    y = jax.nn.relu(convolution(x, p["w1"], p["b1"]))
    y = jax.nn.relu(convolution(y, p["w2"], p["b2"]))
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = jax.nn.relu(y.reshape(len(y), -1) @ p["w3"] + p["b3"])
    return y @ p["w4"] + p["b4"]


def mlp(p, x):
    """Logits."""
    y = jax.nn.relu(x @ p["w1"] + p["b1"])
    y = jax.nn.relu(y @ p["w2"] + p["b2"])
    return y @ p["w3"] + p["b3"]


def mean_loss(logits, params, x, target):
    """Softmax cross-entropy."""
    y = logits(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(y, target).mean()


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def update(logits, params, state, x, target):
    """One step."""
    loss, grads = jax.value_and_grad(mean_loss, argnums=1)(logits, params, x, target)
    updates, state = OPTIMIZER.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


def built(net, params):
    """The logits and the params of a net."""
    net, half = halved(net)
    if net == "gpt":
        params = {name: params[name] for name in OUTSIDE} | {"blocks": blocks(params)}
    logits = {"gpt": gpt, "lstm": lstm, "cnn": cnn, "mlp": mlp}[net]
    return in_half(logits) if half else logits, jax.tree.map(jnp.array, params)


def in_half(logits):
    """The same in bfloat16, of params and x that are cast."""

    def f(params, x):
        params, x = jax.tree.map(
            lambda a: a.astype("bfloat16") if a.dtype == "float32" else a, (params, x)
        )
        return logits(params, x).astype("float32")

    return f


@functools.partial(jax.jit, static_argnames="n")
def written(params, x, n):
    """The mean of the n likeliest bytes; the whole context runs for each."""
    length = x.shape[1]

    def write(i, x):
        z = gpt(params, x)[:, i - 1]
        return x.at[:, i].set(z.argmax(-1).astype(x.dtype))

    x = jax.lax.fori_loop(length, length + n, write, jnp.pad(x, ((0, 0), (0, n))))
    return x[:, length : length + SURE].mean()


def start(net, params, x, target):
    """The step of a net."""
    if net == "writing":
        _, params = built("gpt", params)
        return lambda: written(params, jnp.array(x), target.shape[1])
    logits, params = built(net, params)
    x, target = jnp.array(x), jnp.array(target)
    state = OPTIMIZER.init(params)

    def step():
        nonlocal params, state
        params, state, loss = update(logits, params, state, x, target)
        return loss

    return step


if __name__ == "__main__":
    main(start)
