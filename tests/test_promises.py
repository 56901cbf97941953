"""What bad input gets: one row per case, (call, exception, message).

Errors of shape and dtype are static, so they must come under jit too; errors of value come
where values are known; test_poisoned.py has what happens under jit. Rows with arrays to
trace are run both ways.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from promises import BCE, CE, LABELS, MSE, NET, PARAMS, PLAN, RMS, SETTINGS, START, Case, X, Y, run

import fnn

CASES = {
    "S01 column": Case(
        MSE.forward,
        ValueError,
        r"SquaredError\(scale=1.0\): target must have y's shape \[4, 1\], got \[4\]; write "
        r"target\[:, None\] or y\[:, 0\]",
        (jnp.ones((4, 1)), jnp.ones(4)),
    ),
    "S01 row": Case(
        fnn.Huber().forward,
        ValueError,
        r"target must have y's shape \[4\], got \[4, 1\]; write target\[..., 0\]",
        (jnp.ones(4), jnp.ones((4, 1))),
    ),
    "S02 one for all": Case(
        MSE.forward, ValueError, r"shape \[4\].*got \[1\]", (jnp.ones(4), jnp.ones(1))
    ),
    "S02 scalar": Case(
        MSE.forward, ValueError, r"shape \[4\].*got \[\]", (jnp.ones(4), jnp.ones(()))
    ),
    "S02 square": Case(
        MSE.forward, ValueError, r"shape \[4, 4\].*got \[4\]", (jnp.ones((4, 4)), jnp.ones(4))
    ),
    "S03 more labels than rows": Case(
        CE.forward,
        ValueError,
        r"target must have shape \[2\] \(labels\) or \[2, 3\] \(probabilities\), got \[3\]",
        (Y, jnp.array([0, 1, 2])),
    ),
    "S03 one label for many rows": Case(
        CE.forward, ValueError, r"or \[2, 3\] \(probabilities\), got \[1\]", (Y, jnp.array([0]))
    ),
    "S04 features": Case(
        lambda x: run(x),
        ValueError,
        r"layer 0, Dense\(n_in=3, n_out=5\): x must have shape \[B, ..., 3\], got \[2, 4\]",
        (jnp.ones((2, 4)),),
    ),
    "S05 one sample": Case(
        lambda x: run(x), ValueError, r"got \[3\]; one example is x\[None, :\]", (jnp.ones(3),)
    ),
    "S06 images": Case(
        lambda x: run(x),
        ValueError,
        r"x must have shape \[B, ..., 3\], got \[2, 3, 5\]",
        (jnp.ones((2, 3, 5)),),
    ),
    "S08 weights": Case(
        lambda w: run(weights=w),
        ValueError,
        r"weights must have shape \[2\], got \[2, 1\]",
        (jnp.ones((2, 1)),),
    ),
    "R1 parameters": Case(
        lambda b: run(params=(PARAMS[0]._replace(b=b), *PARAMS[1:])),
        ValueError,
        r"layer 0, Dense\(n_in=3, n_out=5\): params.b must have shape \[5\], got \[1\]",
        (jnp.ones(1),),
    ),
    "R8 missing layer": Case(
        lambda: run(params=PARAMS[:2]),
        ValueError,
        "Serial: params must have one entry for each of its 3 layers, got 2",
    ),
    "R8 a list of layers": Case(
        lambda: run(params=list(PARAMS)),
        TypeError,
        "Serial: params must be a tuple, one entry per layer, got list",
    ),
    "D01 integer parameters": Case(
        lambda w: run(params=(PARAMS[0]._replace(w=w), *PARAMS[1:])),
        TypeError,
        r"params\.0\.w must be floating, got int64",
        (jnp.ones((3, 5), int),),
    ),
    "D02 raw pixels": Case(
        lambda x: run(x),
        TypeError,
        r"x must be floating, got uint8; convert it with x.astype",
        (jnp.ones((2, 3), jnp.uint8),),
    ),
    "D05 objects": Case(
        lambda: run([[1.0, None, 2.0]] * 2), TypeError, "x must hold numbers, got object"
    ),
    "D05 ragged": Case(lambda: run([[1.0], [1.0, 2.0]]), ValueError, "x is ragged"),
    "D05 strings": Case(
        lambda: run([["1", "2", "3"]] * 2), TypeError, r"got <U1 \(first entry '1'\); convert it"
    ),
    "D05 masked": Case(
        lambda: run(np.ma.masked_array(np.ones((2, 3)))),
        TypeError,
        "x is a masked array; give weights, 0 where it is masked",
    ),
    "D06 complex input": Case(
        lambda x: run(x),
        TypeError,
        "x must hold real numbers, got complex128",
        (jnp.ones((2, 3), complex),),
    ),
    "D06 complex target": Case(
        MSE.forward,
        TypeError,
        "target must hold real numbers, got complex128",
        (Y, Y.astype(complex)),
    ),
    "L01 label C": Case(
        lambda: CE.forward(Y, jnp.array([3, 1])),
        ValueError,
        r"target must hold labels in \[0, 3\), got 3 at index 0 \(1 of 2 are wrong\); "
        "labels start at 0",
    ),
    "L02 label -1": Case(
        lambda: CE.forward(Y, jnp.array([1, -1])),
        ValueError,
        r"got -1 at index 1 .*ignore_label=-1 leaves such rows out",
    ),
    "L03 float labels": Case(
        CE.forward,
        TypeError,
        "labels must be integers, got float64; write target.astype",
        (Y, jnp.array([0.0, 2.0])),
    ),
    "L03 bool labels": Case(
        CE.forward, TypeError, "labels must be integers, got bool", (Y, jnp.array([True, False]))
    ),
    "L04 rows that sum to 2": Case(
        lambda: CE.forward(Y, jnp.ones((2, 3)).at[:, 0].set(0.0)),
        ValueError,
        r"the sum of a target row must be 1, got 2.0 at index 0 \(2 of 2 are wrong\)",
    ),
    "L04 rows beyond 1": Case(
        lambda: CE.forward(Y, 2 * Y), ValueError, r"target must be in \[0, 1\], got 1.4"
    ),
    "L05 target 2": Case(
        lambda: BCE.forward(Y, Y.at[0, 1].set(2.0)),
        ValueError,
        r"target must be in \[0, 1\], got 2.0 at index \[0, 1\]",
    ),
    "L06 smoothing": Case(
        lambda: fnn.SoftmaxCrossEntropy(label_smoothing=1.5),
        ValueError,
        r"SoftmaxCrossEntropy: label_smoothing must be in \[0, 1\), got 1.5",
    ),
    "L06 smoothing NaN": Case(
        lambda: fnn.CrossEntropy(label_smoothing=float("nan")),
        ValueError,
        "label_smoothing must be finite, got nan",
    ),
    "L07 one class": Case(
        CE.forward,
        ValueError,
        r"y must have at least 2 classes .* got \[2, 1\]; for one logit use Sigmoid",
        (Y[:, :1], LABELS),
    ),
    "L08 weights": Case(
        lambda: run(weights=jnp.array([1.0, -1.0])),
        ValueError,
        "weights must be finite and at least 0, got -1.0 at index 1",
    ),
    "L09 integer one-hot": Case(
        CE.forward,
        TypeError,
        "a target of y's shape must hold floating probabilities, got int64; write "
        r"target.astype\('float32'\), or give labels \(target.argmax\(-1\)\)",
        (Y, jnp.array([[1, 0, 0], [0, 0, 1]])),
    ),
    "L10 every row ignored": Case(
        lambda: fnn.SoftmaxCrossEntropy(ignore_label=9).forward(Y, jnp.array([9, 9])),
        ValueError,
        "every label is ignored, nothing is left to average",
    ),
    "P logits as probabilities": Case(
        lambda: fnn.CrossEntropy().forward(3 * Y, LABELS),
        ValueError,
        r"y must be in \[0, 1\], got 2.* use SoftmaxCrossEntropy for logits",
    ),
    "B01 empty batch": Case(lambda x, t: run(x, t), ValueError, "empty batch", (X[:0], LABELS[:0])),
    "B01 empty step": Case(
        lambda x, t: fnn.step(PLAN, START, (x, t)),
        ValueError,
        "step: empty batch",
        (X[:0], LABELS[:0]),
    ),
    "B01 empty epoch": Case(
        lambda: fnn.epoch(PLAN, START, (X[:0], LABELS[:0]), batch_size=2),
        ValueError,
        "epoch: empty batch, the data have no rows",
    ),
    "B01 empty evaluation": Case(
        lambda: fnn.evaluate(PLAN, START, (X[:0], LABELS[:0])),
        ValueError,
        "evaluate: empty batch, the data have no rows",
    ),
    "B03 batch size": Case(
        lambda: fnn.evaluate(PLAN, START, (X, LABELS), batch_size=2.5),
        TypeError,
        "evaluate: batch_size must be an integer, got 2.5",
    ),
    "S08 weights of an evaluation": Case(
        lambda w: fnn.evaluate(PLAN, START, (X, LABELS, w)),
        ValueError,
        r"evaluate: weights must have as many rows as target, 2, got shape \[3\]",
        (jnp.ones(3),),
    ),
    "S08 weights of the predictions": Case(
        lambda w: fnn.evaluate(PLAN, START, (X[None], LABELS[None], w)),
        ValueError,
        r"evaluate: weights must have shape \[1, 2\] or \[1\], got \[1, 1\]",
        (jnp.ones((1, 1)),),
    ),
    "L01 label of an evaluation": Case(
        lambda: fnn.evaluate(PLAN, START, (X, jnp.array([0, 4]))),
        ValueError,
        r"target must hold labels in \[0, 4\), got 4 at index 1",
    ),
    "L10 weight on ignored rows only": Case(
        lambda: run(
            target=jnp.array([0, 3]),
            loss=fnn.SoftmaxCrossEntropy(ignore_label=3),
            weights=jnp.array([0.0, 1.0]),
        ),
        ValueError,
        "weights must not all be 0",
    ),
    "T01 gradient tree": Case(
        lambda: fnn.optim.apply_updates({"w": X, "b": X}, {"w": X}),
        ValueError,
        r"apply_updates: updates\.b is missing; params has it",
    ),
    "T02 state of another net": Case(
        lambda: fnn.optim.Adam().update({"w": X}, fnn.optim.Adam().init({"w": X[:1]})),
        ValueError,
        r"Adam: grads\.w must have shape \[1, 3\] as in its state, got \[2, 3\]",
    ),
    "T02 State of another optimizer": Case(
        lambda: fnn.step(fnn.Plan(NET, CE, fnn.optim.AdaGrad()), RMS, (X, LABELS)),
        ValueError,
        "step: the State was not made for AdaGrad: its optimizer_state is RMSPropState",
    ),
    "T02 params for a State": Case(
        lambda: fnn.step(PLAN, PARAMS, (X, LABELS)),
        TypeError,
        r"step: state must be a State, got tuple; fnn.start\(plan, key, params\) is one",
    ),
    "T02 an optimizer for a Plan": Case(
        lambda: fnn.start(fnn.optim.SGD(1.0), jax.random.key(0)),
        TypeError,
        r"start: plan must be a Plan, got SGD\(.*; write fnn.Plan\(net, loss, optimizer\)",
    ),
    "T02 an iterator of batches for two epochs": Case(
        lambda: fnn.fit(PLAN, START, iter([(X, LABELS)]), epochs=2, batch_size=2),
        ValueError,
        r"fit: data is an iterator, whose batches come once, where 2 epochs want .*makes one",
    ),
    "T03 a list for a NamedTuple": Case(
        lambda: fnn.optim.SGD(0.1) and fnn.optim.apply_updates(PARAMS[0], tuple(PARAMS[0])),
        TypeError,
        "apply_updates: updates must be a DenseParams, got a tuple, as in params",
    ),
    "S09 a mask of numbers": Case(
        lambda x: fnn.Sequence(x, x[..., 0]),
        TypeError,
        "Sequence: mask must be an array of booleans, got float64",
        (jnp.ones((2, 4, 3)),),
    ),
    "S09 a mask of another length": Case(
        lambda x: fnn.Sequence(x, jnp.ones((2, 3), bool)),
        ValueError,
        r"Sequence: mask must have shape \[B, T\], \[2, 4\] as x, got \[2, 3\]",
        (jnp.ones((2, 4, 3)),),
    ),
    "S09 a list for a mask": Case(
        lambda: fnn.Sequence(jnp.ones((1, 1, 3)), [[True]]),
        TypeError,
        "Sequence: mask must be an array of booleans, got list",
    ),
    "S10 a sequence for a layer without a meaning for it": Case(
        lambda x: fnn.Flatten().forward((), fnn.Sequence(x)),
        TypeError,
        r"Flatten\(\): x must be an array, got a Sequence: this layer has no meaning for a mask",
        (jnp.ones((2, 4, 3)),),
    ),
    "a class for a loss": Case(
        lambda: run(loss=fnn.SquaredError),
        TypeError,
        r"value_and_grad: loss must be a Loss, got <class .*; build it: SquaredError\(\.\.\.\)",
    ),
    "a function for a rule": Case(
        lambda: fnn.fold(NET, CE, PARAMS, X, LABELS, rule=lambda *a: fnn.rules.deltas(*a)),
        TypeError,
        "fold: rule must be a Rule, got <function .*; write @fnn.rule above a function",
    ),
    "a metric named loss": Case(
        lambda: fnn.Plan(NET, CE, fnn.optim.SGD(1.0), metrics={"loss": fnn.accuracy}),
        ValueError,
        "Plan: 'loss' stands for something else in reports",
    ),
    "penalty with norms": Case(
        lambda: fnn.fold(
            NET, CE, PARAMS, X, LABELS, penalty=fnn.L2(0.1), rule=fnn.rules.example_norms
        ),
        ValueError,
        "fold: a penalty needs a rule whose result is like params",
    ),
    "penalty": Case(
        lambda: run(penalty=0.1), TypeError, "penalty must be L1, L2 or a tuple of such, got 0.1"
    ),
    "penalty strength": Case(
        lambda: fnn.L1(-0.1), ValueError, r"L1: strength must be in \[0, inf\), got -0.1"
    ),
    **SETTINGS,
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_a_clear_error(name):
    case = CASES[name]
    with pytest.raises(case.error, match=case.message) as caught:
        case.call(*case.static)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert all(len(line) < 400 for line in lines)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.static])
def test_errors_of_shape_and_dtype_come_under_jit_too(name):
    case = CASES[name]
    with pytest.raises(case.error, match=case.message):
        jax.jit(case.call)(*case.static)
