"""The command: uv run python -m experiments.gallery."""

import sys

from experiments import gallery
from experiments.common import cli

if __name__ == "__main__":
    sys.exit(cli.run(gallery.main, gallery.Config))
