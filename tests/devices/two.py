"""One of several processes that train together: python two.py PORT PROCESSES PROCESS FOLDER HOW.

HOW is "arrays" or "stream", of which every process has its part, and the run has checkpoints. After
an epoch it says so; it stays there for a while where there is a file FOLDER/slowly. At the end
process 0 writes what they learned.
"""

import pathlib
import sys
import time

import jax
import numpy as np

import fnn

port, n, i, folder, how = *sys.argv[1:4], pathlib.Path(sys.argv[4]), sys.argv[5]
n, i = int(n), int(i)
if n > 1:
    fnn.devices.join(f"127.0.0.1:{port}", n, i, timeout=60)
net = fnn.mlp([8, 512, 4], dropout=0.1 if how == "arrays" else 0.0)
plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Momentum(0.05))
state = fnn.start(plan, jax.random.key(0))
state = fnn.devices.place(plan, state, fnn.devices.mesh(), "fsdp")
x, target = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4
mine = slice(16 // n * i, 16 // n * (i + 1))
data = x[mine], target[mine]
BATCHES = [[(0, 4), (9, 13)], [(4, 8), (13, 16)], [(8, 9)]]  # rows of process 0, of process 1


def batches():
    """Three batches, to which process 1 has nothing in the last."""
    for parts in BATCHES:
        own = parts if n == 1 else parts[i : i + 1]
        if own:
            rows = np.concatenate([np.arange(*part) for part in own])
            yield x[rows], target[rows]


def said(state, row):
    """Say that an epoch is over."""
    print(f"epoch {int(state.step) // 3}", flush=True)
    if (folder / "slowly").exists():
        time.sleep(1)


more = {"arrays": {"batch_size": 6}, "stream": {"batch_size": 8 // n}}[how]
given = data if how == "arrays" else batches
saved = fnn.Checkpointing(folder / "run", every=2)
more |= {"validation": given, "callback": said, "checkpoint": saved}
try:
    state, history = fnn.fit(plan, state, given, epochs=6, **more)
except fnn.Interrupted as stopped:
    sys.exit(stopped.code)
uneven = slice(9 * i, 9 if n == 2 and i == 0 else 16)
judged = fnn.evaluate(plan, state, (x[uneven], target[uneven]))
found = {**history, "evaluated": judged["loss"], "step": state.step}
found |= {str(k): a for k, a in enumerate(jax.tree.leaves(fnn.devices.gathered(state.params)))}
if fnn.devices.is_first():
    np.savez(folder / "found.npz", **{name: np.asarray(a) for name, a in found.items()})
fnn.devices.wait("written", timeout=60)
print(jax.process_count(), jax.device_count(), jax.local_device_count())
