"""The command: uv run python -m experiments.descent_lemma."""

import sys

from experiments import descent_lemma
from experiments.common import claims

if __name__ == "__main__":
    sys.exit(claims.run(descent_lemma.measure, descent_lemma.QUICK))
