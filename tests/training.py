"""What tests of training share: a small net, its data, and every function that runs a Plan."""

import jax
import jax.numpy as jnp

import fnn

NET = fnn.mlp([3, 4, 2], fnn.Tanh())
LOSS = fnn.SoftmaxCrossEntropy()
PARAMS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (11, 3))
TARGET = (X.sum(1) > 0).astype(jnp.int32)
KEY = jax.random.key(2)
value_and_grad = jax.jit(fnn.value_and_grad)


def plan(optimizer=None, net=NET, loss=LOSS, **options):
    return fnn.Plan(net, loss, optimizer or fnn.optim.Adam(0.05), **options)


def fit(plan, params=PARAMS, data=(X, TARGET), key=KEY, state=None, **options):
    options = {"epochs": 2, "batch_size": 4, **options}
    return fnn.fit(plan, state or fnn.start(plan, key, params), data, **options)


RUNS = {
    "step": lambda plan, state, data: fnn.step(plan, state, data)[0],
    "epoch": lambda plan, state, data: fnn.epoch(plan, state, data, batch_size=4)[0],
    "fit": lambda plan, state, data: fnn.fit(plan, state, data, epochs=1, batch_size=4)[0],
    "evaluate": lambda plan, state, data: fnn.evaluate(plan, state, data),
}
TRAINING = [name for name in RUNS if name != "evaluate"]
