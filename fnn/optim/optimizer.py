"""The contract every optimizer keeps; optax's calling convention.

    state          = optimizer.init(params)
    updates, state = optimizer.update(grads, state, params)
    params         = apply_updates(params, updates)            params + updates

An optimizer is data: its hyperparameters are leaves that jit traces, vmap sweeps and a
schedule replaces, all without compiling again. Its arithmetic is at least float32 in
every leaf (`wide`), whatever the gradients and the hyperparameters are; the moments
are stored so, updates have the dtype of the gradients, params keep theirs. A class says whether
it is `elementwise`: what moves an entry depends on that entry's gradients, state and value, on
steps, rates and the loss, but on no other entry; and whether it `keeps_nan`: what is not finite in
a gradient is not finite in its update, or in its next state.
"""

import abc
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.errors import check_like, dotted, is_array, type_of
from fnn.numerics import is_floating, moved, wide
from fnn.records import Array, Data, PyTree, wrap_methods

S = TypeVar("S")  # the optimizer's state


@dataclass(frozen=True)
class Optimizer(Data, abc.ABC, Generic[S]):
    """A pair of pure functions turning gradients into updates to add to params.

    Raises:
        ValueError: for known hyperparameters out of range; from update, for grads that are not
            like the state, by path.
        TypeError: for hyperparameters that are not numbers; from update, for grads that are not
            floating; from rate, where there is none.
    """

    theirs: ClassVar[bool] = False  # another library's, whose trees are its own matter
    elementwise: ClassVar[bool] = False  # moves every entry by itself, as far as its own part goes
    keeps_nan: ClassVar[bool] = False  # what is not finite in a gradient shows behind it, likewise

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Put the checks of trees in front of the class's methods."""
        super().__init_subclass__(**kwargs)
        for fact in ("elementwise", "keeps_nan"):
            if "update" in vars(cls) and fact not in vars(cls):
                setattr(cls, fact, False)  # what is said of a parent is said of the parent's update
        wrap_methods(cls, Optimizer, {"init": _init, "update": _update, "rate": _rate})

    @abc.abstractmethod
    def init(self, params: PyTree) -> S:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self, grads: PyTree, state: S, params: PyTree | None = None, *, value: Any = None
    ) -> tuple[PyTree, S]:
        """The updates of one step, like params, and the next state.

        `value` is the loss, for optimizers that ask for it. One that takes `factors` besides is
        given what its `rule` finds.
        """

    @property
    def asks(self) -> bool:
        """Whether it has a `rule`, whose factors update is given."""
        return False

    def rule(self, state: S) -> Any:
        """What a step runs in place of backprop to find gradient and `factors`; None: no factors.

        A rule that learns, with its companion: its result is the gradient, and what it learns are
        the factors; or a record that runs by itself, whose Pass has them as its companion.
        """
        return None

    def whole(self) -> "Optimizer[Any] | None":
        """What in it, or itself, sees more than one entry at a time; None where nothing does.

        Then params may be updated layer by layer, each with a state of its own.
        """
        return self.lacking("elementwise")

    def hides(self) -> bool:
        """Whether it, or something in it, may take out of a gradient what is not finite."""
        return self.lacking("keeps_nan") is not None

    def lacking(self, fact: str) -> "Optimizer[Any] | None":
        """What in it, or itself, does not say this of its class; None where all do."""
        if not getattr(self, fact):
            return self
        parts = jax.tree.leaves([getattr(self, f.name) for f in fields(self)], is_leaf=is_optimizer)
        found = (part.lacking(fact) for part in parts if is_optimizer(part))
        return next((part for part in found if part is not None), None)

    def rate(self, state: S) -> Array | float:
        """The learning rate of the next update."""
        rate = getattr(self, "learning_rate", None)
        if rate is None:
            raise TypeError(f"{type(self).__name__} has no learning rate.")
        return rate


def is_optimizer(a: Any) -> bool:
    """Whether `a` is an Optimizer, which is a tree of numbers itself."""
    return isinstance(a, Optimizer)


def _init(f: Callable[..., Any]) -> Callable[..., Any]:
    """An init of floating params."""

    @functools.wraps(f)
    def init(self, params):
        check_arrays(type(self).__name__, params)
        return f(self, params)

    return init


