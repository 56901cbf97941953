"""Layers in small nets: dropout, residual, repeat, and half precision."""

from collections.abc import Callable
from typing import Any

import jax

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels


def dropout() -> Pair:
    """256-512-512-10 with half of the hidden units missing."""
    net = fnn.mlp([256, 512, 512, 10], dropout=0.5)
    x, target = draw(256, 256), labels(256, classes=10)
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target, key=jax.random.key(5))


def without_biases() -> Pair:
    """256-512-512-10, products alone."""
    sizes = ((256, 512), (512, 512), (512, 10))
    first, *rest = (fnn.Dense(*size, bias=False) for size in sizes)
    net = fnn.Serial(first, *(f for dense in rest for f in (fnn.Tanh(), dense)))
    return gradient(net, fnn.SoftmaxCrossEntropy(), draw(256, 256), labels(256, classes=10))


def block(width: int) -> fnn.Residual:
    """x + a two-layer perceptron of x."""
    inner = fnn.Serial(fnn.Dense(width, 2 * width), fnn.GELU(), fnn.Dense(2 * width, width))
    return fnn.Residual(inner)


def residual(n: int = 6, width: int = 128) -> Pair:
    """n residual blocks, one after another."""
    net = fnn.Serial(*[block(width)] * n)
    return gradient(net, fnn.SquaredError(), draw(256, width), draw(256, width, seed=3))


def stochastic_depth(n: int = 6, width: int = 128) -> Pair:
    """n residual blocks whose branches go missing, the last half of the time."""
    branches = [
        fnn.Serial(fnn.Dense(width, 2 * width), fnn.GELU(), fnn.Dense(2 * width, width),
                   fnn.DropPath(0.5 * (i + 1) / n))
        for i in range(n)
    ]  # fmt: skip
    net, loss = fnn.Serial(*map(fnn.Residual, branches)), fnn.SquaredError()
    x, target = draw(256, width), draw(256, width, seed=3)
    return gradient(net, loss, x, target, key=jax.random.key(5))


def branches(join: Any, n: int = 4, width: int = 128) -> Pair:
    """n branches of n widths beside each other, then a layer of what they make."""
    sizes = [width // n] * n if join == "concat" else [width] * n
    inside = [fnn.Serial(fnn.Dense(width, 2 * width), fnn.GELU(), fnn.Dense(2 * width, k))
              for k in sizes]  # fmt: skip
    net = fnn.Serial(fnn.Parallel(*inside, join=join), fnn.Dense(width, width))
    return gradient(net, fnn.SquaredError(), draw(256, width), draw(256, width, seed=3))


def u_net(width: int = 16) -> Pair:
    """Three levels of convolutions of images of 32 × 32, each around the next."""

    def conv(n_in, n_out):
        return fnn.Serial(fnn.Conv2d(n_in, n_out, 3, padding="same"), fnn.ReLU())

    net = conv(4 * width, 4 * width)
    for n in (2 * width, width):
        around = fnn.Serial(fnn.MaxPool2d(2), net, fnn.Upsample(2))
        net = fnn.Serial(conv(n, 2 * n), fnn.Skip(around), conv(4 * n, n))
    net = fnn.Serial(conv(1, width), net, fnn.Conv2d(width, 1, 1))
    return gradient(net, fnn.SquaredError(), draw(8, 32, 32, 1), draw(8, 32, 32, 1, seed=3))


def autoencoder(n: int = 256, width: int = 64) -> Pair:
    """256-64-256, the weights of the second layer those of the first."""
    net = fnn.Serial(fnn.Dense(n, width), fnn.Tanh(), fnn.Dense(width, n, bias=False))
    net, x = fnn.Tied(net, fnn.Tie(2, 0)), draw(256, n)
    return gradient(net, fnn.SquaredError(), x, x)


def swish(params: Any, x: jax.Array) -> jax.Array:
    """x σ(x w) c."""
    w, c = params
    return x * jax.nn.sigmoid(x @ w) * c


def swish_params(key: jax.Array) -> Any:
    """w and c, for 256 features."""
    return jax.random.normal(key, (256, 256)) / 16, jax.numpy.ones(256)


def foreign() -> Pair:
    """A function between two layers."""
    inside = fnn.Dense(128, 256), fnn.Autodiff(swish, swish_params), fnn.Dense(256, 10)
    net, x, target = fnn.Serial(*inside), draw(256, 128), labels(256, classes=10)
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target)


