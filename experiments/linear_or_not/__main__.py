"""The command: uv run python -m experiments.linear_or_not."""

import sys

from experiments import linear_or_not
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(linear_or_not.measure, linear_or_not.QUICK))
