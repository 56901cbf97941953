"""Plan and State: what is trained and how, and all that training carries from step to step.

A Plan is data: the numbers of its optimizer, its penalty and the companion of its rule are
leaves that jit traces, so another learning rate compiles nothing and a sweep is a vmap. Net,
loss, rule and metrics decide the function and are static.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.accumulation import check_microbatch, in_microbatches
from fnn.arrays import check_arrays
from fnn.carried import apart, averages_in, beside, grown, learned
from fnn.donation import check_there
from fnn.driver import Pass, many, run_fold
from fnn.errors import check_key, check_known, dotted
from fnn.evaluation import check_averages, check_calibration, evaluated
from fnn.layer import Layer, as_jax, check_layer_type
from fnn.loss import Loss, check_loss_type
from fnn.moving_average import EMA, check_decay, judged, no_average
from fnn.numerics import concrete
from fnn.optim.foreign import as_optimizer
from fnn.penalties import members
from fnn.records import Array, Data, Key, PyTree, Record, flag
from fnn.rules.fisher import Fisher
from fnn.ruling import backprop, check_rule
from fnn.sequence import value
from fnn.sharding import Layout
from fnn.skipping import check_skips, none_skipped
from fnn.updating import begun, check_in_backward
from fnn.watching import Watch

Metrics = Mapping[str, Callable[[Any, Array], Array]]  # name → (y, target) → [B, ...]


class State(NamedTuple):
    """All that training carries from step to step."""

    params: PyTree
    optimizer_state: Any  # with in_backward one for each layer, nested like params
    key: Key | None  # stays the same; every draw folds the step into it
    step: Array  # steps so far, those left out too, int32 []
    companion: PyTree = None  # of a rule that learns
    skipped: Array | None = None  # steps left out so far, int32 []; None without skips
    ema: EMA | None = None  # of the params, with weight and params of its own; None without
    layout: Layout | None = None  # of fnn.devices.place: how all this lies on a mesh


@dataclass(frozen=True)
class Plan(Data):
    """A net, the loss it should make small, and the optimizer that does it.

    Args:
        net: the network.
        loss: compares its y with the target.
        optimizer: fnn's, or any pair of init and update, such as optax's.
        penalty: L1, L2 or a tuple of such.
        rule: what computes the gradients, its result like params: a Rule, one with its
            companion (rule.given(tree)), a tuple of which the first gives the gradients
            and the others are reported, or a record with run(net, loss, params, x, target,
            *, key, weights, penalty) → Pass, for a learning rule that is not a fold. An optimizer
            with a rule of its own, such as KFAC, has it in the place of backprop.
        metrics: name → function (y, target) → one number per prediction, averaged over
            what is reported, from the y of the steps themselves; a Metric, such as
            Perplexity(), may make something else of the mean.
        in_backward: whether each layer steps where its gradient is made, so that there never is
            a gradient of all layers: the same params to rounding, in less memory. The optimizer
            must be elementwise, or Chain(ClipByNorm(c), one), which costs a second pass back.
            A loss that is not finite is seen before: params, optimizer and what rules learn
            stay as they were, where else they become NaN. Gradients that are not finite are
            seen only where the optimizer clips: then the row's loss is NaN, and all stays, too.
        watch: a Watch: what some of the steps show of their inside.
        skips: how many steps that are not finite may be left out, in the loss, in a gradient or in
            what they make of the State: all but state.step stays as it was, and state.skipped
            counts them. One more is taken. The State before a step stays until that is known.
        microbatch: how many rows of a batch have a forward and a backward at a time, one
            microbatch after the other (gradient accumulation): the same gradient to rounding, in
            the memory of so many. Dropout draws other numbers, as many and as independent.
        ema: the decay of a moving average of the params, such as 0.999: state.ema.params, which
            are evaluated, validated and predicted with in their place.

    A gradient that is not finite makes the loss of its row NaN where the optimizer may hide it, as
    optax's may, and your own unless it says `keeps_nan`.

    Raises:
        TypeError: for what is not a layer, a loss, an optimizer, a penalty, a rule or a Watch; with
            in_backward for an optimizer or a rule that cannot step layer by layer; for a Watch with
            rules beside a rule that is not a fold, or with functions beside in_backward; for a
            microbatch where more than gradients is wanted of a pass.
        NotImplementedError: for a microbatch of a net or a loss that mixes examples.
        ValueError: for a metric of a name that reports use themselves, for skips or a microbatch
            below 1, for an ema outside [0, 1).
    """

    net: Layer[Any, Any]
    loss: Loss[Any]
    optimizer: Any
    penalty: Any = field(default=None, kw_only=True)
    rule: Any = field(default=backprop, kw_only=True)
    metrics: Any = field(default=(), kw_only=True, metadata={"static": True})
    in_backward: bool = field(default=False, kw_only=True, metadata={"static": True})
    watch: Watch | None = field(default=None, kw_only=True)
    skips: int | Array | None = field(default=None, kw_only=True)
    microbatch: int | None = field(default=None, kw_only=True, metadata={"static": True})
    ema: float | Array | None = field(default=None, kw_only=True)

    def __post_init__(self):
        """Check every part, and hold optimizer and metrics in the forms that jit takes."""
        check_layer_type("Plan", self.net)
        check_loss_type("Plan", self.loss)
        object.__setattr__(self, "optimizer", as_optimizer("Plan", self.optimizer))
        members("Plan", self.penalty)
        if not isinstance(self.rule, Record | Data) or not hasattr(self.rule, "run"):
            check_gradients(check_rule("Plan", self.rule)[0])
        check_asked(self.optimizer, self.rule)
        object.__setattr__(self, "in_backward", flag("Plan: in_backward", self.in_backward))
        if self.in_backward:
            check_in_backward(self.optimizer, self.rule)
        object.__setattr__(self, "metrics", named(self.metrics, self.names()))
        check_skips(self.skips)
        check_decay(self.ema)
        check_watch(self.watch, self.rule, in_backward=self.in_backward)
        if hasattr(asked_of(self.optimizer), "run"):
            owner = f"the rule of {type(self.optimizer).__name__}"
            check_watch(self.watch, asked_of(self.optimizer), owner=owner)
        object.__setattr__(self, "microbatch", check_microbatch(self))

    def run(
        self, owner: str, state: State, x, target, weights, key
    ) -> tuple[Pass, tuple[PyTree, ...]]:
        """One pass forward and back, of the rule with the companion it has by now.

        x is as `weighed_in` leaves it; what fills a batch up has weight 0 besides. With it comes
        what the rules of the Watch, behind that of the plan, make of the same pass.
        """
        args = self.net, self.loss, state.params, x, target
        options = {"key": key, "weights": weights, "penalty": self.penalty}
        if self.microbatch is not None:
            return in_microbatches(owner, *args, **options, size=self.microbatch), ()
        rule = self.first(state)
        if hasattr(rule, "run"):
            return rule.run(*args, **options), ()
        looking = self.looking()
        done = run_fold(owner, *args, rule=beside(rule, looking), selected=True, **options)
        return apart(done, rule, looking)

    def first(self, state: State) -> Any:
        """The rule with the companion it has by now, that of the optimizer in place of backprop."""
        asked = self.optimizer.rule(state.optimizer_state) if self.optimizer.asks else None
        if hasattr(self.rule, "run"):
            return self.rule
        rules = grown(self.rule, state.companion)
        first, *rest = rules if many(rules) else (rules,)
        if isinstance(first, Fisher) and not first.learns:
            first = first.learning()
        if asked is not None:
            first = asked
        return (first, *rest) if many(rules) else first

    def factors(self, done: Pass) -> PyTree:
        """What the first rule of a Pass found for the optimizer; None where it asks for nothing."""
        if not self.asks:
            return None
        return done.companion[0] if many(self.rule) else done.companion

    @property
    def asks(self) -> bool:
        """Whether the optimizer is given factors."""
        first = self.rule[0] if many(self.rule) else self.rule
        return self.optimizer.asks or isinstance(first, Fisher)

    def first_state(self, params: PyTree) -> Any:
        """The optimizer's state before the first step; with in_backward one for each layer."""
        if self.in_backward:
            return begun(self.net, self.optimizer, params)
        return self.optimizer.init(params)

    def fresh(self, params: PyTree) -> dict[str, Any]:
        """The parts of a State before the first step that depend on the plan."""
        parts = {"optimizer_state": self.first_state(params), "companion": learned(self.rule)}
        return parts | {"skipped": none_skipped(self.skips), "ema": no_average(self.ema, params)}

    def looking(self) -> tuple[Any, ...]:
        """The rules that watch."""
        return self.watch.rules if self.watch else ()

    def names(self) -> tuple[str, ...]:
        """The names of the rules behind the first, whose results are reported."""
        return tuple(map(repr, check_rule("Plan", self.rule)[0][1:])) if many(self.rule) else ()


