"""Metrics: functions (y, target) → one number per prediction, for `fit`."""

import jax.numpy as jnp

from fnn.logits import Logits, whole
from fnn.records import Array
from fnn.targets import are_labels, as_classes, check_classes, valid_classes


def accuracy(y: Array | Logits, target: Array) -> Array:
    """1 where the largest entry of y, of several the first, is the right class, else 0.

    y [B, ..., C], or Logits as from Unembed; target labels [B, ...] or rows [B, ..., C] →
    [B, ...]. NaN for rows of y with a NaN, and for targets that are not a class.

    Raises:
        ValueError, TypeError: as SoftmaxCrossEntropy does, for shapes and dtypes; values
            of the target are not checked.
    """
    y = whole(y)
    binary = "write lambda y, t: (y[..., 0] > 0) == (t[..., 0] > 0)"
    check_classes("accuracy", y, target, values=False, one_logit=binary)
    y, target = jnp.asarray(y), as_classes(target)
    label = target if are_labels(y, target) else target.argmax(-1)
    right = (y.argmax(-1).astype(label.dtype) == label).astype(jnp.result_type(float))
    defined = valid_classes(y, target) & ~jnp.isnan(y).any(-1)
    return jnp.where(defined, right, jnp.nan)
