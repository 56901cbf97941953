"""Tests of fnn.layers.tied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, check_layer, noise

import fnn
from fnn.composite import Composite
from fnn.driver import fold, value_and_grad
from fnn.layers.activations import Tanh
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.embedding import Embedding, EmbeddingParams
from fnn.layers.frozen import Frozen, FrozenParams
from fnn.layers.parallel import Parallel
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.layers.shared import Shared, transposed
from fnn.layers.skip import Skip
from fnn.layers.tied import Tie, Tied
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.regression import SquaredError
from fnn.rules import backprop, companion, deltas, example_norms, total
from fnn.ruling import rule
from fnn.sequence import Sequence

KEY = jax.random.key(0)
LOSS = SoftmaxCrossEntropy()
CODE = Tied(Serial(Dense(5, 3), Tanh(), Dense(3, 5, bias=False)), Tie(2, 0))
NET = Serial(embed=Embedding(7, 4), hidden=Dense(4, 4), bend=Tanh(), head=Dense(4, 7, bias=False))
WORDS = Tied(NET, head="embed")
TOKENS = jnp.array([[1, 2, 2, 5], [3, 1, 6, 1], [0, 0, 0, 4]])
NEXT = jnp.array([[2, 2, 5, 3], [1, 6, 1, 0], [0, 0, 4, 6]])
X = noise(4, 5)


def drawn(net):
    """Params of some size."""
    leaves, tree = jax.tree.flatten(net.init(KEY))
    return tree.unflatten([0.3 * noise(*a.shape, seed=i) for i, a in enumerate(leaves)])


def close(found, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), found, want)


def test_contract():
    check_layer(CODE, X)


def plain_words(params, tokens=TOKENS, target=NEXT):
    """The loss of WORDS, as one writes it for autodiff."""
    table, (w, b) = params["embed"].table, params["hidden"]
    logits = jnp.tanh(table[tokens] @ w + b) @ table.T
    rows = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(rows, target[..., None], -1).mean()


def test_gradients_are_those_of_one_table_in_two_places():
    params = drawn(WORDS)
    found = jax.jit(value_and_grad)(WORDS, LOSS, params, TOKENS, NEXT)
    close(found, jax.value_and_grad(plain_words)(params))
    assert jax.tree.structure(found[1]) == jax.tree.structure(params)
    assert set(params) == {"embed", "hidden"}


def test_by_hand():
    net = Tied(Serial(Dense(1, 1, bias=False), Dense(1, 1, bias=False)),
               Tie(1, 0, transposed, transposed))  # fmt: skip
    params = DenseParams(jnp.array([[3.0]]), None), ()
    y, cache = net.forward(params, jnp.array([[2.0]]))
    (grads, none), dx = net.backward(params, cache, jnp.array([[1.0]]))
    assert (y, grads.w, dx, none) == (18, 2 * 2 * 3, 9, ())  # y = w² x


@pytest.mark.slow
def test_a_tied_gpt_has_the_sum_of_both_gradients_of_one_that_is_not():
    loss, sizes = fnn.LinearSoftmaxCrossEntropy(), (7, 4, 2, 2, 4)
    net = fnn.gpt(*sizes, bias=True, tied=True)
    params = drawn(net)
    value, grads = jax.jit(value_and_grad)(net, loss, params, TOKENS, NEXT)
    both = net.untied(params)
    want, (g, head) = (lambda v, g: (v, (g, g.pop("head"))))(
        *jax.jit(value_and_grad)(fnn.gpt(*sizes, bias=True), loss, both, TOKENS, NEXT)
    )
    g["embed"] = EmbeddingParams(g["embed"].table + head.w.T)
    close((value, grads), (want, g))
    evaluated, weights = fnn.inference(net, params)
    y, _ = net.forward(params, TOKENS)
    close(evaluated.forward(weights, TOKENS)[0], y.h @ params["embed"].table.T)
    text = fnn.generate(net, params, TOKENS[:, :2], 2, KEY, temperature=0.0)
    np.testing.assert_array_equal(text[:, 0], (y.h[:, 1] @ params["embed"].table.T).argmax(-1))


@pytest.mark.slow
def test_deltas_nest_like_the_net():
    params = drawn(WORDS)
    other = NET, LOSS, WORDS.untied(params), TOKENS, NEXT
    for several in (deltas, (backprop, deltas)):
        found = fold(WORDS, LOSS, params, TOKENS, NEXT, rule=several).result
        found = found if several is deltas else found[1]
        close(found, fold(*other, rule=deltas).result)


def alone(net, loss, params, x, target):
    """The squared norm of every example's gradient, one by one."""

    def norm(x, target):
        _, grads = value_and_grad(net, loss, params, x, target)
        return sum((g**2).sum() for g in jax.tree.leaves(grads))

    norm = jax.jit(norm)
    return [norm(x[b : b + 1], target[b : b + 1]) for b in range(len(x))]


