"""Tests of fnn.optim.kfac."""

import functools
import itertools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise, some

import fnn
from fnn.optim import KFAC, Chain, ClipByNorm, CosineDecay, Scheduled

KEY = jax.random.key(0)
NET, LOSS = fnn.mlp([3, 4, 5], fnn.Tanh()), fnn.SoftmaxCrossEntropy()
X, TARGET = noise(8, 3), jax.random.randint(KEY, (8,), 0, 5)
PARAMS = NET.init(KEY)
ETA, LAMBDA, MU, M = 0.3, 0.05, 0.8, 0.7


def optimizer(**options):
    given = {"momentum": MU, "decay": M, "interval": 1, "max_kl": None} | options
    return KFAC(ETA, LAMBDA, **given)


@functools.partial(jax.jit, static_argnames="sharing")
def factors(params, x, target, sharing="expand"):
    """Gradient, factors and the gradients of single examples, not by a Plan."""
    rules = fnn.rules.backprop, fnn.rules.kfac(sharing), fnn.rules.example_grads
    return fnn.fold(NET, LOSS, params, x, target, rule=rules).result


def as_matrix(layer):
    return np.concatenate([layer.w, layer.b[None]])


def descend(optimizer, batches, params=PARAMS):
    """Params after a step on every batch, by a Plan."""
    plan = fnn.Plan(NET, LOSS, optimizer)
    state = fnn.start(plan, KEY, params)
    for x, target in batches:
        state, _ = fnn.step(plan, state, (x, target))
    return state


def solve(method, a, g, s, v):
    """F⁻¹ v as a system of all entries at once."""
    n, m = v.shape
    if method == "cholesky":
        pi = np.sqrt(np.trace(a) / n / (np.trace(g) / m))
        a = a + pi * LAMBDA**0.5 * np.eye(n)
        f = np.kron(a, g + LAMBDA**0.5 / pi * np.eye(m))
    elif method == "eigen":
        f = np.kron(a, g) + LAMBDA * np.eye(n * m)
    else:
        (_, q), (_, r) = np.linalg.eigh(a), np.linalg.eigh(g)
        basis = np.kron(q, r)
        f = basis @ np.diag(s.reshape(-1)) @ basis.T + LAMBDA * np.eye(n * m)
    return np.linalg.solve(f, v.reshape(-1)).reshape(n, m)


BATCHES = [(X, TARGET), (X[::-1] * 2, TARGET), (X * 0.5, TARGET[::-1])]


@pytest.mark.parametrize("method", ["cholesky", "eigen", "ekfac"])
def test_three_steps_are_those_of_the_definition(method):
    interval = 2 if method == "ekfac" else 1
    params, velocity, w, mean, known = PARAMS, [0, 0], 0.0, [None, None], [None, None]
    for t, (x, target) in enumerate(BATCHES):
        grads, blocks, each = factors(params, x, target)
        w, new = M * w + 1 - M, []
        for j, i in enumerate((0, 2)):
            k = blocks[i].kronecker[0]
            now = np.asarray(k.rows), np.asarray(k.columns)
            old = now if t == 0 else mean[j]
            mean[j] = tuple(o + (1 - M) / w * (n - o) for o, n in zip(old, now, strict=True))
            a, g = mean[j]
            if t % interval == 0:
                (d, q), (e, r) = np.linalg.eigh(a), np.linalg.eigh(g)
                known[j] = a, g, np.outer(d, e), q, r
            elif method == "ekfac":
                *_, s, q, r = known[j]
                singles = jnp.concatenate([each[i].w, each[i].b[:, None]], 1)
                moments = ((q.T @ singles @ r) ** 2).mean(0)
                known[j] = *known[j][:2], M * s + (1 - M) * moments, q, r
            a, g, s, *_ = known[j]
            velocity[j] = MU * velocity[j] + solve(method, a, g, s, as_matrix(grads[i]))
            step = as_matrix(params[i]) - ETA * velocity[j]
            new.append(fnn.DenseParams(jnp.asarray(step[:-1]), jnp.asarray(step[-1])))
        params = new[0], (), new[1]
    state = descend(optimizer(method=method, interval=interval), BATCHES)
    chex.assert_trees_all_close(state.params, params, rtol=1e-8, atol=1e-9)


def test_one_step_finds_the_minimum_of_least_squares():
    net, loss, rng = fnn.Dense(3, 2), fnn.SquaredError(), np.random.default_rng(0)
    x, target = jnp.asarray(rng.standard_normal((9, 3))), jnp.asarray(rng.standard_normal((9, 2)))
    best = np.linalg.lstsq(np.concatenate([x, np.ones((9, 1))], 1), target)[0]
    kinds = {"kind": "exact", "method": "eigen", "momentum": 0.0, "max_kl": None}
    plan = fnn.Plan(net, loss, KFAC(1.0, 1e-12, **kinds))
    state, _ = fnn.step(plan, fnn.start(plan, KEY), (x, target))
    np.testing.assert_allclose(as_matrix(state.params), best, atol=1e-8)


