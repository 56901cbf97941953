"""Elementwise activations: y = f(x), dx = dy f′(x).

f and f′ stand side by side. The cache is y where f′ is a function of y, else x.

    Identity       x                                f′ = 1
    Sigmoid        1 / (1 + e⁻ˣ)                    f′ = y (1 − y)
    Tanh           tanh x                           f′ = (1 − y)(1 + y)
    ReLU           max(x, 0)                        f′ = 1 for y > 0, else 0
    LeakyReLU      x for x > 0, else s x            f′ = 1 for y > 0, else s
    ELU            x for x > 0, else α (eˣ − 1)     f′ = 1 for x > 0, else α eˣ
    SELU           λ ELU(x), α = 1.673, λ = 1.051   f′ = λ for x > 0, else λ α eˣ
    Softplus       log(1 + eˣ)                      f′ = 1 − e⁻ʸ
    Softsign       x / (1 + |x|)                    f′ = 1 / (1 + |x|)²
    GELU           x Φ(x)                           f′ = Φ(x) + x Φ′(x), Φ′ the normal density
      approximate  Φ = (1 + tanh u) / 2 = σ(2u)     Φ′ = 2 σ(2u) σ(−2u) u′
                   u = √(2/π) (x + 0.044715 x³)     u′ = √(2/π) (1 + 0.134145 x²)
    SiLU           x σ(x)                           f′ = σ (1 + x (1 − σ))
    Mish           x t, t = tanh(softplus x)        f′ = t + x t′
                   = n / (n + 2), n = eˣ (eˣ + 2)   t′ = 4 eˣ (eˣ + 1) / (n + 2)²
    HardTanh       min(max(x, −1), 1)               f′ = 1 for |y| < 1, else 0

At a kink f′ is the value from the left: 0 for ReLU at 0, s for LeakyReLU; HardTanh has
0 at ±1. f and f′ take their limits at ±∞ and are NaN at NaN. The arithmetic is at least
float32.

y and dx are right to some roundings of themselves, also where f saturates, but for dx of
Sigmoid and Tanh: 1 − y cancels as y nears 1, and dx is right to a rounding of dy, 0 for less.
x in their caches would tell more; it doubles the memory of a net of Dense layers, which keep y.

Sources: Sigmoid, Tanh, Softsign: Glorot & Bengio (2010), AISTATS, section 2.3. ReLU, Softplus:
Glorot, Bordes & Bengio (2011), AISTATS, section 3.1. ELU: Clevert, Unterthiner & Hochreiter
(2016), arXiv:1511.07289, eq. 15. SELU: Klambauer, Unterthiner, Mayr & Hochreiter (2017),
arXiv:1706.02515, eq. 2. GELU: Hendrycks & Gimpel (2016), arXiv:1606.08415, section 2. SiLU:
Elfwing, Uchibe & Doya (2018), arXiv:1702.03118, eqs. 5 and 6. Mish: Misra (2019),
arXiv:1908.08681, eq. 1. Leaky ReLU: Maas, Hannun & Ng (2013), section 2. HardTanh: Collobert,
Weston, Bottou, Karlen, Kavukcuoglu & Kuksa (2011), JMLR 12, section 3.3.1.
"""

import abc
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_floating, check_number
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array

FAR = 800.0  # beyond ±800 every sigmoid, tanh and Φ is at its limit, in float64 too


class ElementwiseCache(NamedTuple):
    """What f′ is a function of."""

    a: Array  # y where f′ is a function of y, else x; [B, ...]


@dataclass(frozen=True)
class Elementwise(Layer[tuple[()], ElementwiseCache], abc.ABC):
    """y = f(x) for every entry, dx = dy f′.  x [B, ...] → y [B, ...]."""

    sequences: ClassVar = "positions"
    of_y: ClassVar[bool] = True  # whether df takes y rather than x
    rectifies: ClassVar[bool] = False  # whether it removes half of its input: he_normal before it
    limits: ClassVar[tuple[float, ...]] = ()  # where y is at one of them, f′ is 0

    @abc.abstractmethod
    def f(self, x: Array) -> Array:
        """The function, entry by entry."""

    @abc.abstractmethod
    def df(self, a: Array) -> Array:
        """Its derivative, of y or, where `of_y` is False, of x."""

    def check_input(self, x):
        """x must be floating."""
        check_floating(self, "x", x)

    def forward(self, params, x, *, key=None):
        """y = f(x)."""
        (z,) = widened(x)
        y = like(self.f(z), x)
        return y, ElementwiseCache(y if self.of_y else x)

    def backward(self, params, cache, dy):
        """dx = dy f′."""
        a, d = widened(cache.a, dy)
        return (), like(d * self.df(a), dy)


