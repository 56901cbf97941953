"""Tests of fnn.steps: what tests of fnn.train do not see, who call them through their jits."""

import chex
import jax
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.batches import Rows, as_rows
from fnn.steps import drawn_key, one_epoch, one_step, row_of, seen_step

PLAN = plan(fnn.optim.SGD(0.1), metrics={"accuracy": fnn.accuracy})


def test_an_epoch_is_its_steps_and_the_average_of_what_they_report():
    rows = as_rows("fit", "data", (X, TARGET))
    begin = state = fnn.start(PLAN, None, PARAMS)
    kept = []
    for i in range(3):
        batch = Rows(*(None if a is None else a[4 * i : 4 * i + 4] for a in rows))
        alone, row = jax.jit(one_step)(PLAN, state, batch)
        state, seen = jax.jit(seen_step)(PLAN, state, batch)
        chex.assert_trees_all_equal(alone, state)
        kept.append(seen)
    end, want = jax.jit(one_epoch, static_argnames=("batch_size", "drop_last"))(
        PLAN, begin, rows, batch_size=4, drop_last=False
    )
    chex.assert_trees_all_close(end.params, state.params, rtol=1e-12)
    stacked = jax.tree.map(lambda *v: jax.numpy.stack(v), *kept)
    _, found = row_of(PLAN, state, stacked, None, 4)
    chex.assert_trees_all_close(found, want, rtol=1e-12)
    assert row.keys() == want.keys()


def test_layers_and_order_draw_from_keys_of_their_own_at_every_step():
    state = fnn.start(PLAN, KEY, PARAMS)
    later = state._replace(step=state.step + 1)
    keys = [drawn_key(s, i) for s in (state, later) for i in (0, 1)]
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 4
