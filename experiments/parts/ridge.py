"""Least squares without and with a ridge penalty, judged on other rows.

    W = X⁺ T      W_λ = (Xᵀ X + N λ I)⁻¹ Xᵀ T = Xᵀ (X Xᵀ + N λ I)⁻¹ T

    df = Σ_k s_k² / (s_k² + N λ) = tr X (Xᵀ X + N λ I)⁻¹ Xᵀ ≤ min(N, p)

with X [N, p], T [N, n] and s_k the singular values of X. df is the effective number of
parameters.

Source: Hoerl & Kennard (1970), Technometrics 12, eq. 2.1; df: Hastie, Tibshirani & Friedman
(2009), The Elements of Statistical Learning, eq. 3.50.
"""

from typing import Any, NamedTuple

import numpy as np


class Regression(NamedTuple):
    """What a regression gave, or several with first axes."""

    shortest: Any  # squared error of X⁺ T on the test rows, summed over outputs
    ridge: Any  # of W_λ
    freedom: Any  # df, from the singular values
    trace: Any  # df, as the trace


def least_squares(x: Any, test: Any, target: Any, truth: Any, strength: float) -> Regression:
    """Fit to x and target, judge on test and truth; `strength` is λ."""
    n = len(x)
    hat = np.linalg.solve(x @ x.T + n * strength * np.eye(n), x)  # its transpose takes T to W_λ
    s = np.linalg.svd(x, compute_uv=False) ** 2

    def error(w):
        return float(((test @ w - truth) ** 2).sum(-1).mean())

    return Regression(
        shortest=error(np.linalg.pinv(x) @ target),
        ridge=error(hat.T @ target),
        freedom=float((s / (s + n * strength)).sum()),
        trace=float(np.trace(x @ hat.T)),
    )