@pytest.mark.slow
def test_inverses_stay_between_two_inversions_and_numbers_compile_nothing():
    traced = []

    @jax.jit
    def run(o, params):
        traced.append(1)
        plan = fnn.Plan(NET, LOSS, o)
        return fnn.fit(plan, fnn.start(plan, None, params), (X, TARGET), epochs=4, batch_size=8)

    changed = []
    for interval in (1, 3):
        states = []
        for steps in range(1, 5):
            plan = fnn.Plan(NET, LOSS, optimizer(interval=interval))
            states.append(descend(plan.optimizer, [(X * t, TARGET) for t in range(1, steps + 1)]))
        inverses = [s.optimizer_state.inverses[0].each[0].left for s in states]
        changed.append([bool(np.any(a != b)) for a, b in itertools.pairwise(inverses)])
    assert changed == [[True, True, True], [False, False, True]]
    for o in (optimizer(), optimizer(interval=3), KFAC(0.1, 1e-3, max_kl=None)):
        run(o, PARAMS)
    assert len(traced) == 1
    rates = jnp.array([0.01, 0.1])

    def final(rate):
        return run(KFAC(rate, LAMBDA, max_kl=None), PARAMS)[1]["loss"][-1]

    swept = jax.vmap(final)(rates)
    np.testing.assert_allclose(swept, [final(r) for r in rates], rtol=1e-8)


def test_the_step_is_short_in_the_metric():
    grads, blocks, _ = factors(PARAMS, X, TARGET)
    o = optimizer(max_kl=1e-4, momentum=0.0)
    updates, _ = o.update(grads, o.init(PARAMS), PARAMS, factors=blocks)
    pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(grads), strict=True)
    free, _ = optimizer(momentum=0.0).update(grads, o.init(PARAMS), PARAMS, factors=blocks)
    slope = -sum(float((u * g).sum()) for u, g in pairs) / ETA  # c Σ U·V
    pairs = zip(jax.tree.leaves(free), jax.tree.leaves(grads), strict=True)
    whole = -sum(float((u * g).sum()) for u, g in pairs) / ETA
    c = slope / whole
    np.testing.assert_allclose(c**2 * ETA**2 * whole, 1e-4, rtol=1e-9)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda u: c * u, free), **EXACT)


@pytest.mark.slow
def test_it_goes_into_chains_schedules_and_the_chains_of_optax():
    import optax

    grads, blocks, _ = factors(PARAMS, X, TARGET)
    o = optimizer()
    alone, _ = o.update(grads, o.init(PARAMS), PARAMS, factors=blocks)
    scale = jnp.float64(0.5)
    theirs = optax.chain(
        optax.GradientTransformationExtraArgs(o.init, o.update), optax.scale(scale)
    )
    updates, _ = theirs.update(grads, theirs.init(PARAMS), PARAMS, factors=blocks)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda u: u / 2, alone), **EXACT)
    once = jax.tree.map(jnp.add, PARAMS, alone)
    far = Chain(ClipByNorm(1e9), Scheduled(o, CosineDecay(ETA, 100)))
    chex.assert_trees_all_close(descend(far, BATCHES[:1]).params, once, **EXACT)
    penalized = fnn.optim.Proximal(o, fnn.L1(1e-12))
    chex.assert_trees_all_close(descend(penalized, BATCHES[:1]).params, once, atol=1e-10)
    plan = fnn.Plan(NET, LOSS, theirs, rule=fnn.rules.kfac())
    moved, _ = fnn.fit(plan, fnn.start(plan, None, PARAMS), (X, TARGET), epochs=1, batch_size=8)
    want = jax.tree.map(lambda p, u: p + u / 2, PARAMS, alone)
    chex.assert_trees_all_close(moved.params, want, **EXACT)


@pytest.mark.slow
def test_other_rules_and_penalties_stand_beside():
    plan = fnn.Plan(
        NET, LOSS, optimizer(), penalty=fnn.L2(0.1),
        rule=(fnn.rules.backprop, fnn.rules.example_norms),
    )  # fmt: skip
    state, row = fnn.step(plan, fnn.start(plan, None, PARAMS), (X, TARGET))
    norms = fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=fnn.rules.example_norms).result
    chex.assert_trees_all_close(row["example_norms"], norms, **EXACT)
    grads, blocks, _ = factors(PARAMS, X, TARGET)
    grads = jax.tree.map(jnp.add, grads, fnn.L2(0.1).gradient(PARAMS))
    updates, _ = optimizer().update(grads, optimizer().init(PARAMS), PARAMS, factors=blocks)
    chex.assert_trees_all_close(state.params, jax.tree.map(jnp.add, PARAMS, updates), **EXACT)


