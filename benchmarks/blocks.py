"""The activations, losses and optimizers of the library, found by their classes.

Benchmarks and tests that are about every block of a kind ask here, so that a new one, once
it is exported from fnn or fnn.optim, has its rows, mutants and tests without being named:

    public       the classes of a kind            forms      what a loss compares
    variants     a class, and once per flag       twin       the same function elsewhere,
                                                             found by its name
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import optax

import fnn
from fnn.layers.activations import Elementwise
from fnn.layers.softmax import OfRows

Form = tuple[str, str]  # kinds of y and of target

FORMS: tuple[Form, ...] = (  # the first that a loss takes is its own
    ("numbers", "numbers"),
    ("numbers", "signs"),
    ("numbers", "counts"),
    ("numbers", "chances"),
    ("chances", "chances"),
    ("numbers", "bits"),
    ("numbers", "labels"),
    ("rows", "labels"),
    ("numbers", "rows"),
    ("rows", "rows"),
    ("moments", "numbers"),
    ("frames", "words"),
    ("pairs", "examples"),
)
TINY = {  # one array of every kind, 2 examples of 3
    "numbers": jnp.array([[-1.5, 0.5, 2.0], [0.25, -0.5, 3.0]]),
    "signs": jnp.array([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]]),
    "counts": jnp.array([[0.0, 1.0, 3.0], [2.0, 0.0, 5.0]]),
    "bits": jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
    "moments": jnp.ones((2, 6)),
    "frames": jnp.ones((2, 4, 3)),
    "words": jnp.array([[1, 2], [2, -1]]),
    "pairs": jnp.ones((2, 2, 3)),
    "examples": jnp.array([0, 1]),
    "chances": jnp.array([[0.25, 0.5, 0.75], [0.5, 0.75, 0.125]]),
    "rows": jnp.array([[0.25, 0.5, 0.25], [0.5, 0.125, 0.375]]),
    "labels": jnp.array([2, 0]),
}


def public(module: Any, base: type) -> tuple[type[Any], ...]:
    """The concrete classes below `base` that `module` exports, in the order of their lines."""
    classes = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base)]
    return tuple(sorted((c for c in classes if not inspect.isabstract(c)), key=place))


def place(cls: type) -> tuple[str, int]:
    """Where a class is written."""
    return cls.__module__, inspect.getsourcelines(cls)[1]


def variants(cls: type[Any], **given: Any) -> dict[str, Any]:
    """By name: the block with these fields, and once more for every flag, the other way round."""
    found = {cls.__name__: cls(**given)}
    for f in fields(cls):
        if isinstance(f.default, bool):
            flag = f"not {f.name}" if f.default else f.name
            found[f"{cls.__name__}, {flag}"] = cls(**given | {f.name: not f.default})
    return found


def every(*classes: type[Any], **given: Any) -> dict[str, Any]:
    """By name: all variants of all classes, with those of the fields that each has."""
    found = {}
    for cls in classes:
        names = {f.name for f in fields(cls)}
        found |= variants(cls, **{name: given[name] for name in given if name in names})
    return found


def activations() -> dict[str, Any]:
    """Every function of one array, by name: elementwise, then of the last axis."""
    return every(*public(fnn, Elementwise), fnn.Identity, *public(fnn, OfRows))


def losses() -> dict[str, Any]:
    """Every loss that takes predictions as they are, by name: of one array, whole."""
    return every(*(cls for cls in public(fnn, fnn.Loss) if not cls.fused and not around(cls)))


def around(cls: type[Any]) -> bool:
    """Whether a loss holds another one."""
    return any(isinstance(f.default, fnn.Loss) for f in fields(cls))


def descents() -> tuple[type[Any], ...]:
    """The optimizers of gradients alone with a rate of their own; others stand around one.

    One with a rule, such as KFAC, asks for more than gradients.
    """
    classes = public(fnn.optim, fnn.optim.Optimizer)
    alone = (c for c in classes if c.rule is fnn.optim.Optimizer.rule)
    return tuple(c for c in alone if "learning_rate" in {f.name for f in fields(c)})


def optimizers(rate: Any = 0.1, **settings: Any) -> dict[str, Any]:
    """Every optimizer of `descents`, by name, with those of the settings that it has."""
    return every(*descents(), learning_rate=rate, **settings)


def forms(loss: fnn.Loss[Any]) -> list[Form]:
    """What a loss compares: the first of FORMS that it accepts, of classes rows besides."""
    accepted = [form for form in FORMS if accepts(loss, form)]
    if accepted[0][1] != "labels":
        return accepted[:1]
    return [accepted[0], next(form for form in accepted if form[1] == "rows")]


def accepts(loss: fnn.Loss[Any], form: Form) -> bool:
    """Whether the loss takes arrays of these kinds."""
    try:
        loss.check(*(TINY[kind] for kind in form))
    except (TypeError, ValueError):
        return False
    return True


def jax_nn(layer: Any) -> Callable[..., Any] | None:
    """jax.nn's function of this name, with the layer's fields; None where it has none."""
    f = named(jax.nn, type(layer).__name__)
    return f and (lambda x: f(x, *(getattr(layer, a.name) for a in fields(layer))))


def optax_loss(loss: Any) -> Callable[..., Any] | None:
    """optax's function of this name, entry by entry, with the loss's fields; None without."""
    f = named(optax, type(loss).__name__, "loss")
    return f and (lambda y, t: f(y, t, **known(f, loss)))


# What optax calls otherwise, and what it must be told to keep the published formula.
ALIASES = {"rho": "decay"}
CONVENTIONS = {"eps_in_sqrt": False, "initial_accumulator_value": 0.0}


def optax_optimizer(optimizer: Any) -> Any:
    """optax's optimizer of this name, with ours's fields; sgd where that takes them all.

    None where optax has no such formula: a field is missing, or, as in AdaGrad, ε stands
    inside the root and is not 0.
    """
    make = named(optax, type(optimizer).__name__) or optax.sgd
    takes = inspect.signature(make).parameters
    given = {}
    for f in fields(optimizer):
        value = getattr(optimizer, f.name)
        name = f.name if f.name in takes else ALIASES.get(f.name, "")
        if name in takes:
            given[name] = value
        elif value is not False and value is not None:
            return None
    if "initial_accumulator_value" in takes and given["eps"] != 0:
        return None
    given |= {name: value for name, value in CONVENTIONS.items() if name in takes}
    if "mask" in takes:
        given["mask"] = lambda params: fnn.optim.weight_mask("optax", params)
    return make(**given)


def named(module: Any, name: str, ending: str = "") -> Callable[..., Any] | None:
    """The function of this name in a module, whatever its case and underscores."""
    wanted = {name.lower(), f"{name.lower()}{ending}"}
    names = [n for n in dir(module) if n.islower() and n.replace("_", "") in wanted]
    return getattr(module, names[0]) if names else None


def known(f: Callable[..., Any], record: Any) -> dict[str, Any]:
    """The fields of the record that are parameters of f."""
    takes = inspect.signature(f).parameters
    return {a.name: getattr(record, a.name) for a in fields(record) if a.name in takes}
