"""A right call of every public function, class and method, for test_walk.py to make wrong.

Layers, losses, optimizers, schedules, rules and initializers are found in the package; what
stands here by name is what no table has.
"""

import dataclasses
import functools
import inspect
import unittest.mock
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from optimizers import EVERY
from optimizers import PARAMS as WEIGHTS
from training import KEY, LOSS, NET, PARAMS, TARGET, X, plan

import fnn
from benchmarks.blocks import public
from benchmarks.mutations.subjects import BLOCKS, LAYERS, LOSSES, NETS, point


class Call(NamedTuple):
    """A right call."""

    name: str
    f: object
    args: dict
    eager: bool = False  # computes numbers


def of(name, f, /, **args):
    return Call(name, f, args)


def built(record):
    """The call that builds a record again; those of several parts have rows of their own."""
    taken = inspect.signature(type(record)).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in taken):
        return []
    return [
        Call(type(record).__name__, type(record), {p.name: getattr(record, p.name) for p in taken})
    ]


def layer(f, params, x, key=None):
    name = type(f).__name__
    y, cache = jax.eval_shape(lambda: f.forward(params, x, key=key))
    cache, dy = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), (cache, y))
    return [
        *built(f),
        of(name, f.init, key=KEY),
        of(name, f.forward, params=params, x=x, key=key),
        of(name, f.backward, params=params, cache=cache, dy=dy),
    ]


def loss(f, y, target):
    name, (losses, cache) = type(f).__name__, f.forward(y, target)
    both = {"y": y, "target": target}
    return [
        *built(f),
        *[of(name, getattr(f, method), **both) for method in ("check", "forward")],
        of(name, f.backward, cache=cache, dl=losses),
        of(name, f.value_and_backward, **both, dl=losses),
        of(name, f.shape, y=y),
        of(name, f.counted, target=target),
    ]


def optimizer(f):
    name, state = type(f).__name__, f.init(WEIGHTS)
    return [
        *built(f),
        of(name, f.init, params=WEIGHTS),
        of(name, f.update, grads=WEIGHTS, state=state, params=WEIGHTS),
        of(name, f.rate, state=state),
    ]


def schedule(cls):
    rates = {"rate": 0.1, "factor": 0.5, "every": 3, "n_steps": 9, "n_warmup": 2}
    f = cls(
        **{n: rates[n] for n in rates if n in {field.name for field in dataclasses.fields(cls)}}
    )
    return [*built(f), of(cls.__name__, f, step=1)]


def penalty(cls):
    f, name = cls(0.1), cls.__name__
    methods = [of(name, getattr(f, m), params=WEIGHTS) for m in ("value", "gradient", "mask")]
    return [*built(f), *methods, of(name, f.proximal, params=WEIGHTS, step=0.1)]


def metric(f):
    name = type(f).__name__
    called = of(name, f, y=jnp.ones((5, 2)), target=TARGET[:5])
    return [*built(f), called, of(name, f.of_mean, mean=jnp.ones(()))]


def training():
    once = plan(fnn.optim.Adam(0.1), penalty=fnn.L2(0.1), metrics={"accuracy": fnn.accuracy})
    known = {"net": NET, "loss": LOSS, "params": PARAMS, "x": X, "target": TARGET, "key": KEY}
    known |= {"weights": jnp.ones(11), "penalty": fnn.L2(0.1), "rule": fnn.rules.backprop}
    known |= {"plan": once, "state": fnn.start(once, KEY, PARAMS), "batch": (X, TARGET)}
    known |= {"data": (X, TARGET, jnp.ones(11)), "batch_size": 4, "epochs": 1, "callback": None}
    known |= {"validation": (X, TARGET), "calibration": X, "averages": None}
    known |= {"cache": True, "seen": {"step": jnp.ones((1, 2), int), "norms": jnp.ones((1, 2))}}
    known |= {"drop_last": False, "layer": NET, "max_norm": 1.0, "per_layer": False, "norms": True}
    known |= {"microbatch": 4, "donate": False, "checkpoint": None, "steps": None, "stop": None}
    functions = (fnn.value_and_grad, fnn.fold, fnn.clipped_grad, fnn.start, fnn.step, fnn.epoch,
                 fnn.evaluate, fnn.fit, fnn.predict, fnn.inference, fnn.summary,
                 fnn.watched)  # fmt: skip
    return [
        *built(once), *built(fnn.Clipping(1.0)), *built(fnn.Checkpointing("run", 5)),
        *built(rows := fnn.Sampler(lambda rows: (X[rows], TARGET[rows]), 11, 4)),
        of("Sampler", rows.batches, epoch=0, begin=1),
        *built(fnn.EarlyStopping(3)),
        of("Watch", lambda what, every: fnn.Watch(what, every=every), what=fnn.rules.deltas,
           every=10),
        *[of(f.__name__, f, **{n: known[n] for n in inspect.signature(f).parameters})
          for f in functions],
        of("as_function", lambda layer, **args: fnn.as_function(layer)(**args),
           layer=NET, params=PARAMS, x=X, key=KEY),
        of("accuracy", fnn.accuracy, y=jnp.ones((5, 2)), target=TARGET[:5]),
        *metric(fnn.TopKAccuracy(2)), *metric(fnn.Perplexity()),
    ]  # fmt: skip


