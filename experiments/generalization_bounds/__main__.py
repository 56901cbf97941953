"""The command: uv run python -m experiments.generalization_bounds."""

import sys

from experiments import generalization_bounds
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(generalization_bounds.measure, generalization_bounds.QUICK))
