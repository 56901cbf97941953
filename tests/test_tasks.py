"""What people do with such a library, each as a short program."""

import functools

import hugging_face
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

import fnn

KEYS = jax.random.split(jax.random.key(0), 4)


@pytest.mark.slow
def test_the_top_eigenvalue_of_a_transformers_hessian():
    net, loss = fnn.gpt(5, n=4, n_heads=2, n_layers=1, n_context=6), fnn.SoftmaxCrossEntropy()
    tokens = jax.random.randint(KEYS[0], (3, 7), 0, 5)
    w, unflatten = ravel_pytree(net.init(KEYS[1]))

    def value_and_gradient(w):
        value, grads = fnn.value_and_grad(net, loss, unflatten(w), tokens[:, :-1], tokens[:, 1:])
        return value, ravel_pytree(grads)[0]

    @jax.jit
    def times_hessian(v):
        return jax.jvp(lambda w: value_and_gradient(w)[1], (w,), (v,))[1]

    hessian = LinearOperator((w.size, w.size), times_hessian, dtype=w.dtype)
    (top,), v = eigsh(hessian, k=1, which="LA")

    gradient = jax.grad(lambda w: value_and_gradient(w)[0])  # autodiff's, of the forward
    _, of_jax = jax.jit(lambda v: jax.jvp(gradient, (w,), (v,)))(v[:, 0])
    np.testing.assert_allclose(of_jax, top * v[:, 0], rtol=1e-6, atol=1e-8 * top)


@pytest.mark.slow
def test_a_classifier_of_sequences_of_different_length():
    n_classes, length = 4, 9
    tokens = jax.random.randint(KEYS[0], (600, length), 0, n_classes)
    lengths = jax.random.randint(KEYS[1], (600, 1), 1, length + 1)
    mask, label = jnp.arange(length) < lengths, tokens[:, 0]  # to be remembered to the end
    net = fnn.Serial(
        embed=fnn.Embedding(n_classes, 8, scale=1.0), lstm=fnn.LSTM(8, 16), last=fnn.Last(),
        head=fnn.Dense(16, n_classes),
    )  # fmt: skip
    plan = fnn.Plan(
        net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(0.02), metrics={"accuracy": fnn.accuracy}
    )
    train = fnn.Sequence(tokens[:400], mask[:400]), label[:400]
    test = fnn.Sequence(tokens[400:], mask[400:]), label[400:]
    state, _ = fnn.fit(plan, fnn.start(plan, KEYS[2]), train, epochs=12, batch_size=50)
    assert fnn.evaluate(plan, state, test)["accuracy"] > 0.95

    broken = fnn.Sequence(jnp.where(mask, tokens, -1), mask)  # -1 is no token
    assert fnn.evaluate(plan, state, (broken, label)) == fnn.evaluate(
        plan, state, (fnn.Sequence(tokens, mask), label)
    )


@pytest.mark.slow
def test_a_gpt_is_trained_saved_loaded_and_sampled(tmp_path):
    net = fnn.gpt(n_vocab=7, n=16, n_heads=2, n_layers=2, n_context=12)
    starts = jax.random.randint(KEYS[0], (64, 1), 0, 7)
    tokens = (starts + 3 * jnp.arange(13)) % 7
    plan = fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), fnn.optim.AdamW(0.01))
    data = tokens[:, :-1], tokens[:, 1:]
    state, history = fnn.fit(plan, fnn.start(plan, KEYS[1]), data, epochs=20, batch_size=16)
    assert history["loss"][-1] < 0.05

    fnn.checkpoints.save(tmp_path / "gpt.safetensors", state.params)
    params = fnn.checkpoints.load(tmp_path / "gpt.safetensors", jax.eval_shape(net.init, KEYS[0]))
    written = fnn.generate(net, params, tokens[:, :5], 7, KEYS[2], temperature=0.0)
    np.testing.assert_array_equal(written, tokens[:, 5:12])


