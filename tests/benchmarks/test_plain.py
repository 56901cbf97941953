import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.blocks import activations, forms, jax_nn, losses
from benchmarks.case import draw, labels
from benchmarks.plain import best, plain, plain_losses
from benchmarks.plain.expert import (
    CheckpointedLSTM,
    CheckpointedRepeat,
    Chunked,
    Fused,
    UnrolledRepeat,
)

pytestmark = pytest.mark.long

IMAGES = (6, 7, 8, 4)
BLOCK = fnn.Serial(fnn.Residual(fnn.Attention(4, 2)), fnn.Dense(4, 4))
LAYERS = [
    (fnn.Conv1d(4, 6, 3, stride=2, padding=1), (7, 9, 4)),
    (fnn.Conv1d(4, 6, 3, padding=((2, 0),), dilation=2), (7, 9, 4)),
    (fnn.Conv2d(4, 6, 3), IMAGES),
    (fnn.Conv2d(4, 6, 3, bias=False), IMAGES),
    (fnn.Dense(4, 3, bias=False), (7, 9, 4)),
    (fnn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding="same", groups=2), IMAGES),
    (fnn.MaxPool2d(2), IMAGES),
    (fnn.MaxPool2d(3, stride=2, padding=1), IMAGES),
    (fnn.AvgPool2d((3, 2)), IMAGES),
    (fnn.AvgPool2d(3, stride=2, padding="same"), IMAGES),
    (fnn.AvgPool2d(2, padding=((1, 0), (0, 1))), IMAGES),
    (fnn.MaxPool1d(3, stride=2, padding=1), (7, 9, 4)),
    (fnn.AvgPool1d(3, stride=2, padding="same"), (7, 9, 4)),
    (fnn.GlobalAvgPool(), IMAGES),
    (fnn.Upsample(2), IMAGES),
    (fnn.Upsample(3, linear=True), IMAGES),
    (fnn.Pad(2), IMAGES),
    (fnn.Pad(((0, 2), (1, 3)), "reflect"), IMAGES),
    (fnn.Pad(2, "edge"), (7, 9, 4)),
    (fnn.Flatten(), IMAGES),
    (fnn.Flatten(keep_last=True), IMAGES),
    (fnn.Affine(4), IMAGES),
    (fnn.Centered(4), IMAGES),
    (fnn.LayerNorm(4), (7, 9, 4)),
    (fnn.RMSNorm(4), (7, 9, 4)),
    (fnn.GroupNorm(4, 2), IMAGES),
    (fnn.InstanceNorm(4), IMAGES),
    (fnn.BatchNorm(4), IMAGES),
    (fnn.PReLU(), IMAGES),
    (fnn.GaussianMean(), (7, 9, 4)),
    (fnn.WeightNorm(fnn.Conv2d(4, 6, 3)), IMAGES),
    (fnn.SpectralNorm(fnn.Conv2d(4, 6, 3)), IMAGES),
    (fnn.PReLU(4), (7, 9, 4)),
    (fnn.Embedding(5, 3), (7, 9)),
    (fnn.Positions(11, 4), (7, 9, 4)),
    (fnn.Sinusoids(4), (7, 9, 4)),
    (fnn.RNN(4, 5), (7, 9, 4)),
    (fnn.LSTM(4, 5), (7, 9, 4)),
    (fnn.GRU(4, 5), (7, 9, 4)),
    (fnn.Attention(6, 3), (7, 9, 6)),
    (fnn.Attention(6, 3, causal=False, chunk=4), (7, 9, 6)),
    (fnn.Attention(8, 4, n_kv_heads=2), (7, 9, 8)),
    (fnn.LinearAttention(6, 3), (7, 9, 6)),
    (fnn.LinearAttention(6, 3, 4, norm=False), (7, 9, 6)),
    (fnn.LinearAttention(6, 3, 4, delta=True), (7, 9, 6)),
]


def inputs(net, shape):
    return labels(*shape, classes=net.n_vocab) if isinstance(net, fnn.Embedding) else draw(*shape)


def drawn(net):
    """Parameters of which none is 0 or 1."""
    params = net.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten([p + 0.1 * draw(*p.shape, seed=5 + i) for i, p in enumerate(leaves)])


@pytest.mark.parametrize(("net", "shape"), LAYERS, ids=lambda a: f"{a}"[:40])
def test_plain_layer_is_the_layer(net, shape):
    params, x = drawn(net), inputs(net, shape)
    y, _ = net.forward(params, x)
    np.testing.assert_allclose(plain(net, params, x, None), y, rtol=1e-10, atol=1e-12)
    assert plain.dispatch(type(net)) is not plain.dispatch(object)