def repeat(n: int = 12, width: int = 128) -> Pair:
    """n residual blocks in a scan."""
    net = fnn.Repeat(n, block(width))
    return gradient(net, fnn.SquaredError(), draw(256, width), draw(256, width, seed=3))


def sequence() -> Pair:
    """An MLP at every position of a sequence."""
    net = fnn.mlp([64, 256, 32], activation=fnn.GELU())
    x, target = draw(16, 128, 64), labels(16, 128, classes=32)
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target)


def variational(n: int = 784, k: int = 32) -> Pair:
    """A variational autoencoder, n-512-k-512-n."""
    decoder = fnn.Serial(fnn.Gaussian(), fnn.mlp([k, 512, n]))
    both = fnn.Parallel(decoder, fnn.Identity(), join=None)
    net = fnn.Serial(fnn.mlp([n, 512, 2 * k]), both)
    x = jax.nn.sigmoid(draw(256, n))
    return gradient(net, fnn.ELBO(), x, x, key=jax.random.key(5))


def softmax() -> Pair:
    """Probabilities, then the cross-entropy of probabilities."""
    net = fnn.mlp([128, 256, 64], output=fnn.Softmax())
    return gradient(net, fnn.CrossEntropy(), draw(256, 128), labels(256, classes=64))


def normalized(around: Callable[[fnn.Layer[Any, Any]], fnn.Layer[Any, Any]]) -> Pair:
    """256-512-512-10 whose weights are made of others."""
    layers = fnn.mlp([256, 512, 512, 10]).layers
    net = fnn.Serial(*(around(f) if isinstance(f, fnn.Dense) else f for f in layers))
    return gradient(net, fnn.SoftmaxCrossEntropy(), draw(256, 256), labels(256, classes=10))


def frozen() -> Pair:
    """256-512-512-10 of which the last layer alone is trained."""
    *body, head = fnn.mlp([256, 512, 512, 10]).layers
    net = fnn.Serial(fnn.Frozen(fnn.Serial(*body)), head)
    return gradient(net, fnn.SoftmaxCrossEntropy(), draw(256, 256), labels(256, classes=10))


def cast(dtype: str) -> Pair:
    """An MLP in half precision, its weights in float32."""
    net = fnn.Cast(fnn.mlp([256, 512, 512, 10]), dtype)
    return gradient(net, fnn.SoftmaxCrossEntropy(), draw(256, 256), labels(256, classes=10))


LAYERS = Table(
    "Layers",
    "Small nets, against the same net in plain JAX.",
    (
        Case("MLP 64-256-32 on sequences of 128", sequence),
        Case("Dense without b, 256-512-512-10", without_biases),
        Case("Softmax and CrossEntropy", softmax),
        Case("Dropout, 256-512-512-10", dropout),
        Case("Gaussian and ELBO, 784-512-32-512-784", variational),
        Case("Residual, 6 blocks of 128", residual),
        Case("Residual with DropPath, 6 blocks of 128", stochastic_depth),
        Case("Parallel, 4 branches side by side", lambda: branches("concat")),
        Case("Parallel, 4 branches added up", lambda: branches("sum")),
        Case("Skip, a U-Net of 3 levels", u_net),
        Case("WeightNorm, 256-512-512-10", lambda: normalized(fnn.WeightNorm)),
        Case("SpectralNorm, 256-512-512-10", lambda: normalized(fnn.SpectralNorm)),
        Case("Frozen but for the head, 256-512-512-10", frozen),
        Case("Tied autoencoder, 256-64-256", autoencoder),
        Case("Autodiff between Dense layers", foreign),
        Case("Repeat of Residual, 12 blocks of 128", repeat),
        Case("Cast to bfloat16, 256-512-512-10", lambda: cast("bfloat16"), tolerance=0.03),
    ),
)
