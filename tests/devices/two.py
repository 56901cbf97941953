"""One of several processes that train together: python two.py PORT PROCESSES PROCESS FOLDER [stop].

Every process has its part of the rows. After a step process 0 saves the State, and all begin there
if they begin again; with `stop` they wait to be killed. At the end it writes what they learned.
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
net, saved = fnn.mlp([8, 512, 4], dropout=0.1), folder / "state.safetensors"
plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Momentum(0.05))
begun = saved.exists()
fnn.devices.wait("looked", timeout=60)
state = fnn.checkpoints.load(saved, plan) if begun else fnn.start(plan, jax.random.key(0))
state = fnn.devices.place(plan, state, fnn.devices.mesh(), "fsdp")
x, target = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4
mine = slice(16 // n * i, 16 // n * (i + 1))
data = x[mine], target[mine]
if not begun:
    state, _ = fnn.step(plan, state, data)
    whole = fnn.devices.gathered(state)
    if fnn.devices.is_first():
        fnn.checkpoints.save(saved, whole, plan=plan)
    fnn.devices.wait("saved", timeout=60)
if sys.argv[5:] == ["stop"]:
    print("waits", flush=True)
    time.sleep(600)
state, history = fnn.fit(plan, state, data, epochs=5, batch_size=6, validation=data)
uneven = slice(9 * i, 9 if n == 2 and i == 0 else 16)
judged = fnn.evaluate(plan, state, (x[uneven], target[uneven]))
found = {**history, "evaluated": judged["loss"], "step": state.step}
found |= {str(k): a for k, a in enumerate(jax.tree.leaves(fnn.devices.gathered(state.params)))}
if fnn.devices.is_first():
    np.savez(folder / "found.npz", **{name: np.asarray(a) for name, a in found.items()})
fnn.devices.wait("written", timeout=60)
print(begun, jax.process_count(), jax.device_count(), jax.local_device_count())