@pytest.mark.parametrize(
    ("net", "shape", "kinds"),
    [
        (fnn.Attention(6, 3), (7, 9, 6), {Fused}),
        (fnn.Attention(8, 4, causal=False, n_kv_heads=2), (7, 9, 8), {Fused}),
        (fnn.LinearAttention(6, 3, 4), (7, 9, 6), {Chunked}),
        (fnn.LinearAttention(6, 3, 4, delta=True), (7, 9, 6), {Chunked}),
        (fnn.LSTM(4, 5), (7, 9, 4), {CheckpointedLSTM}),
        (fnn.Repeat(3, BLOCK), (7, 9, 4), {CheckpointedRepeat, Fused}),
    ],
    ids=["causal", "shared key heads", "linear", "delta rule", "LSTM", "Repeat"],
)
def test_the_best_plain_net_is_the_net(net, shape, kinds):
    written, params, x = best(net, checkpoint=True), drawn(net), draw(*shape)
    y, _ = net.forward(params, x)
    with jax.numpy_dtype_promotion("standard"):  # jax's attention is float32 within
        np.testing.assert_allclose(plain(written, params, x, None), y, rtol=1e-5, atol=1e-6)
    assert kinds <= {type(layer) for layer in every(written)}


def test_the_best_plain_net_of_convolutions_has_no_loop_and_is_the_net():
    net = fnn.Repeat(3, fnn.Serial(fnn.Conv2d(4, 4, 3, padding="same"), fnn.Dropout(0.5)))
    written, params, key = best(net), drawn(net), jax.random.key(3)
    y, _ = net.forward(params, draw(*IMAGES), key=key)
    np.testing.assert_allclose(plain(written, params, draw(*IMAGES), key), y, rtol=1e-10)
    assert type(written) is UnrolledRepeat
    assert type(best(fnn.Repeat(3, BLOCK))) is fnn.Repeat


@pytest.mark.parametrize("written", [lambda net: net, best], ids=["einsum", "jax.nn"])
def test_a_plain_encoder_decoder_is_the_net(written):
    net = fnn.encoder_decoder(5, 4, 2, 3, 7, n_source=6, n_kv_heads=1)
    params, x = drawn(net), fnn.Sequence(labels(6, 7, classes=5), memory=labels(6, 4, classes=6))
    y, _ = net.forward(params, x)
    with jax.numpy_dtype_promotion("standard"):
        logits = plain(written(net), params, x, None)
    np.testing.assert_allclose(logits, y.x.h @ y.x.w, rtol=1e-5, atol=1e-6)


def test_plain_logits_are_the_product_of_the_factors_and_have_the_same_losses():
    net, loss, target = fnn.Unembed(4, 5), fnn.LinearSoftmaxCrossEntropy(), labels(7, classes=5)
    params = drawn(net)
    y, _ = net.forward(params, draw(7, 4))
    logits = plain(net, params, draw(7, 4), None)
    np.testing.assert_allclose(logits, y.h @ y.w, rtol=1e-12)
    losses, _ = loss.forward(y, target)
    np.testing.assert_allclose(plain_losses(loss, logits, target), losses, rtol=1e-12)


def test_a_plain_cast_leaves_integers_alone():
    net = fnn.Cast(fnn.Embedding(300, 3), "bfloat16")
    params, x = net.init(jax.random.key(0)), jnp.arange(250, 299)
    y, _ = net.forward(params, x)
    np.testing.assert_array_equal(plain(net, params, x, None), y)


def every(net):
    yield net
    for layer in getattr(net, "children", {}).values():
        yield from every(layer)


def test_without_checkpoint_only_attention_is_replaced():
    net = fnn.Serial(fnn.LSTM(4, 4), fnn.Repeat(3, BLOCK))
    kinds = {type(layer) for layer in every(best(net))}
    assert Fused in kinds
    assert not kinds & {fnn.Attention, CheckpointedLSTM, CheckpointedRepeat}


def test_checkpoint_keeps_less():
    block = fnn.Serial(fnn.Dense(16, 256), fnn.Tanh(), fnn.Dense(256, 16))
    net, x = fnn.Repeat(8, block), draw(128, 16)

    def temporary(net):
        gradient = jax.jit(jax.grad(lambda p: plain(net, p, x, None).sum()))
        program = gradient.lower(net.init(jax.random.key(0))).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(best(net, checkpoint=True)) < 0.5 * temporary(best(net))