def start(plan: Plan, key: Key | None = None, params: PyTree | None = None) -> State:
    """The State before the first step.

    Args:
        plan: what is trained, and how.
        key: for the first params, for shuffling and for layers that draw at random. None:
            rows keep their order, and such layers raise.
        params: where to start; None: plan.net.init, from the first half of
            jax.random.split(key), the second half being the key of the State.

    Raises:
        ValueError: without key and without params.
        TypeError: for a key that is not typed, params that are not floating, what is not a Plan.
    """
    check_plan("start", plan)
    if key is not None:
        check_key("start", key)
    if params is None:
        if key is None:
            raise ValueError("start: give a key to draw params from, or params.")
        first, key = jax.random.split(key)
        params = plan.net.init(first)
    check_arrays("start", params)
    params = as_jax(params)
    return State(params=params, key=key, step=jnp.zeros((), jnp.int32), **plan.fresh(params))


def asked_of(optimizer: Any) -> Any:
    """The rule that the optimizer brings, as it is before the first step; None without one."""
    return optimizer.rule(jax.eval_shape(optimizer.init, ())) if optimizer.asks else None


def check_asked(optimizer: Any, rule: Any) -> None:
    """Raise a TypeError where the optimizer brings a rule for which the plan has no room."""
    if not optimizer.asks:
        return
    asked = asked_of(optimizer)
    (first, *rest), name = rule if many(rule) else (rule,), type(optimizer).__name__
    if first != backprop:
        raise TypeError(
            f"Plan: {name} finds the gradient by its own rule, where the plan has {first!r:.60}; "
            "leave rule out, or put fnn.rules.backprop first."
        )
    if hasattr(asked, "run") and rest:
        raise TypeError(f"Plan: the rule of {name} runs by itself; leave the other rules out.")


