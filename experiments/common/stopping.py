"""Ctrl-C ends a command with one word and the code 130, whatever it is doing.

An exception would be lost where none can be raised (a lock of the imports, a callback of the
compiler, a destructor) and would wait while XLA compiles. Files are whole at every moment
(writing.py), so that the process can end where it stands.
"""

import contextlib
import os
import signal
import sys
import threading
import time

INTERRUPTED = 130
PATIENCE = 0.5  # seconds in which what was printed can still go out


def prepare() -> None:
    """End this process on Ctrl-C from now on."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: end())
    threading.Thread(target=watch, args=(out,), daemon=True).start()


def watch(out: int) -> None:
    """End the process where its main thread does not come to it."""
    while os.read(out, 1) != bytes([signal.SIGINT]):
        pass
    time.sleep(PATIENCE)
    leave()


def end() -> None:
    """Let out what was printed, and end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # it may be at work on just this
            stream.flush()
    leave()


def leave() -> None:
    """End at once, with the cursor back that a moving bar had hidden."""
    with contextlib.suppress(OSError):
        os.write(2, b"\x1b[?25h\nstopped.\n" if os.isatty(2) else b"stopped.\n")
    os._exit(INTERRUPTED)
