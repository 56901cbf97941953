"""What tests of curvature share: the matrices themselves, made by jax alone from forwards."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import fnn
from fnn.logits import whole
from fnn.sequence import value


def flat(tree):
    return ravel_pytree(tree)[0]


def moved(params, scale=0.2):
    """Params with noise, so that no bias is 0, flat, and the way back."""
    start, tree = ravel_pytree(params)
    return start + scale * jax.random.normal(jax.random.key(7), start.shape), tree


def dense(product, like):
    """The matrix of v → A v."""
    start, tree = ravel_pytree(like)
    return jax.vmap(lambda e: flat(product(tree(e))))(jnp.eye(start.size)).T


def spoken(net, loss, tree, x, target, w, key=None):
    """z, L and the examples' own losses as functions of flat params; w the weights, [B, ...]."""

    def z(p):
        y = value(net.forward(tree(p), x, key=key)[0])
        return jax.tree.map(whole, y, is_leaf=lambda a: isinstance(a, fnn.Logits))

    def losses(z):
        return jnp.where(w > 0, w * loss.forward(z, target)[0], 0)

    def own(p):
        rows = tuple(range(1, w.ndim))
        share = w.sum(rows)
        return losses(z(p)).sum(rows) / jnp.where(share > 0, share, 1)

    return z, losses, own


def matrices(net, loss, tree, p, x, target, w, key=None):
    """Hessian, Gauss–Newton and empirical Fisher of L = Σ w l / Σ w at flat params."""
    z, losses, own = spoken(net, loss, tree, x, target, w, key)
    y, back = ravel_pytree(z(p))
    jacobian = jax.jacfwd(lambda p: flat(z(p)))(p)

    def of(y):
        return losses(back(y)).sum() / w.sum()

    share = w.sum(tuple(range(1, w.ndim))) / w.sum()
    if len(jax.tree.leaves(back(y))) == 1:  # s_b g_b, of the rows of the Jacobian
        slopes = jax.grad(of)(y).reshape(len(w), -1)
        each = jnp.einsum("bm,bmn->bn", slopes, jacobian.reshape(*slopes.shape, -1))
    else:
        each = share[:, None] * jax.jacrev(own)(p)
    each = jnp.where(share[:, None] > 0, each, 0)
    fisher = each.T @ (each / jnp.where(share > 0, share, 1)[:, None])
    hessian = jax.hessian(lambda p: of(flat(z(p))))(p)
    return hessian, jacobian.T @ jax.hessian(of)(y) @ jacobian, fisher
