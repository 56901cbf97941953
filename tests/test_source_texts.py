"""The net of each source text, against jax.grad of the text's own forward pass."""

import chex
import jax
import jax.numpy as jnp
import pytest

import fnn

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (7, 3))
ONE_HOT = jax.nn.one_hot(jnp.arange(7) % 4, 4)
BINARY = jnp.array([[1.0], [0.0], [0.0], [1.0], [1.0], [0.0], [1.0]])


def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def softmax(z):
    return jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True)


def pairs(params):
    """(W, b) of the Dense layers among params."""
    return [(p.w, p.b) for p in params if p]


def s0(params):
    """Z = W A + b, A = f(Z); L = (1/N) Σ (y − ŷ)², ReLU inside, sigmoid at the end."""
    (w1, b1), (w2, b2) = pairs(params)
    a = jnp.where(X @ w1 + b1 > 0, X @ w1 + b1, 0)
    return ((BINARY - sigmoid(a @ w2 + b2)) ** 2).sum() / 7


def s1(params):
    """Depth L with tanh, softmax and cross-entropy, J + (λ/2) Σ ‖W‖²."""
    (w1, b1), (w2, b2), (w3, b3) = pairs(params)
    a = jnp.tanh(jnp.tanh(X @ w1 + b1) @ w2 + b2)
    cross_entropy = -(ONE_HOT * jnp.log(softmax(a @ w3 + b3))).sum() / 7
    return cross_entropy + 0.3 / 2 * ((w1**2).sum() + (w2**2).sum() + (w3**2).sum())


def s2(params):
    """ReLU, ReLU, sigmoid; L = −(1/m) Σ y log ŷ + (1 − y) log(1 − ŷ)."""
    (w1, b1), (w2, b2), (w3, b3) = pairs(params)
    a = X @ w1 + b1
    a = jnp.where(a > 0, a, 0) @ w2 + b2
    p = sigmoid(jnp.where(a > 0, a, 0) @ w3 + b3)
    return -(BINARY * jnp.log(p) + (1 - BINARY) * jnp.log(1 - p)).sum() / 7


def s3(params):
    """Dense and ReLU, then dense and softmax, mean absolute error against the one-hot rows."""
    (w1, b1), (w2, b2) = pairs(params)
    a = jnp.where(X @ w1 + b1 > 0, X @ w1 + b1, 0)
    return abs(softmax(a @ w2 + b2) - ONE_HOT).sum() / 7


def s4(params):
    """A chain of two sigmoid neurons, a_i(2) = σ(σ(x_i w(1) + b(1)) w(2) + b(2))."""
    (w1, b1), (w2, b2) = pairs(params)
    return ((sigmoid(sigmoid(X[:, :1] @ w1 + b1) @ w2 + b2) - BINARY) ** 2).sum() / 7


TEXTS = {
    "S0": (s0, fnn.mlp([3, 5, 1], fnn.ReLU(), fnn.Sigmoid()), fnn.SquaredError(), X, BINARY, None),
    "S1": (s1, fnn.mlp([3, 5, 6, 4], fnn.Tanh()), fnn.SoftmaxCrossEntropy(), X, ONE_HOT, 0.3),
    "S1, on probabilities": (
        s1,
        fnn.mlp([3, 5, 6, 4], fnn.Tanh(), fnn.Softmax()),
        fnn.CrossEntropy(),
        X,
        ONE_HOT,
        0.3,
    ),
    "S2": (
        s2,
        fnn.mlp([3, 5, 6, 1], fnn.ReLU(), fnn.Sigmoid()),
        fnn.BinaryCrossEntropy(),
        X,
        BINARY,
        None,
    ),
    "S2, on logits": (
        s2,
        fnn.mlp([3, 5, 6, 1], fnn.ReLU()),
        fnn.SigmoidBinaryCrossEntropy(),
        X,
        BINARY,
        None,
    ),
    "S3": (
        s3,
        fnn.mlp([3, 5, 4], fnn.ReLU(), fnn.Softmax()),
        fnn.AbsoluteError(),
        X,
        ONE_HOT,
        None,
    ),
    "S4": (
        s4,
        fnn.mlp([1, 1, 1], fnn.Sigmoid(), fnn.Sigmoid()),
        fnn.SquaredError(),
        X[:, :1],
        BINARY,
        None,
    ),
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_net_of_the_text_has_the_gradient_of_jax(text):
    forward, net, loss, x, target, strength = TEXTS[text]
    params = jax.jit(net.init)(KEY)
    penalty = None if strength is None else fnn.L2(strength)
    ours = jax.jit(fnn.value_and_grad)(net, loss, params, x, target, penalty=penalty)
    theirs = jax.jit(jax.value_and_grad(forward))(params)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_the_deltas_of_s2_are_the_corrected_chain():
    _, net, loss, x, target, _ = TEXTS["S2"]
    params = jax.jit(net.init)(KEY)
    d = fnn.fold(net, loss, params, x, target, rule=fnn.rules.deltas).result
    _, caches = net.forward(params, x)
    p = caches[5].a
    d3 = (p - target) / 7
    d2 = jnp.where(caches[3].a > 0, d3 @ params[4].w.T, 0)
    d1 = jnp.where(caches[1].a > 0, d2 @ params[2].w.T, 0)
    chex.assert_trees_all_close((d[0], d[2], d[4]), (d1, d2, d3), rtol=1e-10, atol=1e-15)


def test_the_one_parameter_model_of_s4_is_at_rest_at_the_closed_form():
    x, y = jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([[0.0], [2.0], [4.0], [6.0]])
    net = fnn.Dense(1, 1)
    params = fnn.DenseParams(w=jnp.array([[2.0]]), b=jnp.zeros(1))  # Σ x y / Σ x²
    loss, grads = fnn.value_and_grad(net, fnn.SquaredError(), params, x, y)
    assert loss == 0
    assert grads.w == 0
    wrong = params._replace(w=jnp.array([[3.0]]))
    _, grads = fnn.value_and_grad(net, fnn.SquaredError(), wrong, x, y)
    chex.assert_trees_all_close(grads.w[0, 0], jnp.mean(2 * (3 * x - y) * x))