@pytest.mark.parametrize("name", activations())
def test_plain_activation_is_the_layer_and_jax_nn_has_it(name):
    activation = activations()[name]
    x = 3 * draw(6, 5)
    y, _ = activation.forward((), x)
    np.testing.assert_allclose(plain(activation, (), x, None), y, atol=1e-12)
    np.testing.assert_allclose(jax_nn(activation)(x), y, atol=1e-12)


@pytest.mark.parametrize(
    "net",
    [
        fnn.Residual(fnn.Dense(5, 5)),
        fnn.Repeat(3, fnn.Recompute(fnn.Serial(fnn.Dense(5, 5), fnn.Tanh()))),
        fnn.Serial(fnn.Dense(5, 4), fnn.Dropout(0.5), fnn.Repeat(2, fnn.Dropout(0.5))),
        fnn.Serial(up=fnn.Dense(5, 4), dropout=fnn.Dropout(0.5), down=fnn.Dense(4, 3)),
        fnn.Cast(fnn.Dense(5, 4), "float32"),
        fnn.Tied(
            fnn.Serial(fnn.Dense(5, 3), fnn.Dropout(0.5), fnn.Dense(3, 5, bias=False)),
            fnn.Tie(2, 0),
        ),
        fnn.Autodiff(lambda p, x: x * p, lambda key: 2 * jnp.ones(5)),
        fnn.Serial(fnn.Dense(5, 4), fnn.Gaussian(), fnn.Repeat(2, fnn.Dense(2, 2))),
        fnn.Skip(fnn.Serial(fnn.Dense(5, 3), fnn.Dropout(0.5))),
        fnn.Parallel(fnn.Dropout(0.5), fnn.Dense(5, 4)),
        fnn.Parallel(a=fnn.Dropout(0.5), b=fnn.Dense(5, 5), join="sum"),
    ],
    ids=lambda net: f"{net}"[:20],
)
def test_plain_net_is_the_net_with_the_same_keys(net):
    params, key = net.init(jax.random.key(0)), jax.random.key(3)
    y, _ = net.forward(params, draw(6, 5), key=key)
    np.testing.assert_allclose(plain(net, params, draw(6, 5), key), y, rtol=1e-6)


def test_a_plain_block_of_a_transformer_is_the_block_with_the_same_keys():
    net, x, key = fnn.transformer_block(4, 2, dropout=0.5), draw(3, 5, 4), jax.random.key(3)
    params = drawn(net)
    y, _ = net.forward(params, x, key=key)
    np.testing.assert_allclose(plain(net, params, x, key), y, rtol=1e-10)


ARRAYS = {
    "numbers": [draw(6, 4), draw(6, 4, seed=3)],
    "signs": [None, jnp.sign(draw(6, 4))],
    "chances": [jax.nn.sigmoid(draw(6, 4)), jax.nn.sigmoid(draw(6, 4, seed=3))],
    "rows": [jax.nn.softmax(draw(6, 4)), jax.nn.softmax(draw(6, 4, seed=3))],
    "labels": [None, labels(6, classes=4)],
    "bits": [None, jnp.round(jax.nn.sigmoid(draw(6, 4)))],
    "counts": [None, jnp.floor(draw(6, 4) ** 2)],
    "moments": [draw(6, 8), None],
    "frames": [draw(2, 7, 5), None],
    "words": [None, jnp.array([[1, 2, 2], [3, -1, -1]])],
    "pairs": [draw(5, 2, 3), None],
    "examples": [None, jnp.arange(5)],
}


@pytest.mark.parametrize("name", losses())
def test_plain_losses_are_the_losses(name):
    loss = losses()[name]
    for y, t in forms(loss):
        y, t = ARRAYS[y][0], ARRAYS[t][1]
        np.testing.assert_allclose(plain_losses(loss, y, t), loss.forward(y, t)[0], rtol=1e-12)


def test_the_plain_loss_of_a_pair_is_the_loss():
    loss, y, t = fnn.ELBO(beta=2.0), (draw(6, 4), draw(6, 8, seed=3)), jnp.eye(6, 4)
    np.testing.assert_allclose(plain_losses(loss, y, t), loss.forward(y, t)[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (fnn.SquaredError(scale=0.5), draw(6, 4, seed=3)),
        (fnn.Huber(delta=0.7), draw(6, 4, seed=3)),
        (fnn.SoftmaxCrossEntropy(label_smoothing=0.2), labels(6, classes=4)),
    ],
    ids=["half", "narrow", "smoothed"],
)
def test_plain_losses_have_the_numbers_of_the_loss(loss, target):
    losses, _ = loss.forward(draw(6, 4), target)
    np.testing.assert_allclose(plain_losses(loss, draw(6, 4), target), losses, rtol=1e-12)
