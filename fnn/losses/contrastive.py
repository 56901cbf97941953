"""InfoNCE: which of all keys of the batch belongs to a query.

With a query q_i and a key k_i of every example i, and τ the temperature,

    s_ij = q_i·k_j / τ        losses_i = log Σ_{j ∈ N_i} exp s_ij − s_ii
    ds_ij = dl_i (p_ij − 1{i = j})        p_ij = exp s_ij / Σ_{j ∈ N_i} exp s_ij
    dq_i = Σ_j ds_ij k_j / τ              dk_j = Σ_i ds_ij q_i / τ

N_i has i itself and all j of another id than i: equal ids are one example, not each other's
negatives. What has an id below 0 is not there. symmetric: of the losses over the keys and those
over the queries, Σ_j exp s_ji, the mean. cosine: q/‖q‖ and k/‖k‖ take the place of q and k, and

    dq ← (dq − (dq·q̂) q̂)/‖q‖        q̂ = q/‖q‖, where ‖q‖ counts as 1 if it is 0

It is SoftmaxCrossEntropy of the scores s with the label i, and as exact in s. What cancels all
the same: scores of queries and keys that are all near each other.

Sources: van den Oord, Li & Vinyals (2018), arXiv:1807.03748, eq. 4; negatives of the batch and
cosine: Chen, Kornblith, Norouzi & Hinton (2020), arXiv:2002.05709, eq. 1, which takes queries
as negatives besides; symmetric: Radford et al. (2021), arXiv:2103.00020, figure 3.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_floating, check_known, check_number, check_shape
from fnn.loss import Loss
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.numerics import concrete, like, owned, unit, unit_gradient, widened
from fnn.records import Array
from fnn.sequence import select
from fnn.targets import as_classes, check_numbers

SOFTMAX = SoftmaxCrossEntropy()


class InfoNCECache(NamedTuple):
    """Predictions and ids."""

    y: Any  # [B, 2, n], or queries and keys [B, n]
    target: Array  # [B]


@dataclass(frozen=True)
class InfoNCE(Loss[InfoNCECache]):
    """losses_i = log Σ_j exp(s_ij) − s_ii,  s = q·k/τ.  y [B, 2, n], target ids [B] → losses [B].

    y: the query and the key of every example, on axis 1 or as two arrays [B, n] in a NamedTuple.
    target: integers that tell examples apart, jnp.arange(B) where all differ. Each is compared
    with all of its batch: the loss depends on batch_size, of a batch of one it is 0, and nothing
    is computed per example.

    Raises:
        ValueError: for a temperature that is not above 0; from forward, for another shape.
        TypeError: from forward, for ids that are not integers.
    """

    mixes_examples: ClassVar[bool] = True

    temperature: float = 0.1
    cosine: bool = True
    symmetric: bool = False

    def __post_init__(self):
        """Reject a temperature without a meaning."""
        super().__post_init__()
        check_number("InfoNCE", "temperature", self.temperature, 0, open_low=True)

    def check(self, y, target):
        """y must hold a query and a key of every example, target its id."""
        (n,) = self.shape(y)
        check_numbers(self, "target", target)
        check_shape(self, "target", target, (n,))
        self.check_ids(target)

    def check_ids(self, target: Array) -> None:
        """Raise unless they are integers."""
        if not jnp.issubdtype(target.dtype, jnp.integer):
            raise TypeError(
                f"{self}: target must be integers that tell examples apart, got {target.dtype}; "
                "jnp.arange(len(x)) are, where all differ."
            )
        known = concrete(target)
        if known is not None:
            most = jnp.iinfo(jax.dtypes.canonicalize_dtype(jnp.int64)).max
            most = most if target.dtype.itemsize == 8 else jnp.iinfo(jnp.int32).max
            check_known(self, "target", known, known <= most, f"be at most {most}")

    def shape(self, y):
        """[B]."""
        leaves, must = jax.tree.leaves(y), "shape [B, 2, n], or be two arrays [B, n]"
        for a in leaves or [y]:
            check_floating(self, "y", a)
        shapes = [tuple(a.shape) for a in leaves]
        pair = len(shapes) == 2 and len(shapes[0]) == 2 and shapes[0] == shapes[1]
        if not pair and not (len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == 2):
            got = " and ".join(str(list(s)) for s in shapes)
            raise ValueError(f"{self}: y must have {must}, got {got}.")
        return shapes[0][:1]

    def counted(self, target):
        """Where the id is not below 0."""
        check_numbers(self, "target", target)
        self.check_ids(target)
        return as_classes(target) >= 0

    def leave_out(self, target, counts):
        """−1 where an example is not there."""
        return jnp.where(counts, as_classes(target), -1)

    def forward(self, y, target):
        """log Σ_{j ∈ N_i} exp s_ij − s_ii."""
        self.check(y, target)
        y, target = jax.tree.map(owned, y), as_classes(target)
        s, _ = self.scores(y, target)
        losses = SOFTMAX.parts(s, own(s))[0]
        if self.symmetric:
            losses = (losses + SOFTMAX.parts(s.T, own(s))[0]) / 2
        return jnp.where(target >= 0, losses, 0), InfoNCECache(y, target)

    def value_and_backward(self, y, target, dl):
        """The losses and dy, from the same scores."""
        return self.one_pass(jax.tree.map(owned, y), as_classes(target), dl)

    def backward(self, cache, dl):
        """dq = ds k/τ,  dk = dsᵀ q/τ,  ds = dl (p − 1)."""
        return self.one_pass(*cache, dl)[1]

    def one_pass(self, y: Any, target: Array, dl: Array) -> tuple[Array, Any]:
        """The losses, and dq = ds k/τ,  dk = dsᵀ q/τ."""
        s, ((q, n_q), (k, n_k)) = self.scores(y, target)
        dl = select(target >= 0, dl.astype(s.dtype))
        losses, ds = SOFTMAX.one_pass(s, own(s), dl)
        if self.symmetric:
            other, dst = SOFTMAX.one_pass(s.T, own(s), dl)
            losses, ds = (losses + other) / 2, (ds + dst.T) / 2
        dq, dk = ds @ k / self.temperature, ds.T @ q / self.temperature
        if self.cosine:
            dq, dk = unit_gradient(q, n_q, dq, (-1,)), unit_gradient(k, n_k, dk, (-1,))
        return jnp.where(target >= 0, losses, 0), like(joined(dq, dk, y), y)

    def scores(self, y: Any, target: Array) -> tuple[Array, Any]:
        """s, −∞ where j is no key for i, and what it is made of: q with ‖q‖, k with ‖k‖."""
        there = target >= 0
        parts = [select(there, a) for a in widened(*views(y))]
        (q, n_q), (k, n_k) = (unit(a, (-1,)) if self.cosine else (a, None) for a in parts)
        other = target[:, None] != target
        allowed = (other & there & there[:, None]) | jnp.eye(len(target), dtype=bool)
        return jnp.where(allowed, q @ k.T / self.temperature, -jnp.inf), ((q, n_q), (k, n_k))


def own(s: Array) -> Array:
    """The label of every row: its own number."""
    return jnp.arange(len(s), dtype=jnp.int32)


def views(y: Any) -> list[Array]:
    """Queries and keys."""
    leaves = jax.tree.leaves(y)
    return leaves if len(leaves) == 2 else [leaves[0][:, 0], leaves[0][:, 1]]


def joined(q: Array, k: Array, y: Any) -> Any:
    """Queries and keys in the form of y."""
    tree = jax.tree.structure(y)
    return tree.unflatten([q, k] if tree.num_leaves == 2 else [jnp.stack([q, k], 1)])
