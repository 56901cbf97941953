"""The command: uv run python -m experiments.chain."""

import sys

from experiments import chain
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(chain.measure, chain.QUICK))
