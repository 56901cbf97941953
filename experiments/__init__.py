"""Experiments: one claim per file or folder, each a command, `python -m experiments.NAME`.

README.md shows the answers. What several experiments share is in common/.
"""

import sys

if sys.argv[0] == "-m":  # a command begins, and its imports take seconds
    from experiments.common import stopping

    stopping.prepare()

    from experiments.common import ahead

    ahead.answer(sys.orig_argv[-len(sys.argv)].removeprefix("-m"), sys.argv[1:])
