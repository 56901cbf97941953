"""The command: uv run python -m experiments.errata."""

import sys

from experiments import errata
from experiments.common import cli

if __name__ == "__main__":
    sys.exit(cli.run(errata.main, errata.Config))