def test_norms_of_examples_have_the_products_between_the_uses():
    params = drawn(WORDS)
    norms = jax.jit(fold)(WORDS, LOSS, params, TOKENS, NEXT, rule=example_norms).result
    np.testing.assert_allclose(total(norms), alone(WORDS, LOSS, params, TOKENS, NEXT), rtol=1e-10)
    assert "head" not in norms


@pytest.mark.slow
def test_norms_of_examples_of_any_other_tie_are_one_backward_each():
    params, target = drawn(CODE), noise(4, 5, seed=3)
    norms = fold(CODE, SquaredError(), params, X, target, rule=example_norms).result
    np.testing.assert_allclose(total(norms), alone(CODE, SquaredError(), params, X, target), 1e-10)


@pytest.mark.slow
def test_norms_of_sequences_leave_out_what_the_mask_does():
    params = drawn(WORDS)
    x = Sequence(jnp.resize(TOKENS, (2, 5)), MASK)
    target = jnp.resize(NEXT, (2, 5))
    done = fold(WORDS, LOSS, params, x, target, rule=(backprop, example_norms))
    grads = jax.grad(lambda p: jnp.stack([
        plain_words(p, x.x[b, MASK[b]], target[b, MASK[b]]) for b in range(2)
    ]) @ (MASK.sum(1) / MASK.sum()))(params)  # fmt: skip
    close(done.result[0], grads)
    for b in range(2):
        g = jax.grad(plain_words)(params, x.x[b, MASK[b]], target[b, MASK[b]])
        want = sum((a**2).sum() for a in jax.tree.leaves(g))
        np.testing.assert_allclose(total(done.result[1])[b], want, rtol=1e-10)


def test_what_a_rule_makes_of_a_gradient_it_makes_of_the_sum():
    @rule
    def signs(layer, params, cache, dy):
        grads, dx = layer.backward(params, cache, dy)
        return jax.tree.map(jnp.sign, grads), jax.tree.map(lambda d: 2 * d, dx)

    params = drawn(CODE)
    y, cache = CODE.forward(params, X)
    found, dx = signs(CODE, params, cache, y)
    _, once = Dense(3, 5, bias=False).backward(CODE.untied(params)[2], cache[2], y)
    dh = 4 * once * (1 - cache[1].a ** 2)  # the rule doubles dx of every layer
    want = X.T @ dh + y.T @ cache[2].x
    np.testing.assert_array_equal(found[0].w, np.sign(want))
    np.testing.assert_allclose(dx, 2 * dh @ params[0].w.T, rtol=1e-12)


def test_a_rule_that_learns_moves_shared_params_once():
    @rule(companion=True, learns=True)
    def step(layer, params, cache, dy, own):
        grads, dx = layer.backward(params, cache, dy)
        if not own:
            return ((), ()), dx
        return ((), jax.tree.map(lambda p, g: p - 0.1 * g, own, grads)), dx

    params = drawn(WORDS)
    seen = []
    own = companion(WORDS, lambda layer, p: seen.append(layer) or p, params)
    assert fnn.Identity() in seen
    assert jax.tree.structure(own) == jax.tree.structure(params)
    both = step.given(own), backprop
    done = jax.jit(fold)(WORDS, LOSS, params, TOKENS, NEXT, rule=both)
    want = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(plain_words)(params))
    close(done.companion[0], want)


def test_a_formula_that_knows_one_use_only_is_refused_by_name():
    @rule
    def names(layer, params, cache, dy):
        return type(layer).__name__, layer.backward(params, cache, dy)[1]

    names.register(Dense)(lambda layer, params, cache, dy: ("dense", dy))
    params = drawn(CODE)
    y, cache = CODE.forward(params, X)
    message = r"^layer 2, names: Dense\(n_in=3, .* is tied, .* register one for Shared"
    with pytest.raises(NotImplementedError, match=message):
        names(CODE, params, cache, y)

    @names.register(Shared)
    def _(layer, params, cache, dy):
        return f"{len(layer.uses)} uses", layer.backward(params, cache, dy)[1]

    assert names(CODE, params, cache, y)[0] == ("2 uses", "Tanh", ())
    names.register(Serial)(lambda layer, params, cache, dy: ("serial", dy))
    with pytest.raises(NotImplementedError, match=r"^names: Serial\(.* register one for Tied"):
        names(CODE, params, cache, y)


