"""The peers: each file of a folder is a program of its own.

    python -m benchmarks.peers.runs.NAME DATA.npz EPOCHS
    python -m benchmarks.peers.steps.NAME NET DATA.npz N

For every line of input a peer runs once, in each of its ways, and prints a line of JSON:
what each way answers. Those of PyTorch need PyTorch and numpy only, so that they run in
an environment without jax.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any


def serve(ways: Sequence[Callable[[], dict[str, Any]]]) -> None:
    """One line of answers for each line of input."""
    for _ in sys.stdin:
        print(json.dumps([way() for way in ways]), flush=True)
