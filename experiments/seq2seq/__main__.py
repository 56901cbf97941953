"""The command: uv run python -m experiments.seq2seq."""

import sys

from experiments import seq2seq
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(seq2seq.measure, seq2seq.QUICK))
