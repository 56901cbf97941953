"""Tests of fnn.donation: States that are given away."""

import chex
import jax
import jax.numpy as jnp
import pytest
from contract import noise
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.donation import buffers, donatable

DATA = X, TARGET
LEARNS = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4), fnn.Dense(4, 2))


def copied(tree):
    return jax.tree.map(jnp.copy, tree)


RUNS = {
    "step": lambda p, s, **how: fnn.step(p, s, DATA, **how),
    "epoch": lambda p, s, **how: fnn.epoch(p, s, DATA, batch_size=4, **how),
    "fit": lambda p, s, **how: fnn.fit(p, s, DATA, epochs=2, batch_size=4, **how),
    "callback": lambda p, s, **how: fnn.fit(
        p, s, DATA, epochs=2, batch_size=4, callback=lambda *_: None, **how
    ),
}


@pytest.mark.parametrize(
    "run", ["step", *(pytest.param(n, marks=pytest.mark.slow) for n in RUNS if n != "step")]
)
def test_a_state_that_is_given_away_is_gone_and_the_next_is_the_same(run):
    rule = fnn.rules.backprop, fnn.rules.running_averages(LEARNS)
    made = plan(net=LEARNS, rule=rule, in_backward=run == "fit")
    state, key = fnn.start(made, KEY), KEY
    kept, row = RUNS[run](made, state)
    for _ in range(2):  # the rule's own companion begins the second time, too
        state = fnn.start(made, KEY)
        given, same = RUNS[run](made, state, donate=True)
        chex.assert_trees_all_close((given.params, given.companion), (kept.params, kept.companion))
        chex.assert_trees_all_close(same, row)
        assert all(p.is_deleted() for p in jax.tree.leaves(state.params))
    assert not key.is_deleted()
    with pytest.raises(ValueError, match=r"^step: the State was given away, .* copy before"):
        fnn.step(made, state, DATA)
    RUNS[run](made, given, donate=True)


def test_what_stands_in_two_places_is_copied():
    w, b = noise(3, 3), noise(3)
    net = fnn.Serial(fnn.Dense(3, 3), fnn.Dense(3, 3))
    params = fnn.DenseParams(w, b), fnn.DenseParams(w, jnp.asarray(b))
    made = plan(fnn.optim.SGD(0.1), net, fnn.SquaredError())
    x = noise(5, 3)
    expected, _ = fnn.step(made, fnn.start(made, None, copied(params)), (x, x))
    state, _ = fnn.step(made, fnn.start(made, None, params), (x, x), donate=True)
    chex.assert_trees_all_close(state.params, expected.params)
    (a, c), _ = donatable((w := noise(2, 2), w), ()), None
    assert a is w and c is not w  # noqa: PT018
    assert donatable(w, {"kept": w.addressable_data(0)}) is not w


def test_under_jit_nothing_is_given_away():
    made = plan()
    state = fnn.start(made, KEY, copied(PARAMS))
    inside, _ = jax.jit(lambda s: fnn.step(made, s, DATA, donate=True))(state)
    chex.assert_trees_all_close(inside.params, fnn.step(made, state, DATA)[0].params)
    assert buffers(3.0) == buffers(jnp.zeros(0)) == ()


@pytest.mark.parametrize("run", RUNS)
def test_donate_is_a_boolean(run):
    name = "fit" if run == "callback" else run
    with pytest.raises(TypeError, match=rf"^{name}: donate must be True or False, got 'state'"):
        RUNS[run](plan(), fnn.start(plan(), KEY, copied(PARAMS)), donate="state")


def test_rows_that_are_params_are_not_given_away():
    net = fnn.Dense(3, 3)
    params = net.init(KEY)
    made = plan(fnn.optim.SGD(0.1), net, fnn.SquaredError())
    fnn.step(made, fnn.start(made, None, params), (params.w, noise(3, 3)), donate=True)
    assert not params.w.is_deleted()