@pytest.mark.slow
def test_norms_of_examples_with_a_factored_head_have_the_term_between_the_uses():
    net = Tied(Serial(embed=Embedding(7, 4), head=fnn.Unembed(4, 7)), head="embed")
    loss, params = fnn.LinearSoftmaxCrossEntropy(), drawn(net)
    norms = fold(net, loss, params, TOKENS, NEXT, rule=example_norms).result
    for b in range(3):
        one = fold(net, loss, params, TOKENS[b : b + 1], NEXT[b : b + 1]).result
        np.testing.assert_allclose(total(norms)[b], (one["embed"].table ** 2).sum(), rtol=1e-10)


def test_summary_counts_shared_params_once():
    text = fnn.summary(WORDS, WORDS.init(KEY), TOKENS)
    rows = [line.split() for line in text.splitlines() if "─" not in line]
    assert [(row[0], row[-1]) for row in rows[1:-1]] == [
        ("embed", "28"), ("hidden", "20"), ("bend", "0"), ("head", "0"),
    ]  # fmt: skip
    assert rows[-1] == ["total", "48"]


@pytest.mark.parametrize("around", [fnn.Recompute, lambda f: fnn.Cast(f, "float64")])
def test_it_stands_inside_other_layers(around):
    params, dy = drawn(CODE), noise(4, 5, seed=2)
    _, cache = around(CODE).forward(params, X)
    want = CODE.backward(params, CODE.forward(params, X)[1], dy)
    close(around(CODE).backward(params, cache, dy), want)


@pytest.mark.slow
def test_copies_of_it_have_params_of_their_own():
    net = Repeat(2, CODE)
    check_layer(net, X)
    params = net.init(KEY)
    norms = fold(net, SquaredError(), params, X, X, rule=example_norms).result
    np.testing.assert_allclose(total(norms), alone(net, SquaredError(), params, X, X), rtol=1e-10)
    evaluated, weights = fnn.inference(net, params)
    close(evaluated.forward(weights, X)[0], net.forward(params, X)[0])


@pytest.mark.slow
def test_nets_of_a_vmap_train():
    def run(key):
        plan = fnn.Plan(WORDS, LOSS, fnn.optim.AdamW(0.05, weight_decay=0.1))
        state = fnn.start(plan, key)
        data = (TOKENS, NEXT)
        return fnn.fit(plan, state, data, epochs=30, batch_size=3, validation=data)[1]

    history = jax.vmap(run)(jax.random.split(KEY, 2))
    assert (history["loss"][:, -1] < 0.6 * history["loss"][:, 0]).all()


TOWER = Serial(Dense(3, 4), Tanh())


def test_paths_tie_what_lies_deeper():
    towers = Parallel(a=TOWER, b=TOWER, split=True, join="sum")
    net = Tied(Serial(towers=towers, head=Dense(4, 2)), Tie("towers.b.0", "towers.a.0"))
    params, x = drawn(net), {"a": noise(5, 3), "b": noise(5, 3, seed=2)}
    assert list(params["towers"]) == ["a"]
    target = noise(5, 2, seed=4)

    def plain(p):
        (w, b), head = p["towers"]["a"][0], p["head"]
        y = (jnp.tanh(x["a"] @ w + b) + jnp.tanh(x["b"] @ w + b)) @ head.w + head.b
        return ((y - target) ** 2).sum(-1).mean()

    rules = backprop, deltas, example_norms
    done = jax.jit(fold)(net, SquaredError(), params, x, target, rule=rules)
    grads, found, norms = done.result
    close(grads, jax.jit(jax.grad(plain))(params))
    assert found["towers"]["b"][0].shape == (5, 4)
    assert norms["towers"]["b"][0] == ()


