"""What holds on eight devices that a CPU pretends to be: every check in one process.

python tests/devices/eight.py quick          prints "ok NAME" for every check that passes
python tests/devices/eight.py slow every     the long ones, with every number of rows
"""

import functools
import math
import re
import shutil
import sys
import tempfile
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
    a, b = (
        jax.tree.map(lambda t: jax.tree.map(bare, unplaced(t)), t, is_leaf=is_state) for t in (a, b)
    )
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


def is_state(t):
    return isinstance(t, fnn.State)


def unplaced(t):
    return t._replace(layout=None) if is_state(t) else t


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
    net = fnn.mlp([16, 512, 4], dropout=0.1)
    x = jax.random.normal(KEY, (rows, 16))
    return net, x, jnp.arange(rows) % 4


def plan_of(net, optimizer=None, *, loss=None, **more):
    loss = loss or fnn.SoftmaxCrossEntropy()
    return fnn.Plan(net, loss, optimizer or fnn.optim.Momentum(0.05), **more)


def fitted(plan, state, x, target):
    how = {"epochs": 7, "batch_size": 6, "validation": (x[:5], target[:5])}
    return fnn.fit(plan, state, (x, target), **how)


@check(QUICK)
def fit_of_an_mlp_cut_everywhere_is_that_of_one_device():
    """21 steps, batches of 6 over 4 devices, 17 rows."""
    _, x, target = classifier()
    net = fnn.mlp([16, 64, 256, 4], dropout=0.1)
    plan = plan_of(net, metrics={"accuracy": fnn.accuracy})
    state = fnn.start(plan, KEY)
    placed = fnn.devices.place(plan, state, fnn.devices.mesh(4, 2), ("tensor", "fsdp"))
    assert jax.sharding.PartitionSpec("model", "data") in specs(placed.params)
    end, history = fitted(plan, placed, x, target)
    assert lie_alike(end, placed), specs(end)
    expected, before = fitted(plan, state, x, target)
    near(end, expected, 1e-5)
    near(history, before, 1e-5)


def steps(plan, x, target, weights=None, how="fsdp", mesh=None, **options):
    """Two steps on the mesh, and on one device, which must agree; the first."""
    mesh = mesh or fnn.devices.mesh(8)
    state = fnn.start(plan, KEY)
    ends = []
    for s in (fnn.devices.place(plan, state, mesh, how), state):
        s, first = fnn.step(plan, s, (x, target, weights))
        ends.append((*fnn.step(plan, s, (x, target, weights)), first))
    (end, *rows), (expected, *before) = ends
    near(rows, before, 1e-5)
    near(end, expected, 1e-5)
    return end


@check(SLOW)
def rules_clipped_sums_and_watching_see_what_they_see_on_one_device():
    """17 rows over 8 devices, one of weight 0 and NaN."""
    net, x, target = classifier()
    weights = jnp.where(jnp.arange(17) == 3, 0, 1 + jnp.arange(17.0))
    x = x.at[3].set(jnp.nan)
    rules = fnn.rules.backprop, fnn.rules.deltas, fnn.rules.example_norms, fnn.rules.noise_scale
    watch = fnn.Watch(fnn.rules.gradient_norms, fnn.rules.dead_units, every=1)
    steps(plan_of(net, rule=rules, watch=watch), x, target, weights)
    clipping = fnn.Clipping(0.1, microbatch=4)
    steps(plan_of(net, rule=clipping), *classifier()[1:])


@check(SLOW)
def steps_inside_the_backward_pass_are_those_of_one_device():
    net, x, target = classifier()
    adam = fnn.optim.Chain(fnn.optim.ClipByNorm(0.1), fnn.optim.Adam(1e-2))
    end = steps(plan_of(net, adam, in_backward=True), x, target)
    assert jax.sharding.PartitionSpec(None, "data") in specs(end.optimizer_state)


@check(SLOW)
def curvature_factors_are_those_of_one_device():
    net, x, target = classifier()
    steps(plan_of(net, fnn.optim.KFAC(0.1, damping=1.0)), x, target)


@check(SLOW)
def statistics_of_a_batch_that_does_not_divide_are_those_of_its_rows():
    net = fnn.Serial(
        fnn.Dense(16, 512, bias=False), fnn.BatchNorm(512), fnn.ReLU(), fnn.Dense(512, 4)
    )
    rule = fnn.rules.backprop, fnn.rules.running_averages(net)
    _, x, target = classifier()
    mesh = jax.make_mesh((8,), ("data",))  # explicit axes
    steps(plan_of(net, rule=rule), x, target, mesh=mesh)


@check(SLOW)
def a_run_is_saved_and_goes_on_bit_for_bit_and_on_one_device_to_rounding():
    net, x, target = classifier()
    plan = plan_of(net, ema=0.9, skips=2, microbatch=3)
    state = fnn.start(plan, KEY)
    placed = fnn.devices.place(plan, state, fnn.devices.mesh(8), "fsdp")
    with tempfile.TemporaryDirectory() as folder:
        saving = [fnn.Checkpointing(f"{folder}/{name}", every=3) for name in "abc"]

        def fit(state, i, epochs):
            how = {"epochs": epochs, "batch_size": 6, "checkpoint": saving[i]}
            return fnn.fit(plan, state, (x, target), **how)

        straight, history = fit(placed, 0, 3)
        fit(placed, 1, 1)
        shutil.copytree(f"{folder}/b", f"{folder}/c")
        near(fit(placed, 1, 3), (straight, history), 0)
        near(fit(state, 2, 3), (straight, history), 1e-5)


