"""The command: uv run python -m experiments.vanishing_gradients."""

import sys

from experiments import vanishing_gradients
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(vanishing_gradients.measure, vanishing_gradients.QUICK))
