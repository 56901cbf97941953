"""The command: uv run python -m experiments.backward_cost."""

import sys

from experiments import backward_cost
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(backward_cost.measure, backward_cost.QUICK))
