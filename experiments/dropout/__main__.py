"""The command: uv run python -m experiments.dropout."""

import sys

from experiments import dropout
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(dropout.measure, dropout.QUICK))
