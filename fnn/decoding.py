"""Decoding: a net that predicts the next token writes them, one after another.

    z_t, state = net(token_{t−1}, state)        p = softmax(z_t / temperature)
    token_t ~ p, of the largest top_k alone, of the fewest largest whose p sum up to top_p alone

Every step looks at one token; what the net needs of those before is in the state (KV cache of
attention, h of recurrent layers, places of positions). The prompt but for its last token goes
through the net at once, for the state alone: its logits are never formed. An encoder reads its
source once. At a temperature of 0 the largest z is taken, the first of equals.

Source: Fan, Lewis & Dauphin (2018), arXiv:1805.04833, section 4.1, for top-k; Holtzman et al.
(2020), arXiv:1904.09751, section 3.1, for top-p.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.arrays import as_input, check_arrays
from fnn.batches import count
from fnn.composite import Composite, empty
from fnn.errors import at, check_key, check_one
from fnn.evaluation import inference
from fnn.layer import Layer, check_layer_type
from fnn.layers.cast import Cast
from fnn.layers.encoder_decoder import EncoderDecoder
from fnn.layers.recompute import Recompute
from fnn.logits import whole
from fnn.numerics import cast, concrete, wide
from fnn.records import Array, Key, PyTree, integer
from fnn.sequence import Sequence, as_sequence, renewed, value


def generate(
    net: Layer[Any, Any],
    params: PyTree,
    prompt: Array | Sequence,
    n: int,
    key: Key | None = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
) -> Array:
    """The n tokens that the net writes behind every prompt, [B, n] int32; jitted.

    The net is the trained one, tokens [B, T] → logits [B, T, V], no position of which sees a
    later one; its inference(net, params) runs. Other lengths of prompts compile again, other
    numbers do not. Where the largest logit is not finite, or a number out of range that only a run
    knows, the token is −1.

    Args:
        net: such as gpt, or a Serial of Embedding, recurrent layers and Dense.
        params: of the net.
        prompt: tokens [B, T], T at least 1; a Sequence whose mask leaves out what is padding, in
            front or behind, for prompts of different length; for an EncoderDecoder the
            token that begins a target, with the source as its memory.
        n: how many tokens to write, at least 1.
        key: to draw them; only a temperature of 0 needs none.
        temperature: above 1 flatter, below 1 sharper; 0: always the largest.
        top_k: how many of the largest to choose from; None: all.
        top_p: the share of p to choose from, the largest first; None: all.
        stop: the token behind which a sequence holds only that token.

    Raises:
        ValueError: for a prompt without a token, T + n − 1 above the net's n_context, a net that
            sees later steps, temperature, top_k or top_p out of range, and without a key.
        TypeError: for what is not a net, an array of integers, or a number of its kind.
    """
    check_layer_type("generate", net)
    check_arrays("generate", params)
    x = check_prompt(as_sequence(as_input("generate", prompt)))
    n, most = count("generate: n", n), None if top_k is None else count("generate: top_k", top_k)
    check_one("generate", "temperature", temperature, 0)
    if top_p is not None:
        check_one("generate", "top_p", top_p, 0, 1, open_low=True, closed_high=True)
    if key is None:
        known = concrete(temperature)
        if known is None or known != 0:
            raise ValueError(
                "generate: draws at random; pass key=jax.random.key(0), or temperature=0."
            )
        key = jax.random.key(0)
    check_key("generate", key)
    stop = None if stop is None else jnp.int32(integer("generate: stop", stop))
    x = x.with_fields(x=x.x.astype(jnp.int32))
    with at("generate"):
        return _generate(net, params, x, key, temperature, top_p, stop, n=n, top_k=most)


def check_prompt(x: Sequence) -> Sequence:
    """The prompt, after its checks: integers [B, T], a token in every row, no state."""
    kind = getattr(x.x, "dtype", None)
    if kind is None or not jnp.issubdtype(kind, jnp.integer):
        raise TypeError(f"generate: prompt must be an array of integers, got {kind or type(x.x)}.")
    if x.x.ndim != 2 or not x.x.shape[1]:
        hint = "; one prompt is prompt[None]" if x.x.ndim == 1 else ""
        raise ValueError(
            f"generate: prompt must have shape [B, T], T at least 1, got {list(x.x.shape)}{hint}."
        )
    if jax.tree.leaves(x.state) or x.pairs is not None:
        raise ValueError("generate: prompt must have no state and no pairs.")
    known = None if x.mask is None else concrete(x.mask)
    if known is not None and not known.any(1).all():
        row = int(np.argmin(known.any(1)))
        raise ValueError(
            f"generate: the mask must leave a token to every prompt, row {row} has none."
        )
    return x


@functools.partial(jax.jit, static_argnames=("n", "top_k"))
def _generate(net, params, x, key, temperature, top_p, stop, *, n, top_k):
    """The prompt for its state, then token by token until all rows have stopped."""
    net, params, x = decoder(*inference(net, params), x)
    x, capacity = to_the_right(x), x.x.shape[1] + n - 1
    check_length(net, params, x, capacity)
    state = net.zero_state(params, len(x.x), capacity)
    x = x.with_fields(state=None if empty(state) else state)
    tokens, mask = x.x, x.mask
    if tokens.shape[1] > 1:
        before = None if mask is None else mask[:, :-1]
        y, _ = net.forward(params, x.with_fields(x=tokens[:, :-1], mask=before))
        x = x.with_fields(state=y.state)

    def writes(carry):
        i, _, _, _, stopped = carry
        return (i < n) & ~stopped.all()

    def step(carry):
        i, token, state, written, stopped = carry
        y, _ = net.forward(params, x.with_fields(x=token[:, None], mask=None, state=state))
        token = drawn(last_logits(y), jax.random.fold_in(key, i), temperature, top_k, top_p)
        if stop is not None:
            token = jnp.where(stopped, stop, token)
            stopped = token == stop
        return i + 1, token, y.state, written.at[:, i].set(token), stopped

    written = jnp.full((len(tokens), n), 0 if stop is None else stop, tokens.dtype)
    stopped = jnp.zeros(len(tokens), bool)
    start = jnp.zeros((), jnp.int32), tokens[:, -1], x.state, written, stopped
    return jax.lax.while_loop(writes, step, start)[3]


@functools.singledispatch
def decoder(net, params, x):
    """(net′, params′, x′): what writes; what runs once for all tokens has run."""
    return net, params, x


@decoder.register(Composite)
def _(net, params, x):
    """The net itself, if no EncoderDecoder is inside, whose encoder would run for every token."""
    if any(isinstance(f, EncoderDecoder) for f in inside(net)):
        raise ValueError(
            f"generate: {type(net).__name__} has an EncoderDecoder inside; that must be the net "
            "itself, or the inner layer of Cast or Recompute."
        )
    return net, params, x


@decoder.register(Recompute)
def _(net, params, x):
    """That of the inner layer: nothing goes back."""
    return decoder(net.inner, params, x)


@decoder.register(Cast)
def _(net, params, x):
    """That of the inner layer, in its dtype."""
    if not any(isinstance(f, EncoderDecoder) for f in inside(net)):
        return net, params, x
    return decoder(net.inner, cast(params, net.dtype), cast(x, net.dtype))


def inside(net: Layer[Any, Any]) -> Iterator[Layer[Any, Any]]:
    """All layers in a composite, however deep."""
    for layer in net.children.values() if isinstance(net, Composite) else ():
        yield layer
        yield from inside(layer)


@decoder.register(EncoderDecoder)
def _(net, params, x):
    """The decoder, with z = encoder(source) for its memory."""
    net.check_input(x)
    z, _ = net["encoder"].forward(params["encoder"], x.memory)
    return net["decoder"], params["decoder"], x.with_fields(memory=renewed(z, state=None))


def to_the_right(x: Sequence) -> Sequence:
    """The prompt with its padding in front: every row ends in a token, or is none at all, −1."""
    if x.mask is None:
        return x
    order = jnp.argsort(x.mask, 1, stable=True)
    tokens, mask = (jnp.take_along_axis(a, order, 1) for a in (x.x, x.mask))
    return x.with_fields(x=jnp.where(mask[:, -1:], tokens, -1), mask=mask)


def check_length(net: Layer[Any, Any], params: PyTree, x: Sequence, length: int) -> None:
    """Raise unless the net takes as many tokens, and makes logits of every one."""
    tokens = jnp.zeros((len(x.x), length), x.x.dtype)
    x = x.with_fields(x=tokens, mask=None, state=None)
    y = jax.eval_shape(lambda params, x: net.forward(params, x)[0], params, x)
    shape = tuple(getattr(value(y), "shape", ()))
    if not isinstance(y, Sequence) or len(shape) != 3 or shape[:2] != tokens.shape:
        raise ValueError(
            f"generate: the net must make logits [B, T, V] of tokens [B, T] in a Sequence, "
            f"of {list(tokens.shape)} it makes {list(shape)}."
        )


def last_logits(y: Any) -> Array:
    """z [B, V] of the last step, in at least float32."""
    z = whole(renewed(y, state=None).x)[:, -1]
    return z.astype(wide(z.dtype))


def drawn(z: Array, key: Key, temperature: Any, top_k: int | None, top_p: Any) -> Array:
    """A token for every row of z [B, V]; −1 where its largest is not finite."""
    t = jnp.asarray(temperature, z.dtype)
    largest, broken = z.argmax(-1), ~(jnp.isfinite(z.max(-1)) & (t >= 0))
    cold = t < float(jnp.finfo(z.dtype).tiny)
    numbers = None
    if top_k is not None or top_p is not None:
        z, numbers = jax.lax.top_k(z, min(top_k or z.shape[-1], z.shape[-1]))
    u = (z - z.max(-1, keepdims=True)) / jnp.where(cold, 1, t)
    if top_p is not None:
        p = jax.nn.softmax(u, -1)
        broken |= ~((jnp.asarray(top_p) > 0) & (jnp.asarray(top_p) <= 1))
        u = jnp.where(jnp.cumsum(p, -1) - p < jnp.asarray(top_p, p.dtype), u, -jnp.inf)
    found = jax.random.categorical(key, u)
    if numbers is not None:
        found = jnp.take_along_axis(numbers, found[:, None], 1)[:, 0].astype(found.dtype)
    return jnp.where(broken, -1, jnp.where(cold, largest, found)).astype(jnp.int32)