def named(metrics: Any, rules: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """The metrics as (name, function), static for jit; a report has one entry of every name."""
    if not isinstance(metrics, Mapping | tuple):
        raise TypeError(
            f"Plan: metrics must be a dict of name → function, got {metrics!r:.60}; "
            'write metrics={"accuracy": fnn.accuracy}.'
        )
    pairs = tuple(dict(metrics).items())
    for name, f in pairs:
        if isinstance(f, type):
            raise TypeError(f"Plan: metric {name!r} is a class; build it: {f.__name__}(...).")
        if not callable(f):
            raise TypeError(f"Plan: metric {name!r} must be a function (y, target), got {f!r:.60}.")
    names = [name for name, _ in pairs] + list(rules)
    for i, name in enumerate(names):
        if name in ("loss", "state", "watch", *names[:i]) or name.startswith("validation_"):
            raise ValueError(
                f"Plan: {name!r} stands for something else in reports; choose another."
            )
    return pairs


def check_watch(
    watch: Any, rule: Any, *, in_backward: bool = False, owner: str | None = None
) -> None:
    """Raise a TypeError unless `watch` is None or a Watch for the pass of this rule."""
    if watch is None:
        return
    if not isinstance(watch, Watch):
        raise TypeError(
            f"Plan: watch must be a Watch, got {watch!r:.60}; write fnn.Watch(rule, ...)."
        )
    if watch.rules and hasattr(rule, "run"):
        names = ", ".join(n for n in watch.names if n not in watch.functions)
        raise TypeError(
            f"Plan: {names} of watch join the pass of a Rule, and {owner or type(rule).__name__} "
            "runs by itself; watch functions (layer, params, grads, updates) there."
        )
    if watch.functions and in_backward:
        raise TypeError(
            f"Plan: {', '.join(watch.functions)} of watch want gradients and updates, which a pass "
            "that steps on the way back has only layer by layer; watch rules, or leave in_backward "
            "out."
        )


def check_gradients(rules: tuple[Any, ...]) -> None:
    """Raise a TypeError for a rule that makes new params itself."""
    for rule in rules:
        if rule.in_place:
            raise TypeError(
                f"Plan: {rule} replaces params itself, which is the optimizer's matter here; write "
                "Plan(net, loss, optimizer, in_backward=True), or call fnn.fold."
            )


def with_room(state: Any, like: Any) -> Any:
    """The optimizer's state with zeros where one `like` it has more, before the first factors."""
    known = dict(jax.tree_util.tree_flatten_with_path(state)[0])
    paths, form = jax.tree_util.tree_flatten_with_path(like)
    return form.unflatten(
        [known[path] if path in known else jnp.zeros(a.shape, a.dtype) for path, a in paths]
    )


def holds(state: Any, made: Any) -> bool:
    """Whether the state has every array of a fresh one."""
    known = {path for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]}
    return known >= {path for path, _ in jax.tree_util.tree_flatten_with_path(made)[0]}


