"""What the texts say about memory, at three sizes each: how much there is, and how it grows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.batches import Rows, as_rows
from fnn.judging import evaluated
from fnn.nets.gpt import perceptron
from fnn.train import _step

KEY, LOSS = jax.random.key(0), fnn.SoftmaxCrossEntropy()


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


def numbers(*shape):
    return jax.ShapeDtypeStruct(shape, "int32")


def size(tree):
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def params_of(net):
    return jax.tree.map(lambda p: floats(*p.shape), jax.eval_shape(net.init, KEY))


def cache_of(net, x, key=None):
    return jax.eval_shape(lambda p, x: net.forward(p, x, key=key)[1], params_of(net), x)


def temporary(f, *args):
    return jax.jit(f).lower(*args).compile().memory_analysis().temp_size_in_bytes


def forth_and_back(net, x):
    def run(params, x):
        y, cache = net.forward(params, x)
        return net.backward(params, cache, y)

    return temporary(run, params_of(net), x)


def slopes(f, *sizes):
    """What one more costs, between neighbouring sizes."""
    (a, fa), (b, fb), (c, fc) = ((n, f(n)) for n in sizes)
    return (fb - fa) / (b - a), (fc - fb) / (c - b)


CACHES = [  # the layer, the shape of one example, the bytes of its cache
    (fnn.Identity(), (8,), 0),
    (fnn.Unembed(8, 99), (8,), 0),
    (fnn.Positions(20, 8), (20, 8), 0),
    (fnn.Flatten(), (6, 6, 3), 0),
    (fnn.AvgPool2d(2), (6, 6, 3), 0),
    (fnn.MaxPool2d(2), (6, 6, 3), 3 * 3 * 3),  # a byte for each y
    (fnn.Dropout(0.5), (8,), 8),  # a byte for each x
    (fnn.Tanh(), (8,), 4 * 8),
    (fnn.GELU(), (8,), 4 * 8),
    (fnn.Dense(8, 99), (8,), 4 * 8),
    (fnn.LayerNorm(8), (8,), 4 * (8 + 1)),
    (fnn.GLU(8, 32), (8,), 4 * (8 + 2 * 32)),
    (perceptron(8), (8,), 4 * (8 + 32)),
    (fnn.RNN(8, 16), (20, 8), 4 * 20 * (8 + 2 * 16)),
    (fnn.GRU(8, 16), (20, 8), 4 * 20 * (8 + 5 * 16)),
    (fnn.LSTM(8, 16), (20, 8), 4 * 20 * (8 + 6 * 16)),
    (fnn.Attention(8, 2), (20, 8), 4 * 20 * (5 * 8 + 2)),  # x, q, k, v, o and m: nothing of T²
    (fnn.Attention(8, 2), (320, 8), 4 * 320 * (5 * 8 + 2)),
    (fnn.LinearAttention(8, 2), (20, 8), 4 * (20 * (5 * 8 + 4 * 2) + 32)),  # x, q, k, v, u; S once
    (fnn.Recompute(fnn.LSTM(8, 16)), (20, 8), 4 * 20 * 8),
]


@pytest.mark.parametrize(("net", "shape", "each"), CACHES, ids=str)
def test_a_cache_holds_what_its_class_says(net, shape, each):
    key = KEY if isinstance(net, fnn.Dropout) else None
    for n in (3, 12, 48):
        assert size(cache_of(net, floats(n, *shape), key)) == n * each


BLOCK = fnn.Residual(fnn.Serial(fnn.Dense(16, 64), fnn.GELU(), fnn.Dense(64, 16)))


@pytest.mark.parametrize(
    ("inner", "kept"),
    [
        (fnn.Recompute(BLOCK), 1),
        (perceptron(16), 5),
        (fnn.GLU(16, 64), 9),
        (fnn.Serial(fnn.Dense(16, 64), fnn.Tanh(), fnn.Dense(64, 16), fnn.ReLU()), 5),
        (fnn.Residual(fnn.Serial(fnn.Dense(16, 16), fnn.ReLU(), fnn.Dense(16, 16))), 2),
    ],
)
def test_a_block_more_in_repeat_costs_its_cache(inner, kept):
    x = floats(128, 16)
    for slope in slopes(lambda n: forth_and_back(fnn.Repeat(n, inner), x), 4, 16, 64):
        assert slope <= 1.05 * kept * size(x)


@dataclass(frozen=True)
class Look(fnn.Layer):
    """y = x m, m the memory."""

    sequences = "own"

    def forward(self, params, x, *, key=None):
        return x.with_fields(x=x.x * x.memory), (x.x, x.memory)

    def backward(self, params, cache, dy):
        raise NotImplementedError  # only its cache is looked at


@pytest.mark.parametrize("kind", [fnn.RNN, fnn.LSTM, fnn.GRU])
def test_a_length_that_no_chunk_divides_costs_one_step_more(kind):
    short, prime = (forth_and_back(kind(16, 16), floats(4, t, 16)) for t in (1008, 1021))
    assert prime < 1.4 * short


def test_repeat_holds_the_memory_once():
    x = fnn.Sequence(floats(2, 5, 4), memory=floats(2, 5, 4))
    for n in (4, 16, 64):
        assert size(cache_of(fnn.Repeat(n, Look()), x)) == n * size(x.x) + size(x.memory)


@pytest.mark.parametrize(("kind", "gates"), [(fnn.RNN, 1), (fnn.GRU, 6), (fnn.LSTM, 4)])
def test_da_of_one_chunk_exists_at_a_time(kind, gates):
    net = kind(8, 64)

    def back(t):
        y, cache = jax.eval_shape(net.forward, params_of(net), floats(4, t, 8))
        return temporary(net.backward, params_of(net), cache, y) - size((cache, y))

    for slope in slopes(back, 64, 256, 1024):
        assert slope < 0.5 * size(floats(4, gates * 64))


def test_more_positions_need_no_more_logits():
    loss, found = fnn.LinearSoftmaxCrossEntropy(chunk=64), []
    for n in (512, 2048, 8192):
        given = fnn.logits.Logits(floats(n, 8), floats(8, 1024)), numbers(n)
        _, cache = jax.eval_shape(loss.forward, *given)
        both = temporary(loss.value_and_backward, *given, floats(n))
        forward = temporary(lambda *given: loss.forward(*given)[0], *given)
        found.append((both, forward, temporary(loss.backward, cache, floats(n))))
    for sizes in zip(*found, strict=True):
        assert max(sizes) <= 1.1 * min(sizes)


def fold_of(net, rule, read):
    def run(params, x, target):
        return read(fnn.fold(net, LOSS, params, x, target, rule=rule))

    return run


@pytest.mark.parametrize("n", [32, 128, 512])
def test_example_norms_and_what_nobody_reads_cost_what_a_gradient_costs(n):
    net, rules = fnn.mlp([64, 128, 10]), fnn.rules
    args = params_of(net), floats(n, 64), numbers(n)
    gradient = temporary(fold_of(net, rules.backprop, lambda d: (d.loss, d.result)), *args)
    both = fold_of(net, (rules.backprop, rules.deltas), lambda d: (d.loss, d.result[0]))
    norms = fold_of(net, rules.example_norms, lambda d: rules.total(d.result))
    assert temporary(both, *args) == gradient
    assert temporary(norms, *args) < 1.2 * gradient


def test_the_batch_size_bounds_the_memory_of_evaluate():
    plan = fnn.Plan(fnn.mlp([64, 32, 10]), LOSS, fnn.optim.SGD(0.1))
    state = fnn.start(plan, KEY)

    def evaluate(n):
        rows = as_rows("test", "data", (jnp.ones((n, 64)), jnp.zeros(n, int)))
        return temporary(lambda s, r: evaluated(plan, s, r, None, batch_size=64), state, rows)

    for slope in slopes(evaluate, 1000, 4000, 16000):
        assert slope <= 32  # numbers of rows; a row itself has 512 bytes


def peak_of_a_step(net, optimizer, *, in_backward):
    """What a step needs whose State is donated: arguments, temporaries and what is new."""
    plan = fnn.Plan(net, fnn.SquaredError(), optimizer, in_backward=in_backward)
    state = jax.eval_shape(lambda p: fnn.start(plan, None, p), params_of(net))
    run = jax.jit(lambda *args: _step(plan, *args), donate_argnums=0)
    rows = Rows(floats(4, 128), floats(4, 128), None)
    m = run.lower(state, rows).compile().memory_analysis()
    new = m.output_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes + m.temp_size_in_bytes + new


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "sets"),
    [
        (fnn.optim.SGD(0.1), 1),
        (fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.SGD(0.1)), 1),
        pytest.param(fnn.optim.Adam(), 3, marks=pytest.mark.slow),
        pytest.param(
            fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.AdamW()), 3, marks=pytest.mark.slow
        ),
    ],
    ids=["SGD", "clipped SGD", "Adam", "clipped AdamW"],
)
def test_a_layer_more_that_steps_inside_needs_no_gradient(optimizer, sets):
    def peak(n, *, in_backward):
        net = fnn.Repeat(n, fnn.Serial(fnn.Dense(128, 128), fnn.ReLU()))
        return peak_of_a_step(net, optimizer, in_backward=in_backward)

    one = size(params_of(fnn.Dense(128, 128)))
    inside, behind = (
        slopes(lambda n, i=i: peak(n, in_backward=i), 4, 8, 16) for i in (True, False)
    )
    for with_gradient, without in zip(behind, inside, strict=True):
        assert sets * one <= without <= (sets + 0.2) * one  # the cache and some numbers besides
        assert with_gradient - without >= 0.95 * one


@pytest.mark.slow
def test_two_folds_over_layers_one_by_one_keep_no_gradients():
    net = fnn.Serial(*[f for _ in range(16) for f in (fnn.Dense(128, 128), fnn.ReLU())])
    optimizer = fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.SGD(0.1))
    inside, behind = (peak_of_a_step(net, optimizer, in_backward=i) for i in (True, False))
    assert behind - inside >= 0.8 * size(params_of(net))
