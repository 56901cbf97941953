"""The command: uv run python -m experiments.relu_sparsity."""

import sys

from experiments import relu_sparsity
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(relu_sparsity.measure, relu_sparsity.QUICK))