def evaluation_net(plan: Plan, state: State, calibration: PyTree) -> tuple[Layer[Any, Any], PyTree]:
    """Net and params to evaluate with: by the calibration, else by averages that were gathered."""
    averages = averages_in(plan.rule, state.companion)
    return evaluated(plan.net, judged(state.params, state.ema), calibration, averages)


def predictions_per_row(plan: Plan, state: State, x: PyTree) -> int:
    """How many losses a row of x has, at least 1: as many as positions of a sequence."""

    def outputs(params, x):
        return value(plan.net.forward(params, x, key=state.key)[0])

    y = jax.eval_shape(outputs, state.params, x)
    return max(math.prod(plan.loss.shape(y)[1:]), 1)


def check_plan(owner: str, plan: Any) -> None:
    """Raise a TypeError unless `plan` is a Plan."""
    if not isinstance(plan, Plan):
        raise TypeError(
            f"{owner}: plan must be a Plan, got {plan!r:.60}; write fnn.Plan(net, loss, optimizer)."
        )


def check_trained(owner: str, state: State) -> None:
    """Raise a ValueError for known params that are not finite: their loss may be all the same."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(judged(state.params, state.ema))[0]:
        known = concrete(leaf)
        if known is not None:
            check_known(owner, dotted("params", path), known, np.isfinite(known), "be finite")


def check_evaluated(owner: str, plan: Plan, state: State, calibration: PyTree) -> None:
    """Raise a ValueError where evaluation needs data, or a first step, that are not there."""
    averages = averages_in(plan.rule, state.companion)
    check_calibration(owner, plan.net, calibration, averages)
    if owner != "fit":  # whose averages will have been gathered by then
        check_averages(owner, calibration, averages)


def check_state(owner: str, plan: Plan, state: Any) -> None:
    """Raise unless `state` is a State that was made for the optimizer of the plan."""
    if not isinstance(state, State):
        got = type(state).__name__
        raise TypeError(
            f"{owner}: state must be a State, got {got}; fnn.start(plan, key, params) is one."
        )
    check_there(owner, "the State", state)
    check_arrays(owner, state.params)
    if state.key is not None:
        check_key(owner, state.key)
    makers = {"optimizer_state": type(plan.optimizer).__name__, "companion": "this rule"}
    for name, made in jax.eval_shape(plan.fresh, state.params).items():
        part, maker = getattr(state, name), makers.get(name, "this Plan")
        grows = name == "optimizer_state" and plan.asks and holds(part, made)
        if not grows and jax.tree.structure(made) != jax.tree.structure(part):
            raise ValueError(
                f"{owner}: the State was not made for {maker}: its {name} is "
                f"{type(part).__name__}; fnn.start(plan, key, state.params) makes a new one."
            )
