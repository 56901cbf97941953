"""Hessian and Gauss–Newton matrix of a loss times a direction, none of them ever formed.

With L(p) = Σ_i dl_i ℓ(z_i, t_i) + penalty(p), z = net(p, x), a direction v like p, J = ∂z/∂p and
H_i = ∂²ℓ/∂z_i², the mean as in value_and_grad,

    Hessian          ∂²L v = d/dε ∂L(p + ε v)              jax.jvp of the hand-written gradient
    Gauss–Newton     u = J v                               jax.jvp of forward
                     c_i = dl_i H_i u_i                    jax.jvp of the loss's backward
                     G v = Jᵀ c                            the hand-written backward

G is the Hessian of L where z is replaced by z + J v: it has no second derivative of the net. It
is positive semidefinite where ℓ is convex in z, as all losses are but GaussianNLL in its variance,
SigmoidFocal, SoftmaxFocal, InfoNCE with cosine and CTC, whose G is what the formula says. To both
the Hessian of the penalty is added. Of Logits z = h w is what ℓ is convex in:

    u = h′ w + h w′        dh = c wᵀ        dw = Σ hᵀ c

a chunk of positions at a time where the loss is LinearSoftmaxCrossEntropy.

Source: Pearlmutter (1994), Neural Computation 6, pp. 147 to 160; Schraudolph (2002), Neural
Computation 14, section 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.driver import forth, run_fold
from fnn.errors import check_like
from fnn.layer import Layer, as_jax
from fnn.logits import Logits
from fnn.loss import Loss, compared
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.mean import normalized
from fnn.numerics import is_floating, like
from fnn.penalties import is_frozen, members
from fnn.records import Array, Key, PyTree, flag
from fnn.ruling import backprop
from fnn.sequence import Sequence, lift, renewed, value
from fnn.sharding import automatic


def hessian_product(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    v: PyTree,
    *,
    gradient: bool = False,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> Any:
    """∂²L v, like params: the Hessian of L, as value_and_grad has it, times a direction.

    functools.partial(hessian_product, net, loss, params, x, target) is v → A v, as the functions
    of spectra take it. What is Frozen has no derivative: its part of v counts as 0.

    Args:
        net: the network, a layer.
        loss: compares its y with the target.
        params: where the derivatives are taken.
        x: the inputs, [B, ...], as in value_and_grad.
        target: what y should be.
        v: the direction, like params. Many are a jax.vmap, which forms what they share once.
        gradient: whether to return (∂²L v, L, ∂L): L costs nothing, ∂L its parameter products.
        key: for layers that draw at random: every part sees the same draw.
        weights: of the predictions, as in value_and_grad.
        penalty: L1, L2 or a tuple of such.

    Raises:
        ValueError, TypeError: as value_and_grad, and for a v that is not like params, by path.
    """
    owner = "hessian_product"
    shown = flag(f"{owner}: gradient", gradient)
    params, v = direction(owner, params, v)

    @automatic
    def product(params, v, x, target, key, weights, penalty):
        def slopes(params):
            options = {"key": key, "weights": weights, "penalty": penalty}
            done = run_fold(owner, net, loss, params, x, target, rule=backprop, **options)
            return done.result, done.loss

        (found, total), (along, _) = jax.jvp(slopes, (params,), (v,))
        return along, total, found

    along, total, found = product(params, v, x, target, key, weights, penalty)
    return (along, total, found) if shown else along


def gauss_newton_product(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    v: PyTree,
    *,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> PyTree:
    """G v = Jᵀ H J v, like params: the Gauss–Newton matrix of L times a direction.

    Its arguments are those of hessian_product. It equals the Fisher matrix of the model where ℓ is
    −log of its probability in natural parameters: fisher_product says for which losses.

    Raises:
        ValueError, TypeError: as value_and_grad, and for a v that is not like params, by path.
    """
    options = {"key": key, "weights": weights, "penalty": penalty}
    return sandwich("gauss_newton_product", curved, net, loss, params, x, target, v, **options)


class Along(NamedTuple):
    """A forward at params, and how its y moves along v."""

    params: PyTree
    y: Any
    z: Any  # what the loss takes of y
    u: PyTree  # J v, in the form of value(z)
    cache: Any
    target: Array
    dl: Array


Inner = Callable[..., PyTree]  # (loss, z, u, target, dl, places) → c, of whole z; places counts


@automatic
def sandwich(
    owner: str, inner: Inner, net, loss, params, x, target, v, *,
    key=None, weights=None, penalty=None,
) -> PyTree:  # fmt: skip
    """Jᵀ inner(J v), and the Hessian of the penalty times v."""
    params, v = direction(owner, params, v)
    run = along(owner, net, loss, params, x, target, v, key=key, weights=weights)
    found, _ = backprop(net, run.params, run.cache, back_in(run.y, through(inner, loss, run)))
    return penalized(owner, found, params, v, penalty)


def penalized(owner: str, found: PyTree, params: PyTree, v: PyTree, penalty: Any) -> PyTree:
    """A v and the Hessian of the penalty times v."""
    for p in members(owner, penalty):
        found = jax.tree.map(jnp.add, found, jax.jvp(p.gradient, (params,), (v,))[1])
    return found


def direction(owner: str, params: PyTree, v: PyTree) -> tuple[PyTree, PyTree]:
    """Params, and v in their dtypes, 0 where they are frozen.

    Raises:
        ValueError, TypeError: for a v that is not like params, by path.
    """
    check_arrays(owner, params)
    check_arrays(owner, v, "v")
    check_like(owner, "v", v, "params", params)
    params, v = as_jax(params), like(as_jax(v), params)
    return params, jax.tree.map(
        lambda p, d: jax.tree.map(jnp.zeros_like, d) if is_frozen(p) else d,
        params, v, is_leaf=is_frozen,
    )  # fmt: skip


def along(owner: str, net, loss, params, x, target, v, *, key, weights) -> Along:
    """One forward, with its derivative along v."""

    def forward(params):
        way = forth(
            owner, net, loss, params, x, target, (backprop,), key=key, weights=weights
        )  # fmt: skip
        return value(way.y), (way.y, way.cache, way.target, way.weights)

    _, u, (y, cache, target, w) = jax.jvp(forward, (params,), (v,), has_aux=True)
    return Along(params, y, compared(loss, y)[0], u, cache, target, normalized(w))


def through(inner: Inner, loss: Loss[Any], run: Along) -> PyTree:
    """The cotangent of z that `inner` makes of u; of Logits that of both factors."""
    z, u = run.z, run.u
    places = jnp.arange(run.dl.size, dtype=jnp.int32).reshape(run.dl.shape)
    beside = run.target, run.dl, places
    if not isinstance(z, Logits):
        return inner(loss, z, u, *beside)

    def of_chunk(h, dh, *beside, w=z.w, dw=u.w):
        z, u = Logits(h, w).whole(), Logits(dh, w).whole() + Logits(h, dw).whole()
        return inner(loss, z, u, *beside).astype(w.dtype)

    arrays = z.h, u.h, *beside
    if isinstance(loss, LinearSoftmaxCrossEntropy):
        return loss.by_chunk(z, of_chunk, run.dl, arrays)
    return z.backward(of_chunk(*arrays))


def curved(
    loss: Loss[Any], z: Any, u: PyTree, target: Array, dl: Array, places: Array
) -> PyTree:  # fmt: skip
    """dl H u, of z itself or the array of a Sequence: the derivative of the loss's backward."""

    def slopes(a):
        return value(loss.value_and_backward(lift(lambda _: a, z), target, dl)[1])

    return jax.jvp(slopes, (value(z),), (u,))[1]


def back_in(y: Any, dz: PyTree) -> Any:
    """dz in the form of y; integers in it have no cotangent."""
    dz = jax.tree.map(lambda a, d: d if is_floating(a) else jnp.zeros_like(a), value(y), dz)
    return renewed(y, x=dz, state=None, memory=None) if isinstance(y, Sequence) else dz
