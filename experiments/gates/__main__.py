"""The command: uv run python -m experiments.gates."""

import sys

from experiments import gates
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(gates.measure, gates.QUICK))
