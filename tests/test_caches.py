"""Tests of fnn.caches."""

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.caches import kept, savings

KEY = jax.random.key(0)


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


def numbers(*shape):
    return jax.ShapeDtypeStruct(shape, "int32")


def params_of(net):
    return jax.tree.map(lambda p: floats(*p.shape), jax.eval_shape(net.init, KEY))


def found(net, x):
    return kept(net, params_of(net), x)


def test_a_buffer_that_two_layers_keep_counts_for_the_first():
    net = fnn.Serial(fnn.Dense(3, 5), fnn.ReLU(), fnn.Dense(5, 4), fnn.GELU(), fnn.Dense(4, 2))
    n, f = 7, 4
    assert found(net, floats(n, 3)) == ({
        (0,): 0,  # x itself
        (1,): n * 5 * f,
        (2,): 0,  # what the ReLU made
        (3,): n * 4 * f,  # its x
        (4,): n * 4 * f,
    }, {}, 0)  # fmt: skip


def test_under_repeat_a_layer_keeps_what_all_copies_keep():
    block = fnn.Serial(up=fnn.Dense(4, 6), act=fnn.Tanh(), down=fnn.Dense(6, 4))
    now = found(fnn.Repeat(5, fnn.Residual(block)), floats(7, 4))
    assert now.leaves == {("up",): 5 * 7 * 4 * 4, ("act",): 5 * 7 * 6 * 4, ("down",): 0}
    assert now.total == now.under(()) == 5 * 7 * 10 * 4


def test_what_repeat_and_recompute_keep_is_theirs():
    relu = fnn.Repeat(5, fnn.Serial(fnn.Dense(4, 4), fnn.ReLU()))
    now = found(relu, floats(7, 4))
    assert now.leaves == {(0,): 5 * 7 * 4 * 4, (1,): 0}  # y of a copy is x of the next
    assert now.routes == {((), "Repeat"): 7 * 4 * 4}  # and y of the last
    again = fnn.Serial(first=fnn.Tanh(), second=fnn.Recompute(fnn.Serial(fnn.GELU(), fnn.GELU())))
    now = found(again, floats(7, 4))
    key = jax.random.key_data(KEY).nbytes
    assert now.leaves == {("first",): 7 * 4 * 4, ("second", 0): 0, ("second", 1): 0}
    assert now.routes == {(("second",), "Recompute"): key}  # its x is what tanh keeps


def test_what_other_composites_keep_is_the_rest():
    now = found(fnn.Bidirectional.of(fnn.RNN(3, 5)), floats(2, 7, 3))
    assert now.rest == 0
    assert now.leaves[("ahead",)] == 2 * 7 * (5 + 5) * 4  # h and y, not x
    assert now.leaves[("behind",)] == 2 * 7 * (3 + 5 + 5) * 4  # x turned round is another array


def bare(net, x):
    """The bytes of all different arrays in the cache of the net, less x and params."""
    sizes = []

    def size(a):
        is_key = jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(a).nbytes if is_key else a.nbytes

    def run(params, x):
        _, cache = net.forward(params, x, key=KEY)
        known = {id(a) for a in jax.tree.leaves((params, x))}
        sizes.extend(
            {id(a): size(a) for a in jax.tree.leaves(cache) if id(a) not in known}.values()
        )

    jax.eval_shape(run, params_of(net), x)
    return sum(sizes)


