"""ELBO: the evidence lower bound, negative, of a net that reconstructs x from a random code.

    losses = ℓ(y, t) + β KL          KL = ½ Σ_k m_k² + (e^s_k − 1 − s_k)
    dy = dl ∂ℓ/∂y                    dm = dl β m        ds = dl β (e^s − 1)/2

ℓ is the negative log-likelihood of the reconstruction, any other loss; the code is N(m, e^s),
and KL is its divergence from N(0, 1). With β = 1 the mean of the loss over the codes is an upper
bound of −log p(x), but for what ℓ leaves out. β > 1 presses harder for independent numbers.

e^s − 1 − s cancels near 0: there it is its series s²/2 + s³/6 + ....

Sources: Kingma & Welling (2014), arXiv:1312.6114, eqs. 3 and 10 and appendix B; β: Higgins et al.
(2017), ICLR, beta-VAE, eq. 4.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_moments, check_number, type_of
from fnn.loss import Loss, check_loss_type
from fnn.losses.binary import SigmoidBinaryCrossEntropy
from fnn.mean import spread
from fnn.numerics import owned, wide
from fnn.records import Array, Static

BERNOULLI = SigmoidBinaryCrossEntropy()
TERMS = 14  # of the series, for |s| < ½ in float64


class ELBOCache(NamedTuple):
    """The cache of ℓ with the shape of its losses, the code, and the type of y."""

    inner: Any
    shape: Static
    code: Array  # means, then logarithms of variances, [B, ..., 2 n]
    kind: Static


@dataclass(frozen=True)
class ELBO(Loss[ELBOCache]):
    """losses = ℓ(reconstruction, target) + β KL(N(m, e^s) ‖ N(0, 1)).  y a pair → losses [B, ...].

    y is (reconstruction, code), a tuple or a NamedTuple of two: what ℓ takes, and [B, ..., 2 n] as
    Gaussian does. A net that gives it:

        code = fnn.Serial(fnn.Gaussian(), decoder)
        fnn.Serial(encoder, fnn.Parallel(code, fnn.Identity(), join=None))

    The losses have the leading axes of the code; where ℓ has more, as over the rows and columns
    of an image, its losses are summed over these.

    Raises:
        TypeError: for a `reconstruction` that is not a loss, a y that is not a pair.
        ValueError: for a β below 0; from forward, for shapes that do not fit.
    """

    reconstruction: Loss[Any] = BERNOULLI
    beta: float = 1.0

    def __post_init__(self):
        """Reject what is not a loss, and a reward for a code that says much."""
        super().__post_init__()
        check_loss_type("ELBO", self.reconstruction)
        if self.reconstruction.mixes_examples or self.reconstruction.whole_sequences:
            raise ValueError(
                f"{self}: reconstruction must give every prediction a loss of its own."
            )
        check_number("ELBO", "beta", self.beta, 0)

    def parts(self, y: Any) -> tuple[Any, Any]:
        """Reconstruction and code."""
        if not isinstance(y, tuple) or len(y) != 2:
            raise TypeError(f"{self}: y must be the pair (reconstruction, code), got {type_of(y)}.")
        return y[0], y[1]

    def check(self, y, target):
        """The reconstruction must be to the taste of ℓ, and begin with the axes of the code."""
        guess, code = self.parts(y)
        self.reconstruction.check(guess, target)
        check_moments(self, "code", code)
        shape, rows = self.reconstruction.shape(guess), code.shape[:-1]
        if shape[: len(rows)] != rows:
            raise ValueError(
                f"{self}: the losses of the reconstruction, {list(shape)}, must begin with "
                f"the axes of the code, {list(rows)}."
            )

    def counted(self, target):
        """Those of which a prediction of the reconstruction counts."""
        counts = self.reconstruction.counted(target)
        return counts if counts is None else counts.any(tuple(range(1, counts.ndim)))

    def shape(self, y):
        """The axes of the code but its last."""
        return self.parts(y)[1].shape[:-1]

    def forward(self, y, target):
        """ℓ + β KL."""
        self.check(y, target)
        guess, code = self.parts(y)
        losses, inner = self.reconstruction.forward(guess, target)
        m, s = jnp.split(code.astype(wide(code.dtype)), 2, -1)
        kl = (m**2 / 2 + excess(s) / 2).sum(-1)
        whole = losses.sum(tuple(range(kl.ndim, losses.ndim)))
        cache = ELBOCache(inner, Static(losses.shape), owned(code), Static(type(y)))
        return whole + self.beta * kl.astype(whole.dtype), cache

    def backward(self, cache, dl):
        """dy of ℓ,  dm = dl β m,  ds = dl β (e^s − 1)/2."""
        m, s = jnp.split(cache.code.astype(wide(cache.code.dtype)), 2, -1)
        d = self.beta * jnp.concatenate([m, jnp.expm1(s) / 2], -1)
        dcode = spread(dl.astype(d.dtype), d).astype(cache.code.dtype)
        each = dl.reshape(*dl.shape, *(1,) * (len(cache.shape.value) - dl.ndim))
        dy = self.reconstruction.backward(cache.inner, jnp.broadcast_to(each, cache.shape.value))
        made = getattr(cache.kind.value, "_make", tuple)
        return made((dy, dcode))


def excess(s: Array) -> Array:
    """e^s − 1 − s, right to some roundings of itself."""
    near = jnp.where(abs(s) < 0.5, s, 0)
    series = jnp.ones_like(s)
    for k in range(TERMS, 2, -1):
        series = 1 + near / k * series
    e = jnp.expm1(s)
    far = jnp.where(e == jnp.inf, e, e - s)
    return jnp.where(abs(s) < 0.5, near**2 / 2 * series, far)