def test_running_averages_go_around_the_layers_that_share():
    net = Serial(up=Dense(5, 3), norm=fnn.BatchNorm(3), down=Dense(3, 5, bias=False))
    net = Tied(net, down="up")
    plan = fnn.Plan(net, SquaredError(), fnn.optim.SGD(0.1),
                    rule=(backprop, fnn.rules.running_averages(net)))  # fmt: skip
    state, _ = fnn.step(plan, fnn.start(plan, KEY), (X, X))
    evaluated, weights = fnn.inference(net, state.params, averages=state.companion[1])
    np.testing.assert_array_equal(weights["down"].w, state.params["up"].w.T)
    assert isinstance(evaluated["norm"], fnn.Centered)
    assert fnn.inference(net, state.params, X)[0] == evaluated


def test_frozen_it_does_not_move():
    net, params = Frozen(CODE), FrozenParams(drawn(CODE))
    y, cache = net.forward(params, X)
    found, dx = deltas(net, params, cache, y)
    _, want = CODE.backward(params.inner, cache, y)
    close(dx, want)
    close(found[2], y)
    assert not any(a.any() for a in jax.tree.leaves(net.backward(params, cache, y)[0]))


def test_another_net_keeps_its_ties():
    assert CODE.with_children(CODE.children) == CODE
    assert CODE.with_children({**CODE.children, 1: fnn.ReLU()})[1] == fnn.ReLU()
    assert repr(CODE).endswith("Tie(user='2', source='0'))")
    assert Tied(NET, Tie("head", "embed")) == WORDS


def test_layers_that_share_may_lie_in_residual_and_skip():
    block = Serial(Dense(5, 3), Tanh(), Dense(3, 5, bias=False))
    net = Residual(Serial(ahead=Residual(block), again=Residual(block)))
    tied = Tied(net, Tie("again.0", "ahead.0"), Tie("again.2", "ahead.2"))
    check_layer(tied, X)
    skip = Tied(Serial(Dense(5, 3), Skip(Dense(3, 5, bias=False))), Tie(1, 0))
    check_layer(skip, X)


def test_a_frozen_net_that_shares_has_norms_of_zero():
    net, target = Serial(Frozen(CODE), Dense(5, 2)), jnp.arange(4) % 2
    first, last = net.init(KEY)
    found = fold(net, LOSS, (first, last), X, target, rule=example_norms).result
    y, _ = net[0].forward(first, X)
    alone = fold(net[1], LOSS, last, y, target, rule=example_norms).result
    assert all((a == 0).all() for a in jax.tree.leaves(found[0]))
    np.testing.assert_allclose(total(found), alone, **EXACT)


SQUARE = Serial(a=Dense(3, 3, bias=False), b=Dense(3, 3, bias=False), c=Tanh())
TWINS = Serial(a=Dense(3, 3), b=Dense(3, 3), c=Dense(3, 3))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Tied(Tanh()), TypeError, r"^Tied: net must be a Composite, got Tanh\(\)"),
        (lambda: Tied(Tanh), TypeError, r"^Tied takes layers, got .*; build it: Tanh\("),
        (lambda: Tied(NET, head="table"), ValueError, "^Tied: no layer 'table'; there are embed"),
        (lambda: Tied(NET, hidden="head"), TypeError, r"^Tie\(.*source='head'\): no way"),
        (lambda: Tied(SQUARE, b="a"), ValueError, "could have the params .*, or transposed; give"),
        (lambda: Tied(TWINS, b="a", c="b"), ValueError, "a layer is tied once"),
        (lambda: Tie(1, 1), ValueError, "a layer is not tied to itself"),
        (lambda: Tie(1, 0, transposed), TypeError, "share needs back, and back share"),
        (lambda: Tied(NET, Tie("hidden", "embed", transposed, transposed)), ValueError,
         "share must make the params of Dense"),
        (lambda: Tied(Serial(a=NET, b=NET), b="a"), TypeError, "^Tied: a is a Serial; tie the lay"),
        (lambda: Tied(Repeat(2, SQUARE), Tie("inner.b", "inner.a")), TypeError,
         "^Tied: 'inner.a' lies in a Repeat"),
    ],
)  # fmt: skip
def test_errors(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_errors_of_params():
    params = drawn(WORDS)
    with pytest.raises(ValueError, match="^Tied: head has the params of embed; give none"):
        WORDS.forward(WORDS.untied(params), TOKENS)
    with pytest.raises(TypeError, match=r"^layer embed, Embedding\(.*must have a field table, got"):
        WORDS.forward({"hidden": params["hidden"]}, TOKENS)
    assert isinstance(WORDS, Composite)