def nets():
    sizes = {"n": 4, "n_heads": 2, "n_kv_heads": 1, "feed_forward": fnn.GLU(4, 3), "chunk": 2}
    sizes |= {"norm": fnn.RMSNorm, "dropout": 0.1}
    a, b = fnn.Dense(3, 3), fnn.Tanh()
    writer = fnn.Serial(fnn.Embedding(5, 3), fnn.Dense(3, 5))
    one = fnn.gpt(5, 4, 2, 1, 3, bias=True)
    llama = fnn.gpt(5, 4, 2, 1, 3, positions="rotary", norm=fnn.RMSNorm, feed_forward=fnn.GLU(4, 3))
    ways = []
    for name, net in (("gpt2", one), ("llama", llama)):
        out, back = getattr(fnn, f"to_{name}"), getattr(fnn, f"from_{name}")
        ways.append(of(f"to_{name}", out, net=net, params=net.init(KEY)))
        known = functools.partial(back, out(net, net.init(KEY)))  # a text would be a file's path
        ways.append(of(f"from_{name}", known, n_heads=2, eps=1e-6, dropout=0.1, recompute=False,
                       chunk=2))  # fmt: skip
    return [
        *ways,
        of("mlp", fnn.mlp, sizes=(3, 4, 2), activation=b, output=b, dropout=0.1, w_init=None),
        of("recurrent", fnn.recurrent, n_in=3, n_hidden=4, n_layers=2, kind=fnn.GRU, dropout=0.1,
           bidirectional=True),
        of("transformer_block", fnn.transformer_block, **sizes, causal=True, rotary=9.0,
           n_memory=3),
        of("gpt", fnn.gpt, n_vocab=5, **sizes, n_layers=2, n_context=3, positions="learned",
           recompute=True),
        of("resnet", fnn.resnet, n_in=3, n_out=5, widths=(4, 8), depths=(1, 2), bottleneck=False,
           norm=fnn.BatchNorm, stem=None),
        of("unet", fnn.unet, n_in=3, n_out=5, widths=(4, 8), norm=None),
        of("vit", fnn.vit, n_in=3, n_out=5, n=4, n_heads=2, n_layers=2, n_patches=9, patch=2,
           feed_forward=fnn.GLU(4, 3), norm=fnn.RMSNorm, dropout=0.1, bias=True),
        of("encoder_decoder", fnn.encoder_decoder, n_vocab=5, **sizes, n_layers=2, n_context=3,
           positions="learned", recompute=True, n_source=6),
        of("generate", fnn.generate, net=writer, params=writer.init(KEY), n=2, key=KEY,
           prompt=jnp.ones((2, 3), int), temperature=1.0, top_k=2, top_p=0.5, stop=1),
        of("Serial", lambda f: fnn.Serial(f, b), f=a),
        of("Serial", lambda f: fnn.Serial(a=f, b=b), f=a),
        of("Parallel", lambda f, **options: fnn.Parallel(f, b, **options), f=a, join="sum",
           split=True),
        of("Bidirectional", fnn.Bidirectional.of, layer=fnn.RNN(2, 4)),
        of("Sequence", fnn.Sequence, x=jnp.ones((2, 3, 4)), mask=jnp.ones((2, 3), bool)),
    ]  # fmt: skip


def rules():
    dense = fnn.Dense(3, 2)
    y, cache = dense.forward(params := dense.init(KEY), X)
    known = {"layer": dense, "params": params, "cache": cache, "dy": y}
    both = known | {"params": fnn.rules.With(params, params)}
    found = {n: f for n, f in vars(fnn.rules).items() if isinstance(f, fnn.rules.Rule)}
    moved = {"layer": dense, "params": params, "grads": params, "updates": params}
    functions = (fnn.rules.gradient_norms, fnn.rules.update_norms, fnn.rules.weight_norms,
                 fnn.rules.update_ratios)  # fmt: skip
    return [
        *[of(n, f, **(both if f.companion else known)) for n, f in found.items()],
        *[of(f.__name__, f, **moved) for f in functions],
        of("first_non_finite", fnn.rules.first_non_finite, net=dense,
           found=fnn.rules.non_finite(**known)[0]),
        of("companion", lambda net, f: fnn.rules.companion(net, f, WEIGHTS), net=dense,
           f=lambda layer, params: params),
        of("total", fnn.rules.total, norms=(jnp.ones(4),)),
        of("total_noise", fnn.rules.total_noise,
           found=fnn.rules.GradientNoise(jnp.ones(()), jnp.ones(()))),
        of("running_averages", fnn.rules.running_averages, net=fnn.BatchNorm(3), momentum=0.9),
        of("update", fnn.rules.update, net=dense, optimizer=fnn.optim.Adam(), params=params,
           penalty=fnn.L2(0.1)),
    ]  # fmt: skip


