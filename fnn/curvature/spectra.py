"""Eigenvalues of a symmetric matrix that is known only by its products v → A v.

Lanczos: from a vector q_1 of length 1, for j = 1, 2, …, m,

    w = A q_j − β_{j−1} q_{j−1}        α_j = q_j·w
    w ← w − α_j q_j, less what is left in it of all q_i, twice        β_j = ‖w‖
    q_{j+1} = w/β_j

so that QᵀAQ = T is tridiagonal, with α on the diagonal and β beside it. The eigenvalues θ of T,
T y = θ y, approach the outermost of A, with ‖A Q y − θ Q y‖ = β_m |y_m|. Where w is 0 the q so far
span all that A makes of q_1; a new direction is drawn, with β_j = 0.

Density: with q_1 drawn at random, τ_k = (y_k)_1², and n the size of A,

    (1/n) tr f(A) = E Σ_k τ_k f(θ_k)        density(t) = E Σ_k τ_k N(t; θ_k, width²)

up to what m steps leave out: f of degree 2 m − 1 is exact. Trace: with z of ±1,

    tr A = E zᵀ A z                         ± s/√k of k draws with the standard deviation s

Source: Lanczos (1950), J. Res. Nat. Bur. Standards 45, section 5; Ubaru, Chen & Saad (2017), SIAM
J. Matrix Anal. Appl. 38, section 3; Ghorbani, Krishnan & Xiao (2019), arXiv:1901.10159, for the
density; Hutchinson (1990), Commun. Stat. Simul. Comput. 19, p. 433.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fnn.arrays import as_array, check_arrays
from fnn.errors import check_key, check_like, check_one
from fnn.layer import as_jax
from fnn.numerics import wide
from fnn.penalties import is_frozen
from fnn.records import Array, Data, Key, PyTree, integer

Product = Callable[[PyTree], PyTree]  # v → A v


class Eigen(NamedTuple):
    """Some eigenvalues, the outermost first."""

    values: Array  # [k]
    vectors: PyTree  # of length 1, like params behind an axis [k]
    residuals: Array  # ‖A v − value v‖, [k]: no further from an eigenvalue of A


@dataclass(frozen=True, eq=False)
class Density(Data):
    """A density of eigenvalues, as nodes with weights; those of a start sum to 1."""

    nodes: Array  # θ, [starts, steps]
    weights: Array  # τ, [starts, steps]

    def at(self, t: Array, width: Any) -> Array:
        """The density at t [...], every node a normal distribution of this standard deviation."""
        check_one("Density", "width", width, 0, open_low=True)
        t = as_array("Density", "t", t)[..., None, None].astype(self.nodes.dtype)
        bells = jnp.exp(-(((t - self.nodes) / width) ** 2) / 2) / (width * (2 * jnp.pi) ** 0.5)
        return (self.weights * bells).sum((-2, -1)) / len(self.nodes)

    def mean(self, f: Callable[[Array], Array]) -> Array:
        """The mean of f over all eigenvalues, (1/n) tr f(A)."""
        values = jnp.asarray(f(self.nodes)).astype(self.nodes.dtype)
        return (self.weights * values).sum() / len(self.nodes)


class Trace(NamedTuple):
    """An estimate of a trace."""

    value: Array
    error: Array  # its standard error


def top_eigenvalues(
    product: Product,
    params: PyTree,
    k: int = 1,
    *,
    key: Key,
    steps: int = 32,
    which: str = "largest",
) -> Eigen:
    """The k outermost eigenvalues of A and their vectors, by Lanczos.

    Args:
        product: v → A v, symmetric, such as functools.partial(hessian_product, net, loss, params,
            x, target).
        params: what v is like; values do not matter. A is that of the params that learn: what is
            Frozen has no part in it, and 0 in the vectors.
        k: how many; of an eigenvalue that A has several times one is found.
        key: of the first vector.
        steps: products that are formed, and vectors that are kept, at most as many as there are
            params. More make residuals smaller.
        which: "largest" or "smallest", the most negative.

    Raises:
        ValueError: for k or steps below 1, k above steps, another `which`.
        TypeError: for a product that is no function or whose A v is not like v.
    """
    if not isinstance(which, str) or which not in ("largest", "smallest"):
        raise ValueError(f"top_eigenvalues: which must be largest or smallest, got {which!r:.60}.")
    run = Krylov.of("top_eigenvalues", product, params, key, steps)
    k = whole("top_eigenvalues", "k", k, run.steps)
    start, rest = jax.random.split(key)
    sign = 1 if which == "smallest" else -1
    t, q, last = run.lanczos(jax.random.normal(start, (run.n,), run.dtype), rest)
    values, y = jnp.linalg.eigh(t)
    order = jnp.argsort(sign * values)[:k]
    values, y = values[order], y[:, order]
    return Eigen(values, jax.vmap(run.tree)(y.T @ q), abs(last * y[-1]))


def spectral_density(
    product: Product, params: PyTree, *, key: Key, steps: int = 32, starts: int = 1
) -> Density:
    """The density of all eigenvalues of A, by Lanczos from random starts.

    Args:
        product: v → A v, symmetric.
        params: what v is like.
        key: of the starts.
        steps: products that are formed from every start.
        starts: over how many first vectors, one after the other, the mean is taken.

    Raises:
        ValueError, TypeError: as top_eigenvalues, for `starts` below 1.
    """
    run = Krylov.of("spectral_density", product, params, key, steps)
    starts = whole("spectral_density", "starts", starts)

    def of_one(key):
        start, rest = jax.random.split(key)
        t, _, _ = run.lanczos(jax.random.normal(start, (run.n,), run.dtype), rest)
        nodes, y = jnp.linalg.eigh(t)
        return nodes, y[0] ** 2

    return Density(*jax.lax.map(of_one, jax.random.split(key, starts)))


def trace(product: Product, params: PyTree, *, key: Key, samples: int = 16) -> Trace:
    """tr A with its standard error, the mean of zᵀ A z over z of ±1 (Hutchinson).

    Args:
        product: v → A v.
        params: what v is like.
        key: of the z.
        samples: products that are formed, one after the other.

    Raises:
        ValueError, TypeError: as top_eigenvalues, for `samples` below 2.
    """
    run = Krylov.of("trace", product, params, key, 1)
    samples = whole("trace", "samples", samples, low=2)

    def of_one(key):
        z = jax.random.rademacher(key, (run.n,), run.dtype)
        return z @ run.times(z)

    found = jax.lax.map(of_one, jax.random.split(key, samples))
    return Trace(found.mean(), found.std(ddof=1) / samples**0.5)


class Krylov(NamedTuple):
    """The products of A with flat vectors."""

    times: Callable[[Array], Array]
    tree: Callable[[Array], PyTree]
    n: int
    dtype: Any
    steps: int

    @classmethod
    def of(cls, owner: str, product: Any, params: PyTree, key: Any, steps: Any) -> "Krylov":
        """What a function of trees is, checked, on flat vectors."""
        if not callable(product):
            raise TypeError(f"{owner}: product must be a function v → A v, got {product!r:.60}.")
        check_arrays(owner, params)
        check_key(owner, key)
        params = as_jax(params)
        made = jax.eval_shape(product, params)
        check_like(owner, "product(v)", made, "v", params)
        flat, unflat = ravel_pytree(free(params))
        if not flat.size:
            raise ValueError(f"{owner}: params have no array.")
        dtype = wide(flat.dtype)
        steps = min(whole(owner, "steps", steps), flat.size)

        def tree(v):
            return whole_tree(params, unflat(v.astype(flat.dtype)))

        def times(v):
            return ravel_pytree(free(product(tree(v))))[0].astype(dtype)

        return cls(times, tree, flat.size, dtype, steps)

    def lanczos(self, start: Array, key: Key) -> tuple[Array, Array, Array]:
        """T [m, m], Q [m, n] with a vector in every row, and β_m."""
        tiny, zero = 100 * jnp.finfo(self.dtype).eps, jnp.zeros((self.n,), self.dtype)

        def step(carry, inputs):
            (q, v, before, beta), (j, key) = carry, inputs
            q = q.at[j].set(v)
            w = self.times(v) - beta * before
            alpha, size = v @ w, jnp.linalg.norm(w)
            w = apart(q, w - alpha * v)
            beta = jnp.linalg.norm(w)
            over = ~(beta > tiny * size)
            other = apart(q, jax.random.normal(key, w.shape, w.dtype))
            beta, w = jnp.where(over, 0, beta), jnp.where(over, other, w)
            return (q, w / length(w), v, beta), (alpha, beta)

        carry = jnp.zeros((self.steps, self.n), self.dtype), start / length(start), zero, zero[0]
        inputs = jnp.arange(self.steps), jax.random.split(key, self.steps)
        (q, *_), (alpha, beta) = jax.lax.scan(step, carry, inputs)
        beside = jnp.diag(beta[:-1], 1)
        return jnp.diag(alpha) + beside + beside.T, q, beta[-1]


def free(params: PyTree) -> PyTree:
    """What is like params, without what is frozen in it."""
    return jax.tree.map(lambda p: () if is_frozen(p) else p, params, is_leaf=is_frozen)


def whole_tree(params: PyTree, learned: PyTree) -> PyTree:
    """What is like params, with 0 where they are frozen."""

    def leaf(p, a):
        return jax.tree.map(jnp.zeros_like, p) if is_frozen(p) else a

    return jax.tree.map(leaf, params, learned, is_leaf=is_frozen)


def apart(q: Array, w: Array) -> Array:
    """w less its part in the span of the rows of q, which are at right angles or 0; twice."""
    w = w - (q @ w) @ q
    return w - (q @ w) @ q


def length(w: Array) -> Array:
    """‖w‖, 1 of a vector of 0."""
    size = jnp.linalg.norm(w)
    return jnp.where(size == 0, 1, size)


def whole(owner: str, name: str, value: Any, high: int | None = None, low: int = 1) -> int:
    """`value` as an integer of at least `low`, and at most `high`."""
    n = integer(f"{owner}: {name}", value)
    if n < low or (high is not None and n > high):
        most = "" if high is None else f" and at most {high}"
        raise ValueError(f"{owner}: {name} must be at least {low}{most}, got {n}.")
    return n
