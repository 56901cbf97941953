"""The rows of test_promises.py that are about settings and keys, and what its rows share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import fnn

NET = fnn.mlp([3, 5, 4])
PARAMS = NET.init(jax.random.key(0))
X = jnp.ones((2, 3))
Y = jnp.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
LABELS = jnp.array([0, 2])
MSE, CE, BCE = fnn.SquaredError(), fnn.SoftmaxCrossEntropy(), fnn.SigmoidBinaryCrossEntropy()
PLAN = fnn.Plan(NET, CE, fnn.optim.SGD(1.0))
START = fnn.start(PLAN, None, PARAMS)
RMS = fnn.start(fnn.Plan(NET, CE, fnn.optim.RMSProp()), None, PARAMS)


def run(x=X, target=LABELS, params=PARAMS, loss=CE, **options):
    return fnn.value_and_grad(NET, loss, params, x, target, **options)


class Case(NamedTuple):
    call: object  # of no argument, or of arrays where the case is static
    error: type
    message: str
    static: tuple = ()  # the arrays to trace


SETTINGS = {
    "H01 rate 0": Case(
        lambda: fnn.optim.SGD(0), ValueError, r"learning_rate must be in \(0, inf\), got 0"
    ),
    "H02 rates without vmap": Case(
        lambda rates: fnn.optim.SGD(rates).update({"b": jnp.ones(4)}, ()),
        ValueError,
        r"SGD: learning_rate must be one number here, got shape \[4\]; sweep several with jax.vmap",
        (jnp.full(4, 0.1),),
    ),
    "H02 strengths without vmap": Case(
        lambda strengths: run(penalty=fnn.L2(strengths)),
        ValueError,
        r"L2: strength must be one number here, got shape \[5\]",
        (jnp.full(5, 0.1),),
    ),
    "H03 beta 1": Case(
        lambda: fnn.optim.Adam(b2=1.0), ValueError, r"Adam: b2 must be in \[0, 1\), got 1"
    ),
    "H04 eps -1": Case(lambda: fnn.optim.RMSProp(eps=-1.0), ValueError, "RMSProp: eps must be in"),
    "H09 warm-up": Case(
        lambda: fnn.optim.WarmupCosine(0.1, 150, 100),
        ValueError,
        "less than n_steps, got 150 and 100",
    ),
    "H02 None": Case(
        lambda: fnn.optim.Adam(None), TypeError, "learning_rate must be a number, got None"
    ),
    "H05 rate 1": Case(
        lambda: fnn.Dropout(1.0), ValueError, r"Dropout: rate must be in \[0, 1\), got 1.0"
    ),
    "H05 rate -0.5": Case(lambda: fnn.Dropout(-0.5), ValueError, r"rate must be in \[0, 1\)"),
    "H05 rate NaN": Case(lambda: fnn.Dropout(float("nan")), ValueError, "rate must be finite"),
    "H05 rate True": Case(lambda: fnn.Dropout(True), TypeError, "rate must be a number, got True"),
    "H06 width 0": Case(
        lambda: fnn.mlp([3, 0, 2]),
        ValueError,
        r"mlp: sizes \[3, 0, 2\], layer 0: Dense\(n_in=3, n_out=0\): n_in and n_out must be at",
    ),
    "H06 width 2.5": Case(
        lambda: fnn.mlp([3, 2.5, 2]), TypeError, "layer 0: Dense: n_out must be an integer, got 2.5"
    ),
    "H06 width True": Case(
        lambda: fnn.Dense(3, True), TypeError, "Dense: n_out must be a number, got True"
    ),
    "H06 no layers": Case(
        lambda: fnn.mlp([3]), ValueError, r"mlp: sizes must be .*at least two, got \[3\]"
    ),
    "H06 a class": Case(
        lambda: fnn.Serial(fnn.Tanh), TypeError, r"Serial takes layers, got .*build it"
    ),
    "K01 int": Case(lambda: NET.init(0), TypeError, r"key must be a typed key, got 0; use jax"),
    "K02 old key": Case(
        lambda: NET.init(jax.random.PRNGKey(0)), TypeError, r"typed key, got uint32\[2\]; use"
    ),
    "K02 keys": Case(
        lambda: fnn.Dense(3, 4).init(jax.random.split(jax.random.key(0), 2)),
        TypeError,
        "key must be one key, got an array of",
    ),
    "K03 dropout without key": Case(
        lambda x: fnn.Dropout(0.5).forward((), x),
        ValueError,
        r"forward needs a key; pass key=jax.random.key\(0\), or evaluate the net that fnn",
        (X,),
    ),
}