def kfac():
    f, net = fnn.optim.KFAC(), fnn.Dense(2, 2)
    x, target = jnp.ones((4, 2)), jnp.arange(4) % 2
    found = fnn.fold(net, LOSS, WEIGHTS, x, target, rule=fnn.rules.kfac()).result
    given = {"grads": WEIGHTS, "state": f.init(WEIGHTS), "params": WEIGHTS, "factors": found}
    return [
        *optimizer(f)[:2], of("KFAC", f.rate, state=f.init(WEIGHTS)), of("KFAC", f.update, **given),
        of("kfac", fnn.rules.kfac, sharing="expand", widest=5),
        of("fisher_blocks", fnn.curvature.fisher_blocks, net=net, loss=LOSS, params=WEIGHTS, x=x,
           target=target, kind="monte_carlo", sharing="reduce", widest=9, samples=2, key=KEY,
           weights=jnp.ones(4)),
    ]  # fmt: skip


def plateau():
    f = fnn.optim.Plateau(fnn.optim.SGD(0.1))
    made = optimizer(f)
    return [call._replace(args=call.args | {"value": 1.0}) if call.f == f.update else call
            for call in made]  # fmt: skip


def curvature():
    """Products, diagonals, spectra."""
    home, w = fnn.curvature, jnp.ones(11)
    known = {"net": NET, "loss": LOSS, "params": PARAMS, "x": X, "target": TARGET, "v": PARAMS}
    known |= {"key": KEY, "weights": w, "penalty": fnn.L2(0.1), "gradient": True, "samples": 2}
    products = (home.hessian_product, home.gauss_newton_product, home.gauss_newton_diagonal)
    kinds = [(f, kind) for f in (home.fisher_product, home.fisher_diagonal)
             for kind in ("exact", "monte_carlo", "empirical")]  # fmt: skip
    spectra = {"product": lambda v: v, "params": PARAMS, "key": KEY}
    spectra |= {"k": 1, "steps": 2, "which": "largest", "samples": 2, "starts": 1}
    density = home.Density(jnp.ones((1, 2)), jnp.ones((1, 2)))

    def given(f, known):
        return {n: known[n] for n in inspect.signature(f).parameters}

    return [
        *[of(f.__name__, f, **given(f, known)) for f in products],
        *[of(f.__name__, f, **given(f, known | {"kind": kind})) for f, kind in kinds],
        *[of(f.__name__, f, **given(f, spectra))
          for f in (home.top_eigenvalues, home.spectral_density, home.trace)],
        of("Density", density.at, t=jnp.ones(3), width=0.1),
        of("likelihood", lambda loss: home.likelihood(loss).loss, loss=LOSS),
        *built(home.likelihood(LOSS)),
    ]  # fmt: skip


def around():
    """What stands around optimizers, factored logits, states that come in."""
    chain, logits = fnn.optim.Chain, fnn.Logits(jnp.ones((4, 3)), jnp.ones((3, 5)))
    head, lstm = fnn.Unembed(6, 5), fnn.LSTM(3, 4)
    begun = fnn.Sequence(jnp.ones((2, 5, 3)), None, (jnp.ones((2, 4)), jnp.ones((2, 4))))
    linear, begins = fnn.LinearAttention(6, 2), (jnp.ones((2, 2, 3, 3)),)
    pair = fnn.EncoderDecoder(fnn.Dense(7, 4), fnn.CrossAttention(6, 2, 4))
    cross, looks = fnn.CrossAttention(6, 2, 4), begun.with_fields(x=jnp.ones((2, 5, 6)), state=None)
    carrying = [fnn.Attention(6, 2), fnn.Positions(9, 6), fnn.Sinusoids(6)]
    return [
        of("Chain", lambda link: chain(link, fnn.optim.SGD(0.1)), link=fnn.optim.ClipByNorm(1.0)),
        *optimizer(fnn.optim.ClipByNorm(1.0))[:-1], *built(fnn.optim.Foreign(*optax.sgd(0.1))),
        *built(fnn.Tie(2, 0)), *kfac(), *plateau(),
        of("apply_updates", fnn.optim.apply_updates, params=WEIGHTS, updates=WEIGHTS),
        of("weight_mask", functools.partial(fnn.optim.weight_mask, "weight_mask"),
           params=WEIGHTS, select=None),
        *[of(f.__name__, f, key=KEY, n_in=2, n_out=3) for f in DRAWS],
        *built(logits), of("Logits", logits.backward, dz=jnp.ones((4, 5))),
        *layer(head, head.init(KEY), jnp.ones((7, 6))), *layer(lstm, lstm.init(KEY), begun),
        *layer(linear, linear.init(KEY), fnn.Sequence(jnp.ones((2, 5, 6)), None, begins)),
        *layer(cross, cross.init(KEY), looks.with_fields(memory=jnp.ones((2, 3, 4)))),
        *[c for f in carrying for c in layer(f, f.init(KEY), looks.with_fields(
            state=f.zero_state(f.init(KEY), 2, 4)))],
        *layer(pair, pair.init(KEY), looks.with_fields(memory=jnp.ones((2, 3, 7)))),
        *loss(fnn.LinearSoftmaxCrossEntropy(), logits, jnp.arange(4)),
        *loss(LOSS, logits, jnp.arange(4)),
        *loss(fnn.ELBO(), (jnp.ones((4, 3)), jnp.ones((4, 2))), jnp.ones((4, 3))),
    ]  # fmt: skip


