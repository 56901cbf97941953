"""The command: uv run python -m experiments.learning_theory."""

import sys

from experiments import learning_theory
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(learning_theory.measure, learning_theory.QUICK))
