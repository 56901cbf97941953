"""The command: uv run python -m experiments.equations."""

import sys

from experiments import equations
from experiments.common import cli

if __name__ == "__main__":
    sys.exit(cli.run(equations.main, equations.Config))