def devices():
    """Of one device and one process, which joins nobody."""
    home, once = fnn.devices, plan(fnn.optim.Adam(0.1))
    given = {"plan": once, "state": fnn.start(once, KEY, PARAMS), "mesh": home.mesh(1)}
    nobody = unittest.mock.patch("jax.distributed.initialize", unittest.mock.Mock())
    others = {"coordinator": "host:1", "processes": 1, "process": 0, "timeout": 1}
    return [
        of("mesh", home.mesh, data=1, model=1, devices=jax.devices()[:1]),
        of("place", home.place, **given, how="fsdp"),
        of("gathered", home.gathered, tree=given["state"]),
        of("wait", home.wait, name="here", timeout=1.0), of("is_first", home.is_first),
        of("join", nobody(home.join), **others),
    ]  # fmt: skip


def checks():
    """The checker's, at one point; what f makes of its arguments is f's own matter."""
    x = jnp.arange(1.0, 4.0)

    def square(x):
        return (x**2).sum()

    def at_x(checker, /, *given, **options):
        def call(**args):
            first = [args.pop(name) for name in given]
            return checker(*first, x, quick=True, **args)

        return Call(checker.__name__, call, options | {"seed": 0}, eager=True)

    return [
        at_x(fnn.check, "subject", subject=fnn.Tanh()),
        at_x(fnn.check_gradient, "f", "grad", f=square, grad=lambda x: 2 * x, argnums=0),
        at_x(fnn.check_vjp, "f", "backward", f=square, backward=lambda x, dy: 2 * x * dy),
        at_x(fnn.check_same, "f", "reference", f=square, reference=square),
    ]


def of_kind(subjects):
    """One subject of every public class, by its name."""
    found = {type(s.build(1)).__name__: s for s in subjects}
    return {name: s for name, s in found.items() if hasattr(fnn, name)}


def rows(y, target):
    """y and target with their examples on one axis, but sequences of labels."""
    if target.shape[:-1] != y.shape[:-1] and target.shape != y.shape[:-1]:
        return y, target
    flat = y.reshape(-1, y.shape[-1])
    return flat, target.reshape(len(flat), -1) if target.ndim == y.ndim else target.reshape(-1)


def calls_of(subject):
    """All of a block's; its constructor alone where an earlier one has the same methods."""
    block, params, x, target, key = point(subject, 1)
    kinds = (getattr(fnn, name) for name in SUBJECTS)
    if next(kind for kind in kinds if kind.forward is type(block).forward) is not type(block):
        return built(block)
    return loss(block, *rows(x, target)) if params is None else layer(block, params, x, key)


DRAWS = [
    f for n, f in vars(fnn.initializers).items()
    if inspect.isfunction(f) and n[0] != "_" and f.__module__ == "fnn.initializers"
]  # fmt: skip
SUBJECTS = of_kind((*LAYERS, *BLOCKS, *NETS, *LOSSES))
MAKERS = {
    **{name: functools.partial(calls_of, s) for name, s in SUBJECTS.items()},
    **{name: lambda make=make: optimizer(make(0.1)) for name, make in EVERY.items()},
    **{c.__name__: functools.partial(schedule, c) for c in public(fnn.optim, fnn.optim.Schedule)},
    **{c.__name__: functools.partial(penalty, c) for c in public(fnn, fnn.Penalty)},
    **{f.__name__: f for f in (training, nets, rules, curvature, around, devices, checks)},
}
CALLS = {name: functools.cache(make) for name, make in MAKERS.items()}  # made when asked for
