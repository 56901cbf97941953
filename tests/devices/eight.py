"""What holds on eight devices that a CPU pretends to be: every check in one process.

python tests/devices/eight.py quick      prints "ok NAME" for every check that passes
"""

import functools
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np

import fnn

QUICK, SLOW = {}, {}
KEY = jax.random.key(0)


def check(where):
    def note(f):
        where[f.__name__] = f
        return f

    return note


def near(a, b, rtol=1e-6):
    """Every array to `rtol` of its largest entry."""
    a, b = (jax.tree.map(bare, unplaced(t)) for t in (a, b))
    for (path, x), y in zip(
        jax.tree_util.tree_flatten_with_path(a)[0], jax.tree.leaves(b), strict=True
    ):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, (path, x.shape, y.shape)
        if np.issubdtype(x.dtype, np.inexact):
            largest = np.nanmax(abs(y), initial=0)
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * largest, err_msg=f"{path}")
        else:
            assert (x == y).all(), path


def unplaced(t):
    return t._replace(layout=None) if isinstance(t, fnn.State) else t


def bare(a):
    return jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a


def specs(tree):
    return [a.sharding.spec for a in jax.tree.leaves(tree)]


def lie_alike(a, b):
    """Whether all arrays of two trees lie alike."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.sharding.is_equivalent_to(y.sharding, x.ndim) for x, y in pairs)


@functools.cache
def classifier(rows=17):
    net = fnn.mlp([16, 64, 256, 4], dropout=0.1)
    x = jax.random.normal(KEY, (rows, 16))
    return net, x, jnp.arange(rows) % 4


def plan_of(net, optimizer=None, **more):
    return fnn.Plan(net, fnn.SoftmaxCrossEntropy(), optimizer or fnn.optim.Adam(1e-2), **more)


def fitted(plan, state, x, target):
    how = {"epochs": 7, "batch_size": 6, "validation": (x[:5], target[:5])}
    return fnn.fit(plan, state, (x, target), **how)


@check(QUICK)
def fit_of_an_mlp_cut_everywhere_is_that_of_one_device():
    """21 steps, batches of 6 over 4 devices, 17 rows."""
    net, x, target = classifier()
    plan = plan_of(net, metrics={"accuracy": fnn.accuracy})
    state = fnn.start(plan, KEY)
    placed = fnn.devices.place(plan, state, fnn.devices.mesh(4, 2), ("tensor", "fsdp"))
    assert jax.sharding.PartitionSpec("model", "data") in specs(placed.params)
    end, history = fitted(plan, placed, x, target)
    assert lie_alike(end, placed), specs(end)
    expected, before = fitted(plan, state, x, target)
    near(end, expected, 1e-5)
    near(history, before, 1e-5)


def main(which):
    for name, f in {"quick": QUICK, "slow": SLOW}[which].items():
        try:
            f()
        except Exception:
            print(f"wrong {name}", flush=True)
            traceback.print_exc()
        else:
            print(f"ok {name}", flush=True)


if __name__ == "__main__":
    assert jax.device_count() == 8
    main(sys.argv[1])
