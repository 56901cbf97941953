"""The command: uv run python -m experiments.sequences."""

import sys

from experiments import sequences
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(sequences.measure, sequences.QUICK))