@dataclass(frozen=True)
class Identity(Layer[tuple[()], tuple[()]]):
    """y = x, dx = dy.  x [B, ...] → y [B, ...]."""

    sequences: ClassVar = "positions"

    def forward(self, params, x, *, key=None):
        """y = x."""
        return x, ()

    def backward(self, params, cache, dy):
        """dx = dy."""
        return (), dy


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1 / (1 + e⁻ˣ), dx = dy y (1 − y).  x [B, ...] → y [B, ...]."""

    limits: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    def f(self, x):
        """σ(x)."""
        return jax.nn.sigmoid(x)

    def df(self, a):
        """y (1 − y)."""
        return a * (1 - a)


@dataclass(frozen=True)
class Tanh(Elementwise):
    """y = tanh x, dx = dy (1 − y²).  x [B, ...] → y [B, ...]."""

    limits: ClassVar[tuple[float, ...]] = (-1.0, 1.0)

    def f(self, x):
        """tanh x."""
        return jnp.tanh(x)

    def df(self, a):
        """1 − y²."""
        return (1 - a) * (1 + a)


@dataclass(frozen=True)
class ReLU(Elementwise):
    """y = max(x, 0), dx = dy 1{y > 0}.  x [B, ...] → y [B, ...]."""

    rectifies: ClassVar[bool] = True
    limits: ClassVar[tuple[float, ...]] = (0.0,)

    def f(self, x):
        """max(x, 0)."""
        return jnp.maximum(x, 0)

    def df(self, a):
        """1 for y > 0, 0 for y = 0: the sign of y, which is never negative."""
        return jnp.sign(a)


@dataclass(frozen=True)
class LeakyReLU(Elementwise):
    """y = x for x > 0, else slope · x; dx = dy or slope · dy.  x [B, ...] → y [B, ...].

    Keras's slope is 0.3, torch's 0.01 as here.

    Raises:
        ValueError: for a slope outside (0, 1].
    """

    rectifies: ClassVar[bool] = True
    slope: float = 0.01

    def __post_init__(self):
        """Reject slopes for which y does not tell the sign of x."""
        super().__post_init__()
        check_number("LeakyReLU", "slope", self.slope, 0, 1, open_low=True, closed_high=True)

    def f(self, x):
        """x for x > 0, else s x."""
        return jnp.where(x > 0, x, self.slope * x)

    def df(self, a):
        """1 for y > 0, else s."""
        return piecewise(a, a > 0, 1.0, a <= 0, self.slope)


@dataclass(frozen=True)
class ELU(Elementwise):
    """y = x for x > 0, else alpha (eˣ − 1); dx = dy or dy alpha eˣ.  x [B, ...] → y [B, ...].

    Raises:
        ValueError: for an alpha that is not above 0.
    """

    rectifies: ClassVar[bool] = True
    of_y: ClassVar[bool] = False
    alpha: float = 1.0

    def __post_init__(self):
        """Reject an alpha for which the function falls."""
        super().__post_init__()
        check_number("ELU", "alpha", self.alpha, 0, open_low=True)

    def f(self, x):
        """x for x > 0, else α (eˣ − 1)."""
        return jnp.where(x > 0, x, self.alpha * jnp.expm1(jnp.minimum(x, 0)))

    def df(self, a):
        """1 for x > 0, else α eˣ."""
        return jnp.where(a > 0, 1, self.alpha * jnp.exp(jnp.minimum(a, 0)))


@dataclass(frozen=True)
class SELU(Elementwise):
    """y = λ x for x > 0, else λ α (eˣ − 1); dx = dy λ or dy λ α eˣ.  x [B, ...] → y [B, ...].

    λ and α are the constants of self-normalization, which supposes weights of variance 1 / n_in:
    initializers.lecun_normal, which `mlp` draws only where it is told.
    """

    of_y: ClassVar[bool] = False
    alpha: ClassVar[float] = 1.6732632423543772
    scale: ClassVar[float] = 1.0507009873554805

    def f(self, x):
        """λ x for x > 0, else λ α (eˣ − 1)."""
        negative = self.alpha * jnp.expm1(jnp.minimum(x, 0))
        return self.scale * jnp.where(x > 0, x, negative)

    def df(self, a):
        """λ for x > 0, else λ α eˣ."""
        return self.scale * jnp.where(a > 0, 1, self.alpha * jnp.exp(jnp.minimum(a, 0)))


@dataclass(frozen=True)
class Softplus(Elementwise):
    """y = log(1 + eˣ), dx = dy (1 − e⁻ʸ) = dy σ(x).  x [B, ...] → y [B, ...]."""

    def f(self, x):
        """log(1 + eˣ)."""
        return jnp.logaddexp(x, 0.0)

    def df(self, a):
        """1 − e⁻ʸ, which is σ(x)."""
        return -jnp.expm1(-a)


@dataclass(frozen=True)
class Softsign(Elementwise):
    """y = x / (1 + |x|), dx = dy / (1 + |x|)².  x [B, ...] → y [B, ...]."""

    of_y: ClassVar[bool] = False
    limits: ClassVar[tuple[float, ...]] = (-1.0, 1.0)

    def f(self, x):
        """x / (1 + |x|), and ±1 at ±∞."""
        return jnp.where(jnp.isinf(x), jnp.sign(x), x / (1 + abs(x)))

    def df(self, a):
        """1 / (1 + |x|)²."""
        r = 1 / (1 + abs(a))
        return r * r


@dataclass(frozen=True)
class GELU(Elementwise):
    """y = x Φ(x), dx = dy (Φ(x) + x Φ′(x)).  x [B, ...] → y [B, ...].

    Φ is the tanh form of the normal distribution function; with approximate=False Φ itself,
    which torch and Keras take where they are told nothing.
    """

    rectifies: ClassVar[bool] = True
    approximate: bool = True
    of_y: ClassVar[bool] = False

    def f(self, x):
        """x Φ(x)."""
        return below(x) * self.parts(x)[0]

    def df(self, a):
        """Φ(x) + x Φ′(x)."""
        phi, dphi = self.parts(a)
        return phi + near(a) * dphi

    def parts(self, x):
        """Φ(x) and Φ′(x)."""
        if not self.approximate:
            u = -x * math.sqrt(1 / 2)
            return jax.lax.erfc(u) / 2, jnp.exp(-u * u) / math.sqrt(2 * math.pi)
        x, root = near(x), math.sqrt(2 / math.pi)
        u, du = root * (x + 0.044715 * x**3), root * (1 + 0.134145 * x**2)
        e = jnp.exp(-2 * jnp.abs(u))  # at 0 jax takes the slope from the right, as where takes r's
        r = 1 / (1 + e)
        return jnp.where(u < 0, e * r, r), 2 * e * r * r * du


@dataclass(frozen=True)
class SiLU(Elementwise):
    """y = x σ(x), dx = dy σ (1 + x (1 − σ)).  x [B, ...] → y [B, ...]."""

    rectifies: ClassVar[bool] = True
    of_y: ClassVar[bool] = False

    def f(self, x):
        """x σ(x)."""
        return below(x) * jax.nn.sigmoid(x)

    def df(self, a):
        """σ (1 + x (1 − σ))."""
        x = near(a)
        s = jax.nn.sigmoid(x)
        return s * (1 + x * (1 - s))


@dataclass(frozen=True)
class Mish(Elementwise):
    """y = x t, t = tanh(softplus x), dx = dy (t + x t′).  x [B, ...] → y [B, ...]."""

    rectifies: ClassVar[bool] = True
    of_y: ClassVar[bool] = False

    def f(self, x):
        """x t."""
        return below(x) * self.parts(x)[0]

    def df(self, a):
        """t + x t′."""
        t, dt = self.parts(a)
        return t + near(a) * dt

    def parts(self, x):
        """t = tanh(softplus x) = n / (n + 2) and t′ = 2 n′ / (n + 2)², n = eˣ (eˣ + 2)."""
        e = jnp.exp(jnp.minimum(x, 30))  # t is 1 from there on
        n = e * (e + 2)
        return n / (n + 2), 4 * e * (e + 1) / (n + 2) / (n + 2)


@dataclass(frozen=True)
class HardTanh(Elementwise):
    """y = min(max(x, −1), 1), dx = dy 1{|y| < 1}.  x [B, ...] → y [B, ...]."""

    limits: ClassVar[tuple[float, ...]] = (-1.0, 1.0)

    def f(self, x):
        """min(max(x, −1), 1)."""
        return jnp.clip(x, -1, 1)

    def df(self, a):
        """1 for |y| < 1, else 0."""
        return piecewise(a, abs(a) < 1, 1.0, abs(a) >= 1, 0.0)


def piecewise(a: Array, first: Array, u: float, second: Array, v: float | Array) -> Array:
    """u where `first`, v where `second`, and a where neither holds: at NaN."""
    return jnp.where(first, u, jnp.where(second, v, a))


def near(x: Array) -> Array:
    """x up to where f has reached its limits, so that 0 · ∞ cannot occur."""
    return jnp.clip(x, -FAR, FAR)


def below(x: Array) -> Array:
    """x, from below cut where f is 0."""
    return jnp.maximum(x, -FAR)