NETS = {
    "gpt": (fnn.gpt(9, 8, 2, 3, 6, dropout=0.1), numbers(2, 6)),
    "tied, recomputed": (fnn.gpt(9, 8, 2, 3, 6, tied=True, recompute=True), numbers(2, 6)),
    "resnet": (fnn.resnet(3, 5, widths=(4, 8), depths=(1, 2)), floats(2, 8, 8, 3)),
    "unet": (fnn.unet(3, 5, widths=(4, 8)), floats(2, 8, 8, 3)),
    "reader": (fnn.recurrent(3, 4, 2, kind=fnn.GRU, bidirectional=True), floats(2, 5, 3)),
    "frozen in Cast": (
        fnn.Cast(fnn.Serial(fnn.Frozen(fnn.mlp([3, 4, 5], dropout=0.1)), fnn.Tanh()), "bfloat16"),
        floats(7, 3),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_all_is_accounted_for_and_marks_change_nothing(name):
    net, x = NETS[name]
    assert found(net, x).total == bare(net, x) > 0


def test_savings_say_what_recompute_and_cast_would_keep():
    n, width = 4, 16
    block = fnn.Residual(fnn.Serial(fnn.Dense(width, 64), fnn.Tanh(), fnn.Dense(64, width)))
    net, x = fnn.Serial(up=fnn.Dense(3, width), blocks=fnn.Repeat(n, block)), floats(128, 3)
    params = params_of(net)
    assert found(net, x).total == n * 128 * (width + 64) * 4  # 160 KiB
    assert list(savings(net, params, x, found(net, x))) == [
        "Recompute around blocks: 32.0 KiB kept, and 40.0 KiB made again at a time",
        'Cast(…, "bfloat16") around blocks: 80.0 KiB kept',
    ]
    saved = fnn.Serial(up=fnn.Dense(3, width), blocks=fnn.Repeat(n, fnn.Recompute(block)))
    assert found(saved, x).total == 32 * 1024 + n * jax.random.key_data(KEY).nbytes
    assert next(savings(saved, params, x, found(saved, x))).startswith("Cast(")


def test_without_repeat_they_speak_of_the_largest_child_and_of_the_net():
    net, x = fnn.Serial(fnn.LSTM(3, 8), fnn.Dense(8, 2)), floats(4, 16, 3)
    said = list(savings(net, params_of(net), x, found(net, x)))
    assert said[0] == "Recompute around 0: 2.0 KiB kept, and 12.0 KiB made again at a time"
    assert said[1].startswith('Cast(…, "bfloat16") around the net: ')
    one = fnn.Tanh()
    assert list(savings(one, (), x, kept(one, (), x))) != []


def temporary(f, *args):
    return jax.jit(f).lower(*args).compile().memory_analysis().temp_size_in_bytes


def deep(n):
    """MLP, CNN, LSTM and GPT whose caches dominate: (net, loss, x, target)."""
    cross_entropy = fnn.SoftmaxCrossEntropy()
    layers = fnn.Repeat(n, fnn.Serial(fnn.Dense(128, 128), fnn.ReLU()))
    mlp = fnn.Serial(fnn.Dense(8, 128), layers, fnn.Dense(128, 10))
    maps = fnn.Repeat(n, fnn.Serial(fnn.Conv2d(16, 16, 3, padding="same"), fnn.ReLU()))
    top = fnn.MaxPool2d(2), fnn.Flatten(), fnn.Dense(16 * 7 * 7, 10)
    cnn = fnn.Serial(fnn.Conv2d(1, 16, 3, padding="same"), fnn.ReLU(), maps, *top)
    lstm = fnn.Serial(fnn.LSTM(8, 32), fnn.Repeat(n, fnn.LSTM(32, 32)), fnn.Dense(32, 10))
    gpt = fnn.gpt(64, 32, 2, n, 64)
    return {
        "mlp": (mlp, cross_entropy, floats(1024, 8), numbers(1024)),
        "cnn": (cnn, cross_entropy, floats(32, 14, 14, 1), numbers(32)),
        "lstm": (lstm, cross_entropy, floats(16, 64, 8), numbers(16, 64)),
        "gpt": (gpt, fnn.LinearSoftmaxCrossEntropy(), numbers(8, 64), numbers(8, 64)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "gpt"])
def test_the_figure_is_that_of_the_compiled_gradient_where_caches_dominate(name):
    net, loss, x, target = deep(48)[name]
    params = params_of(net)

    def gradient(params, x, target):
        return fnn.value_and_grad(net, loss, params, x, target)

    assert kept(net, params, x).total == pytest.approx(temporary(gradient, params, x, target), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "gpt"])
def test_the_figure_is_that_of_a_forward_that_returns_its_cache(name):
    net, _, x, _ = deep(3)[name]

    def forward(params, x):
        cache = jax.tree.leaves(net.forward(params, x)[1])
        return list({id(a): a for a in cache}.values())

    params = params_of(net)
    memory = jax.jit(forward).lower(params, x).compile().memory_analysis()
    assert kept(net, params, x).total == pytest.approx(memory.output_size_in_bytes, 0.1)