def test_gpt2_comes_in_is_trained_further_and_goes_out(tmp_path):
    n, block = 6, {"ln_1": (6,), "attn.c_proj": (6, 6), "ln_2": (6,)}
    block |= {"attn.c_attn": (6, 18), "mlp.c_fc": (6, 24), "mlp.c_proj": (24, 6)}
    shapes = {"wte.weight": (11, n), "wpe.weight": (8, n), "ln_f.weight": (n,), "ln_f.bias": (n,)}
    for name, shape in block.items():
        shapes |= {f"h.0.{name}.weight": shape, f"h.0.{name}.bias": shape[-1:]}
    weights = hugging_face.weights(shapes, np.float64)  # in life a file: "gpt2/model.safetensors"

    net, params = fnn.from_gpt2(weights, n_heads=3)
    tokens = jax.random.randint(KEYS[0], (4, 8), 0, 11)
    plan = fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), fnn.optim.SGD(0.1))
    batch = tokens[:, :-1], tokens[:, 1:]
    state, before = fnn.step(plan, fnn.start(plan, KEYS[1], params), batch)
    assert fnn.evaluate(plan, state, batch)["loss"] < before["loss"]

    path = tmp_path / "model.safetensors"
    fnn.checkpoints.save(path, fnn.to_gpt2(net, state.params))
    theirs = fnn.checkpoints.tensors(path)
    bare = {name.removeprefix("transformer."): a for name, a in theirs.items()}
    forward = functools.partial(hugging_face.gpt2, n_heads=3)
    hugging_face.check_logits(forward, *fnn.from_gpt2(path, n_heads=3), bare, tokens, 1e-10)


@pytest.mark.long
def test_a_u_net_says_of_every_pixel_whether_it_is_inside():
    corners = jax.random.randint(KEYS[0], (96, 2, 2), 0, 4)
    at = jnp.arange(8)
    low, size = corners[:, 0], 2 + corners[:, 1]
    rows, columns = ((at >= low[:, [i]]) & (at < low[:, [i]] + size[:, [i]]) for i in (0, 1))
    inside = (rows[:, :, None] & columns[:, None, :]).astype(jnp.int32)
    edge = inside ^ (jnp.pad(inside, ((0, 0), (1, 1), (1, 1)))[:, 2:, 1:-1] & inside)
    images = edge[..., None].astype(float) + 0.1 * jax.random.normal(KEYS[1], (96, 8, 8, 1))

    net, metrics = fnn.unet(1, 2, widths=(8, 16, 32)), {"accuracy": fnn.accuracy}
    plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(0.01), metrics=metrics)
    data = images[:64], inside[:64]
    state, _ = fnn.fit(plan, fnn.start(plan, KEYS[2]), data, epochs=30, batch_size=16)
    found = fnn.evaluate(plan, state, (images[64:], inside[64:]))["accuracy"]
    assert found > 0.95 > 1 - inside[64:].mean()


@pytest.mark.long
def test_an_encoder_decoder_reverses_what_it_never_saw():
    words = jax.random.randint(KEYS[0], (2300, 5), 1, 9, jnp.int32)  # 0 begins an answer
    answers = jnp.flip(words, 1)
    net = fnn.encoder_decoder(n_vocab=9, n=32, n_heads=4, n_layers=1, n_context=5)
    plan = fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), fnn.optim.Adam(0.005))
    asked = fnn.Sequence(jnp.pad(answers, ((0, 0), (1, 0)))[:, :-1], memory=words)
    data = jax.tree.map(lambda a: a[:2000], (asked, answers))
    state, _ = fnn.fit(plan, fnn.start(plan, KEYS[1]), data, epochs=12, batch_size=50)
    begin = fnn.Sequence(jnp.zeros((300, 1), jnp.int32), memory=words[2000:])
    written = fnn.generate(net, state.params, begin, 5, temperature=0)
    assert (written == answers[2000:]).all(1).mean() > 0.9


@pytest.mark.slow
def test_two_embeddings_of_one_table_learn_together():
    net = fnn.gpt(n_vocab=7, n=8, n_heads=2, n_layers=1, n_context=6, tied=True)
    tokens = jax.random.randint(KEYS[0], (5, 7), 0, 7)
    params = net.init(KEYS[1])
    assert "head" not in params

    def plain(table):  # the same net, written as its two uses
        own = fnn.gpt(n_vocab=7, n=8, n_heads=2, n_layers=1, n_context=6)
        both = params | {"embed": fnn.EmbeddingParams(table), "head": fnn.UnembedParams(table.T)}
        loss = fnn.value_and_grad(
            own, fnn.LinearSoftmaxCrossEntropy(), both, tokens[:, :-1], tokens[:, 1:]
        )
        return loss[0]

    _, grads = fnn.value_and_grad(
        net, fnn.LinearSoftmaxCrossEntropy(), params, tokens[:, :-1], tokens[:, 1:]
    )
    want = jax.grad(plain)(params["embed"].table)
    np.testing.assert_allclose(grads["embed"].table, want, rtol=1e-9, atol=1e-12)