def _update(f: Callable[..., Any]) -> Callable[..., Any]:
    """An update of grads that are like params, from a state as init makes it."""
    takes = "factors" in inspect.signature(f).parameters

    @functools.wraps(f)
    def update(self, grads, state, params=None, *, value=None, factors=None):
        name = type(self).__name__
        check_arrays(name, grads, "grads")
        check_state(self, state)
        if params is not None and not self.theirs:
            check_arrays(name, params)
            check_like(name, "grads", grads, "params", params)
        more = {"factors": factors} if takes else {}
        return f(self, grads, state, params, value=value, **more)

    return update


def _rate(f: Callable[..., Any]) -> Callable[..., Any]:
    """The rate at a state as init makes it."""

    @functools.wraps(f)
    def rate(self, state):
        check_state(self, state)
        return f(self, state)

    return rate


def check_state(optimizer: Optimizer[Any], state: Any) -> None:
    """Raise a TypeError unless the state is of the kind that init makes."""
    if optimizer.theirs:
        return
    made, name = jax.eval_shape(optimizer.init, ()), type(optimizer).__name__
    own = type(state) is type(made) and (not isinstance(made, tuple) or len(state) == len(made))
    if not own and made != ():
        raise TypeError(
            f"{name}: state must be {type(made).__name__} as init(params) makes it, "
            f"got {type_of(state)}."
        )
    step: Any = getattr(state, "step", None)
    if hasattr(made, "step") and not (
        is_array(step) and step.shape == () and step.dtype.kind in "iu"
    ):
        raise TypeError(
            f"{name}: state.step must be an integer array of shape [], got {step!r:.60}."
        )


def zeros(params: PyTree) -> PyTree:
    """0 for every parameter, in at least float32."""
    return jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)


def leafwise(
    owner: Any, f: Callable[..., tuple[Array, ...]], grads: PyTree, *states: PyTree
) -> tuple[PyTree, ...]:
    """f(g, *s) → (update, *s′) at every leaf, in the state's dtype, as one tree each.

    Raises a ValueError, with the path, where grads are not like the states.
    """
    name = type(owner).__name__
    for state in states:
        check_like(name, "grads", grads, "its state", state)
        check_arrays(name, state, "state")
    leaves, tree = jax.tree.flatten(grads)
    columns = [jax.tree.leaves(state) for state in states]
    rows = []
    for g, *s in zip(leaves, *columns, strict=True):
        dtype = s[0].dtype if s else wide(g.dtype)
        update, *new = f(g.astype(dtype), *s)
        rows.append((update.astype(g.dtype), *new))
    return tuple(tree.unflatten(row[i] for row in rows) for i in range(1 + len(states)))


def next_step(step: Array) -> Array:
    """t + 1, which stays at the largest integer instead of wrapping to −2³¹."""
    return jnp.minimum(step, jnp.iinfo(step.dtype).max - 1) + 1


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """params + updates, added in at least float32; params keep their dtype.

    Raises:
        TypeError: for integer parameters, which no small step can move.
        ValueError: where updates are not like params, by path.
    """
    check_like("apply_updates", "updates", updates, "params", params)

    def leaf(path, p, u):
        if not is_floating(p):
            where = dotted("params", path)
            raise TypeError(f"apply_updates: {where} must be floating, got {p.dtype}.")
        return moved(p, u)

    return jax.tree_util.tree_map_with_path(leaf, params, updates)


@dataclass(frozen=True)
class Rated(Optimizer[S], abc.ABC):
    """An optimizer that runs at the rate which a wrapper says; its state is the wrapper's `inner`.

    Raises:
        TypeError: for an optimizer without a learning rate of its own.
    """

    optimizer: Any

    def __post_init__(self):
        """Reject what has no learning rate to replace."""
        if not hasattr(self.optimizer, "learning_rate"):
            owner = type(self).__name__
            raise TypeError(
                f"{owner}: {type(self.optimizer).__name__} has no learning_rate to replace; "
                f"put {owner} inside, as in Chain(ClipByNorm(1.0), {owner}(Adam(), ...))."
            )

    @property
    def asks(self):
        """Whether the optimizer does."""
        return self.optimizer.asks

    def rule(self, state: Any):
        """The optimizer's."""
        return self.optimizer.rule(state.inner)

    def stepped(self, grads: PyTree, state: Any, params: PyTree, **more: Any) -> tuple[PyTree, Any]:
        """The optimizer's updates at the rate of this state, and its own next state."""
        now = self.optimizer.with_fields(learning_rate=self.rate(state))
        return now.update(grads, state.inner, params, **more)
