"""Three recurrent layers, the adding problem, and the error signal through time.

The target of the adding problem, Σ m_t v_t, has mean 1 and variance 2/12 = 1/6. The net
reads the last step alone, so that dy is 0 before it. s_t is the final state of a layer that
ends behind step t, ∂L/∂s_t the gradient of the initial state of one that begins there: masks
skip the other steps, and the pass backward returns the state's gradient in dx.state.

Source: Hochreiter & Schmidhuber (1997), Neural Computation 9, section 5.4, the problem with
markers; Le, Jaitly & Hinton (2015), arXiv:1504.00941, section 4.1, its form.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

LOSS = fnn.SquaredError()
VARIANCE = 1 / 6  # the loss of always saying 1
N_HIDDEN = 16
KINDS: dict[str, fnn.Layer[Any, Any]] = {
    "RNN": fnn.RNN(2, N_HIDDEN),
    "LSTM": fnn.LSTM(2, N_HIDDEN),
    "GRU": fnn.GRU(2, N_HIDDEN),
}


def network(name: str) -> fnn.Serial:
    """A recurrent layer, its last step, and one number of it."""
    return fnn.Serial(KINDS[name], fnn.Last(), fnn.Dense(N_HIDDEN, 1))


def adding(rng: np.random.Generator, n: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """n sequences [n, T, 2] and the sums of their two marked values [n, 1]."""
    value, half = rng.random((n, length)), length // 2
    first, second = rng.integers(0, half, n), rng.integers(half, length, n)
    mark = np.zeros((n, length))
    mark[np.arange(n), first] = mark[np.arange(n), second] = 1
    x = np.stack([value, mark], -1)
    return x.astype(np.float32), (value * mark).sum(1, keepdims=True).astype(np.float32)


class Learned(NamedTuple):
    """One kind of layer at one length, for all starts."""

    first: Any  # params before training
    last: Any  # params after it
    losses: Any  # on other sequences after every epoch, [starts, epochs]


def padded(x: np.ndarray, steps: int) -> fnn.Sequence:
    """These sequences at the end of this many steps; the steps before them are skipped."""
    before = steps - x.shape[1]
    mask = jnp.broadcast_to(jnp.arange(steps) >= before, (len(x), steps))
    return fnn.Sequence(jnp.pad(x, ((0, 0), (before, 0), (0, 0))), mask)


@functools.partial(jax.jit, static_argnames=("name", "epochs"))
def learned(name: str, rows: Any, others: Any, keys: Any, epochs: int) -> Learned:
    """Train on `rows` from the initial weights of every key, all at once."""
    net, size = network(name), 32
    first = jax.vmap(net.init)(keys)
    steps = epochs * -(-len(rows[1]) // size)
    adam = fnn.optim.Scheduled(fnn.optim.Adam(0.01), fnn.optim.CosineDecay(0.01, steps))
    plan = fnn.Plan(net, LOSS, fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), adam))
    how: Any = {"epochs": epochs, "batch_size": size, "validation": others}

    def fit(params):
        state, history = fnn.fit(plan, fnn.start(plan, None, params), rows, **how)
        return state.params, history["validation_loss"]

    return Learned(first, *jax.vmap(fit)(first))


class Signal(NamedTuple):
    """The error signal of every sequence on its way back, [sequences, T + 1] for t = 0 ... T."""

    norms: np.ndarray  # ‖∂L/∂s_t‖
    bounds: np.ndarray  # of an RNN: ‖∂L/∂h_T‖ Π s_max(wh) max(1 − h_k²), k = t + 1 ... T

    def share(self) -> np.ndarray:
        """What is left of it after T − t steps back, over all sequences, for T − t = 0 ... T."""
        total = np.linalg.norm(self.norms, axis=0)[::-1]
        return total / total[0]

    def slack(self) -> float:
        """The least bound / ‖∂L/∂s_t‖, over all sequences and t < T."""
        return float((self.bounds / self.norms)[:, :-1].min())


def signal(name: str, params: Any, x: Any, target: Any) -> Signal:
    """Follow ∂L/∂s_t back through every step of these sequences."""
    y, found, d_last = gradients(name, params, x, target)
    squares = sum((np.asarray(d) ** 2).sum(-1) for d in jax.tree.leaves(found))
    top = np.linalg.norm(d_last, axis=-1)
    norms = np.concatenate([np.sqrt(squares).T, top[:, None]], 1)
    bounds = np.full_like(norms, np.inf)
    if name == "RNN":
        largest = np.linalg.norm(np.asarray(params[0].wh), 2)
        rates = largest * (1 - np.asarray(y) ** 2).max(-1)
        factors = np.concatenate([rates, top[:, None]], 1)
        bounds = np.cumprod(factors[:, ::-1], 1)[:, ::-1]
    return Signal(norms, bounds)


@functools.partial(jax.jit, static_argnames="name")
def gradients(name: str, params: Any, x: Any, target: Any) -> tuple[Any, ...]:
    """h_t [B, T, n]; ∂L/∂s_t for t = 0 ... T − 1, [T, B, n] each; ∂L/∂h_T [B, n].

    L is every sequence's own loss: B times what it has in the mean.
    """
    net, layer, steps = network(name), KINDS[name], jnp.arange(x.shape[1])
    run = functools.partial(fnn.fold, net, LOSS, params)

    def begun(t):
        before, behind = (jnp.broadcast_to(part, x.shape[:2]) for part in (steps < t, steps >= t))
        y: Any = layer.forward(params[0], fnn.Sequence(x, before))[0]
        return run(fnn.Sequence(x, behind, (y.state, (), ())), target).dx.state

    found = jax.vmap(begun)(steps), run(x, target, rule=fnn.rules.deltas).result[1]
    return layer.forward(params[0], x)[0], *jax.tree.map(lambda d: len(x) * d, found)
