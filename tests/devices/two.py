"""One of several processes that train together: python two.py PORT PROCESSES PROCESS FOLDER.

Every process has its part of the rows. Process 0 writes what they learned into the folder.
"""

import pathlib
import sys

import jax
import numpy as np

import fnn

port, n, i, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])
if n > 1:
    fnn.devices.join(f"127.0.0.1:{port}", n, i, timeout=60)
net = fnn.mlp([8, 512, 4], dropout=0.1)
plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Momentum(0.05))
state = fnn.devices.place(plan, fnn.start(plan, jax.random.key(0)), fnn.devices.mesh(), "fsdp")
x, target = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4
mine = slice(16 // n * i, 16 // n * (i + 1))
data = x[mine], target[mine]
state, row = fnn.step(plan, state, data)
state, history = fnn.fit(plan, state, data, epochs=5, batch_size=6, validation=data)
found = {"step": row["loss"], **history, "evaluated": fnn.evaluate(plan, state, data)["loss"]}
found |= {str(k): a for k, a in enumerate(jax.tree.leaves(fnn.devices.gathered(state.params)))}
if fnn.devices.is_first():
    np.savez(folder / "found.npz", **{name: np.asarray(a) for name, a in found.items()})
fnn.devices.wait("written", timeout=60)
assert (folder / "found.npz").exists()
print(jax.process_count(), jax.device_count(), jax.local_device_count())