def batches(*arrays):
    """Four rows at a time, in order: a stream, which fills the last batch up with weight 0."""
    return lambda: (tuple(a[i : i + 4] for a in arrays) for i in range(0, len(arrays[0]), 4))


@check(SLOW)
def whatever_the_number_of_rows_and_of_devices_the_numbers_are_those_of_one():
    """Some of 1 … 17 rows, or every number, of arrays and of a stream, in batches of 4."""
    plan = plan_of(fnn.mlp([16, 256, 4]))
    alone, (_, x, target) = fnn.start(plan, KEY), classifier()
    placed = [fnn.devices.place(plan, alone, fnn.devices.mesh(n), "fsdp") for n in (1, 2, 4, 8)]

    def found(state, *data):
        both = data, batches(*data)
        ends = [fnn.fit(plan, state, d, epochs=1, batch_size=4) for d in both]
        return ends, [fnn.evaluate(plan, ends[0][0], d) for d in both]

    for n in range(1, 18) if "every" in sys.argv else (1, 3, 8, 17):
        expected = found(alone, x[:n], target[:n])
        near(*expected[1])
        for state in placed:
            near(found(state, x[:n], target[:n]), expected, 1e-5)


@check(SLOW)
def a_step_differs_from_that_of_one_device_by_rounding_alone():
    """In float32 by 1e-6 of the largest entry; in float64 its gradient, too, by 1e-13."""
    _, x, target = classifier()
    gpt = fnn.gpt(n_vocab=256, n=64, n_heads=4, n_layers=2, n_context=32, chunk=16)
    tokens, mesh = jax.random.randint(KEY, (16, 32), 0, 256), fnn.devices.mesh(8)
    for plan, batch in (
        (plan_of(fnn.mlp([16, 512, 4])), (x, target)),
        (plan_of(gpt, loss=fnn.LinearSoftmaxCrossEntropy()), (tokens, tokens)),
    ):
        for wide, rtol in (False, 1e-6), (True, 1e-13):
            with jax.enable_x64(wide):
                alone = fnn.start(plan, KEY)
                placed = fnn.devices.place(plan, alone, mesh, "fsdp")
                (end, row), (want, before) = (fnn.step(plan, s, batch) for s in (placed, alone))
                near((row, end.params), (before, want.params), rtol)
                if wide:
                    near(end, want, rtol)


def compiled(plan, state, mesh, how, tokens):
    shapes = fnn.devices.place(plan, jax.eval_shape(lambda: state), mesh, how)
    put = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    rows = jax.ShapeDtypeStruct(tokens.shape, tokens.dtype, sharding=put)
    run = jax.jit(lambda s, b: fnn.step(plan, s, b))
    return run.lower(shapes, (rows, rows)).compile()


def collectives(text):
    """(computation, kind, bytes of every array that it makes) of a compiled program."""
    found, where = [], ""
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            where = "entry" if line.startswith("ENTRY") else line.split()[0]
        if m := re.search(r" = (.*) (all-gather|all-reduce|all-to-all)(?:-start)?\(", line):
            sizes = [
                math.prod(map(int, filter(None, s.split(","))))
                for s in re.findall(r"f32\[([\d,]*)\]", m[1])
            ]
            found.append((where, m[2], [4 * n for n in sizes]))
    return found


@check(SLOW)
def a_step_of_a_gpt_gathers_and_reduces_layer_by_layer():
    """FSDP of 6 blocks: their params in one loop forth, params and gradients in one back."""
    net = fnn.gpt(n_vocab=256, n=64, n_heads=4, n_layers=6, n_context=32, chunk=16)
    plan = plan_of(net, loss=fnn.LinearSoftmaxCrossEntropy())
    state, mesh = fnn.start(plan, KEY), fnn.devices.mesh(8)
    tokens = jax.random.randint(KEY, (16, 32), 0, 256)
    program = compiled(plan, state, mesh, "fsdp", tokens)
    block = sum(a[0].nbytes for a in jax.tree.leaves(state.params["blocks"]))
    found = collectives(program.as_text())
    gathers = [(where, n) for where, kind, ns in found if kind == "all-gather" for n in ns]
    assert max(n for _, n in gathers) <= block / 2, gathers
    loops = {where for where, _ in gathers} - {"entry"}
    per_loop = {loop: sum(n for where, n in gathers if where == loop) for loop in loops}
    assert len(loops) == 2, loops
    assert all(0.9 * block < n < 1.1 * block for n in per_loop.values()), (per_loop, block)
    reduced = [(where, sum(ns)) for where, kind, ns in found if kind == "all-reduce"]
    assert sum(n for where, n in reduced if where in loops) > 0.95 * block, reduced
    outside = sum(n for where, n in reduced if where not in loops)
    rest = sum(a.nbytes for a in jax.tree.leaves(state.params)) - 6 * block
    assert outside < 1.2 * rest, (outside, rest)
    whole = sum(a.nbytes for a in jax.tree.leaves((state.params, state.optimizer_state)))
    assert program.memory_analysis().argument_size_in_bytes < whole / 8 + block
    placed = fnn.devices.place(plan, state, mesh, "fsdp")
    end, row = program(placed, (tokens, tokens))
    expected, before = fnn.step(plan, state, (tokens, tokens))
    near((row, end.params), (before, expected.params), 1e-5)
    assert lie_alike(end.params, placed.params)


def main(which):
    for name, f in {"quick": QUICK, "slow": SLOW}.get(which, QUICK | SLOW).items():
        if which not in ("quick", "slow", name):
            continue
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