TOKENS = jax.random.randint(KEY, (4, 6), 0, 7)
DEEP = {
    "gpt": (fnn.gpt(7, 4, 2, 2, 6, recompute=True), TOKENS),
    "tied": (fnn.gpt(7, 4, 2, 1, 6, tied=True), TOKENS),
    "frozen, cast": (
        fnn.Cast(fnn.Serial(
            embed=fnn.Embedding(7, 3), still=fnn.Frozen(fnn.Dense(3, 3)),
            body=fnn.Bidirectional.of(fnn.LSTM(3, 4)), head=fnn.Dense(8, 7),
        ), "float32"), TOKENS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(DEEP, 2))
@pytest.mark.parametrize(
    "options", [{}, {"method": "ekfac", "kind": "monte_carlo"}, {"method": "eigen"}], ids=str
)
def test_it_trains_every_kind_of_net(name, options):
    net, tokens = DEEP[name]
    plan = fnn.Plan(net, LOSS, KFAC(0.1, 0.1, interval=2, **options))
    params = net.init(KEY)
    state = fnn.start(plan, KEY, params)
    state, history = fnn.fit(plan, state, (tokens, tokens[:, ::-1]), epochs=20, batch_size=4)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    state, _ = fnn.fit(plan, state, (tokens, tokens[:, ::-1]), epochs=1, batch_size=4)
    assert pickle.loads(pickle.dumps(plan)).optimizer == plan.optimizer
    if name == "frozen, cast":
        chex.assert_trees_all_equal(state.params["still"], params["still"])


def test_what_means_nothing_under_jit_is_nan_and_no_plausible_step():
    grads, blocks, _ = factors(PARAMS, X, TARGET)

    @jax.jit
    def update(o):
        return o.update(grads, o.init(PARAMS), PARAMS, factors=blocks)[0]

    for options in ({"damping": -1.0}, {"interval": 0}):
        wrong = optimizer().with_fields(**options)
        assert all(np.isnan(a).all() for a in jax.tree.leaves(update(wrong)))


def test_errors():
    for name, bad in {
        "learning_rate": 0.0, "damping": 0.0, "momentum": 1.0, "decay": -0.1, "interval": 0,
        "max_kl": -1.0,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"KFAC: {name} must be in"):
            KFAC(**{name: bad})
    with pytest.raises(TypeError, match="KFAC: interval must be a whole number of steps, got 2.5"):
        KFAC(interval=2.5)
    with pytest.raises(ValueError, match="KFAC: samples must be at least 1, got 0"):
        KFAC(samples=0)
    with pytest.raises(ValueError, match="KFAC: method must be one of cholesky, eigen, ekfac"):
        KFAC(method="qr")
    with pytest.raises(ValueError, match="KFAC: kind must be one of"):
        KFAC(kind="true")
    with pytest.raises(ValueError, match="KFAC: sharing must be"):
        KFAC(sharing="both")
    o = optimizer()
    with pytest.raises(ValueError, match="KFAC: update needs factors; a Plan has them found"):
        o.update(PARAMS, o.init(PARAMS), PARAMS)
    grads, blocks, _ = factors(PARAMS, X, TARGET)
    with pytest.raises(TypeError, match="KFAC: factors must be Blocks, nested like params"):
        o.update(grads, o.init(PARAMS), PARAMS, factors=grads)
    other = factors(PARAMS, X, TARGET, "reduce")[1][:1]
    with pytest.raises(ValueError, match="KFAC: factors must be those of the net"):
        o.update(grads, o.update(grads, o.init(PARAMS), factors=blocks)[1], factors=other)
    e = optimizer(method="ekfac")
    _, state = e.update(grads, e.init(PARAMS), PARAMS, factors=blocks)
    with pytest.raises(ValueError, match='KFAC: method="ekfac" needs factors with moments'):
        e.update(grads, state, PARAMS, factors=blocks)
    plan = fnn.Plan(NET, LOSS, optimizer(kind="monte_carlo"))
    with pytest.raises(ValueError, match='KFAC: kind="monte_carlo" needs a key'):
        fnn.step(plan, fnn.start(plan, None, PARAMS), (X, TARGET))
    rules = fnn.rules.backprop, fnn.rules.deltas
    mixing = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 5))
    plan = fnn.Plan(mixing, LOSS, o)
    with pytest.raises(NotImplementedError, match=r"layer 0, BatchNorm.*: nothing per"):
        fnn.step(plan, fnn.start(plan, KEY), (X, TARGET))
    for rule in (rules[1], fnn.rules.kfac()):
        told = f"Plan: KFAC finds the gradient by its own rule, where the plan has {rule}; leave"
        with pytest.raises(TypeError, match=told):
            fnn.Plan(NET, LOSS, o, rule=rule)
    with pytest.raises(TypeError, match="Plan: the rule of KFAC runs by itself"):
        fnn.Plan(NET, LOSS, optimizer(kind="exact"), rule=rules)
