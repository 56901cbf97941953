"""dz of a softmax's cross-entropy on z = h w, formed again a block of classes at a time.

    dz = dl (exp(z − log Σ_k e^{z_k}) − t)        z = h w
       = dl (e^{−losses} − 1)                     at a label, without smoothing

Both numbers in front are known of every position from the pass that found the losses. The second
form is right where the label is nearly certain, too.

Source: Bridle (1990), NIPS 2, eqs. 7 and 8; in blocks of classes: Wijmans et al. (2025),
arXiv:2411.09009, section 4.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.by_example import scaled
from fnn.columns import Columns
from fnn.factors import one_of
from fnn.numerics import times, wide
from fnn.records import Array


@dataclass(frozen=True, eq=False)
class LogitDerivatives(Columns):
    """dz [B, T, V]; 0 where dl is, whatever stands there."""

    h: Array  # [B, T, n]
    w: Array  # [n, V]
    target: Array  # labels [B, T], or rows of probabilities [B, T, V]
    dl: Array  # [B, T]
    losses: Array  # [B, T], NaN where the target is not valid
    top: Array  # log Σ_k e^{z_k}, [B, T]
    smoothing: float = field(metadata={"static": True})
    blocks: int = field(metadata={"static": True})

    @property
    def shape(self):
        """(B, T, V)."""
        return (*self.dl.shape, self.w.shape[-1])

    @property
    def dtype(self):
        """At least float32."""
        return wide(self.w.dtype)

    @property
    def n_blocks(self):
        """As many as the loss has chunks."""
        return self.blocks

    def there(self):
        """Where dl is not 0."""
        return self.dl != 0

    def scaled(self, c):
        """Of c_b dl."""
        return self.with_fields(dl=scaled(c, self.dl))

    def example(self, b):
        """Of one example's h, targets and losses, and all of w."""
        names = "h", "target", "dl", "losses", "top"
        return self.with_fields(**{name: one_of(getattr(self, name), b) for name in names})

    def block(self, start, width):
        """dz of `width` classes."""
        w = jax.lax.dynamic_slice_in_dim(self.w, start, width, 1)
        z = jnp.dot(self.h, w, preferred_element_type=self.dtype)
        classes = (start + jnp.arange(width))[None]
        t = self.target
        t = t if self.hot else jax.lax.dynamic_slice_in_dim(t, start, width, 2)
        return self.of(z, classes, t)

    def at(self, i):
        """dz of the classes i of every example, 0 where i is negative."""
        inside, i = i >= 0, jnp.maximum(i, 0)
        z = jnp.einsum("btn,bsn->bts", self.h, self.w.T[i], preferred_element_type=self.dtype)
        t = self.target if self.hot else jnp.take_along_axis(self.target, i[:, None], 2)
        return jnp.where(inside[:, None], self.of(z, i, t), 0)

    @property
    def hot(self) -> bool:
        """Whether the target is labels."""
        return self.target.ndim == self.dl.ndim

    def of(self, z: Array, classes: Array, t: Any) -> Array:
        """dz of z [B, T, K] and the classes [1 or B, K] that these are; of rows, t is theirs."""
        p = jnp.exp(z - self.top[..., None])
        own = None
        if self.hot:
            own = self.target[..., None] == classes[:, None].astype(self.target.dtype)
        if own is not None and self.smoothing == 0:
            d = jnp.where(own, jnp.expm1(-self.losses)[..., None], p)
        else:
            t = (t if own is None else own).astype(p.dtype)
            d = p - (1 - self.smoothing) * t - self.smoothing / self.w.shape[-1]
        return times(self.dl[..., None], d).astype(self.w.dtype)
