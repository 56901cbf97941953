"""Tests of fnn.streams.mapped: the rows and the order of arrays, never whole."""

import jax
import numpy as np
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn import batches
from fnn.streams import windows
from fnn.streams.mapped import Mapped

SGD = plan(fnn.optim.SGD(0.5))


@pytest.fixture
def file(tmp_path):
    found = np.memmap(tmp_path / "x", "float64", "w+", shape=X.shape)
    found[:] = X
    return found


def test_a_memory_map_above_the_stated_size_is_read_batch_by_batch(file, monkeypatch):
    sizes, put = [], windows.Filling.put

    def noting(self, place, batch):
        sizes.append(len(batch.rows.target))
        put(self, place, batch)

    monkeypatch.setattr(windows.Filling, "put", noting)
    begin, how = fnn.start(SGD, KEY, PARAMS), {"epochs": 2, "batch_size": 4}
    data = (file, np.asarray(TARGET))
    fnn.fit(SGD, begin, data, **how)  # small: whole
    assert not sizes
    want = fnn.fit(SGD, begin, (X, TARGET), validation=(X, TARGET), **how)
    monkeypatch.setattr(batches, "WHOLE", file.nbytes - 1)
    found = fnn.fit(SGD, begin, data, validation=data, **how)
    assert sizes == [4] * 12
    for a, b in zip(*(jax.tree.leaves(run[0].params) for run in (found, want)), strict=True):
        assert np.array_equal(a, b)
    for name, history in want[1].items():
        assert found[1][name].tolist() == pytest.approx(history.tolist(), rel=1e-12)
    row = fnn.evaluate(SGD, begin, data, batch_size=3)
    want = fnn.evaluate(SGD, begin, (X, TARGET))
    assert float(row["loss"]) == pytest.approx(float(want["loss"]), rel=1e-12)


def test_batches_begin_anywhere_in_the_order_of_the_state(file):
    state = fnn.start(SGD, KEY, PARAMS)
    source = Mapped("fit", "data", (file, TARGET), 4)
    assert next(source.batches(0)).rows.target.tolist() == TARGET[:4].tolist()
    source.starts(state, 0)
    first = [b.rows.x[:, 0].tolist() for b in source.batches(0)]
    source.starts(state._replace(step=state.step + 2), 2)
    assert [b.rows.x[:, 0].tolist() for b in source.batches(0, 2)] == first[2:]
    source.starts(state._replace(step=state.step + 3), 0)
    assert [b.rows.x[:, 0].tolist() for b in source.batches(1)] != first
    counted = np.concatenate([b.real for b in source.batches(0)])
    assert counted.tolist() == [True] * 11 + [False]
    assert len(list(Mapped("fit", "data", (file, TARGET), 4, drop_last=True).batches(0))) == 2
    with pytest.raises(ValueError, match="^fit: empty batch, the data have no rows"):
        Mapped("fit", "data", (file[:0], TARGET[:0]), 4)
