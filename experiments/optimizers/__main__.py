"""The command: uv run python -m experiments.optimizers."""

import sys

from experiments import optimizers
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(optimizers.measure, optimizers.QUICK))
