"""One of several processes that train together: python two.py PORT PROCESSES PROCESS FOLDER.

Each has its part of the rows, as arrays and then as a stream, and both runs have checkpoints. After
an epoch it says so; it stays there for a while where there is a file FOLDER/slowly. At the end
process 0 writes what they learned. A stream that one cannot read is refused in all.
"""

import pathlib
import sys
import time

import jax
import numpy as np

import fnn

port, n, i, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])
if n > 1:
    fnn.devices.join(f"127.0.0.1:{port}", n, i, timeout=60)
x, target = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4
mine = slice(16 // n * i, 16 // n * (i + 1))
BATCHES = [[(0, 4), (9, 13)], [(4, 8), (13, 16)], [(8, 9)]]  # rows of process 0, of process 1


def batches():
    """Three batches, to which process 1 has nothing in the last."""
    for parts in BATCHES:
        own = parts if n == 1 else parts[i : i + 1]
        if own:
            rows = np.concatenate([np.arange(*part) for part in own])
            yield x[rows], target[rows]


def broken():
    """Batches that process 1 cannot read."""
    if i == 1:
        raise OSError("no such file")
    yield x[:4], target[:4]


def learned(name, dropout, data, batch_size):
    """The State behind six epochs of three steps, and all that is known of them."""
    plan = fnn.Plan(
        fnn.mlp([8, 512, 4], dropout=dropout), fnn.SoftmaxCrossEntropy(), fnn.optim.Momentum(0.05)
    )
    state = fnn.start(plan, jax.random.key(0))
    state = fnn.devices.place(plan, state, fnn.devices.mesh(), "fsdp")

    def said(state, row):
        print(f"{name}, epoch {int(state.step) // 3}", flush=True)
        if (folder / "slowly").exists():
            time.sleep(1)

    state, history = fnn.fit(
        plan, state, data, epochs=6, batch_size=batch_size, validation=data, callback=said,
        checkpoint=fnn.Checkpointing(folder / name, every=2),
    )  # fmt: skip
    uneven = slice(9 * i, 9 if n == 2 and i == 0 else 16)
    judged = fnn.evaluate(plan, state, (x[uneven], target[uneven]))
    found = {**history, "evaluated": judged["loss"], "step": state.step}
    params = jax.tree.leaves(fnn.devices.gathered(state.params))
    found |= {f"{k}": a for k, a in enumerate(params)}
    try:
        fnn.evaluate(plan, state, broken)
    except RuntimeError as error:
        print(f"refused: {error}", flush=True)
    return {f"{name} {key}": np.asarray(a) for key, a in found.items()}


try:
    found = learned("arrays", 0.1, (x[mine], target[mine]), 6)
    found |= learned("stream", 0.0, batches, 8 // n)
except fnn.Interrupted as stopped:
    sys.exit(stopped.code)
if fnn.devices.is_first():
    np.savez(folder / "found.npz", **found)
fnn.devices.wait("written", timeout=60)
print(jax.process_count(), jax.device_count(), jax.local_device_count())
