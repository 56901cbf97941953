"""The command: uv run python -m experiments.minima."""

import sys

from experiments import minima
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(minima.measure, minima.QUICK))
