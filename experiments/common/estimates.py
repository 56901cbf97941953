"""Numbers that sum up a measurement."""

from typing import Any

import numpy as np


def power(x: Any, y: Any) -> float:
    """The p of y = c x^p that fits best: least squares of log y over log x."""
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])
