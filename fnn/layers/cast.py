"""Cast: a layer that computes in another precision.

    y = f(c(p), c(x))        dp, dx = c(dy) ∂f, in the dtypes of p and x

where c rounds floating-point arrays to `dtype`. Around a net with float32 parameters,
Cast(net, "bfloat16") is the usual mixed precision: float32 masters, bfloat16 compute;
sums over the batch and losses stay at least float32.

float16 has no room for the small gradients of a mean over thousands of examples, and
nothing here scales the loss for it: take bfloat16.

Source: Micikevicius et al. (2018), arXiv:1710.03740, section 3.1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import tree_flatten_with_path, tree_map_with_path

from fnn.composite import Wrapper, on_params, plain
from fnn.numerics import cast, is_floating, is_like, like
from fnn.records import PyTree, Static
from fnn.ruling import Results
from fnn.sequence import renewed, state_of


class CastCache(NamedTuple):
    """The cache of the inner layer, and the dtypes to give back."""

    inner: Any
    dtypes: Static  # ((path, dtype), ...) of the floating-point arrays of x


@dataclass(frozen=True)
class Cast(Wrapper[CastCache]):
    """y = inner(x) computed in `dtype`.  y has that dtype, dx the dtype of x.

    A result that is like params, such as gradients, has the dtypes of params; any other
    stays in `dtype`. A rule sees rounded params: one that updates them takes the masters
    from its companion, or is in place and given them. The final state of a Sequence has the dtype of the state it came with.

    Raises:
        TypeError: for what is not a layer, or not a floating dtype.
    """

    dtype: Any

    def __post_init__(self):
        """Hold the dtype by its name; refuse what is not a floating-point dtype."""
        super().__post_init__()
        try:
            dtype = None if self.dtype is None else jnp.dtype(self.dtype)
        except TypeError:
            dtype = None
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"Cast: dtype must be a floating dtype, got {self.dtype!r}.")
        object.__setattr__(self, "dtype", dtype.name)

    def forward(self, params, x, *, key=None):
        """y = f(c(p), c(x))."""
        y, cache = self.inner.forward(cast(params, self.dtype), cast(x, self.dtype), key=key)
        if jax.tree.leaves(state_of(x)):
            y = renewed(y, state=like(state_of(y), state_of(x)))
        paths, _ = tree_flatten_with_path(x)
        dtypes = tuple((path, a.dtype.name) for path, a in paths if is_floating(a))
        return y, CastCache(cache, Static(dtypes))

    def backward_with(self, rule, params, cache, dy):
        """dx = c(dy) ∂f/∂x, in the dtype of x."""

        def restored(path, d):
            return d.astype(dtypes[path]) if path in dtypes else d

        rounded = on_params(lambda p: cast(p, self.dtype), params)
        out, dx = rule(self.inner, rounded, cache.inner, cast(dy, self.dtype))
        dtypes = dict(cache.dtypes.value)
        return unrounded(out, plain(params)), tree_map_with_path(restored, dx)


def unrounded(result: PyTree, params: PyTree) -> PyTree:
    """A result that is like params, in the dtypes of params; any other as it is."""
    if isinstance(result, Results):
        return result.of(unrounded(r, params) for r in result.each)
    return like(result, params) if is_like(result, params) else result
