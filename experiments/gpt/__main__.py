"""The command: uv run python -m experiments.gpt."""

import sys

from experiments import gpt
from experiments.common import cli

if __name__ == "__main__":
    sys.exit(cli.run(gpt.main, gpt.Config, quick=gpt.QUICK))
