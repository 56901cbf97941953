"""SIGINT (Ctrl-C) and SIGTERM, noted now and obeyed at the next good moment.

Inside `noted()` the first signal is written down; the second one does what it would have done
before, at once. Handlers are those of the main thread, which alone can have any; elsewhere, and
where a signal is ignored, nothing is changed. What was set before is set again at the end.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = signal.SIGINT, signal.SIGTERM


class Noted:
    """The handler of both signals: `signal` is the number of the first that came, 0 before."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.signal = 0
        self.before: dict[int, Any] = {}

    def __call__(self, number: int, frame: Any) -> None:
        """Write the first one down; with the second do what was done before."""
        if not self.signal:
            self.signal = number
            return
        before = self.before[number]
        signal.signal(number, before)
        if callable(before):
            before(number, frame)
        else:
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def noted() -> Iterator[Noted]:
    """Note signals from here on, in the main thread."""
    handler = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    for number in SIGNALS:
        before = signal.getsignal(number)
        if before not in (None, signal.SIG_IGN):
            handler.before[number] = before
    awoken = signal.set_wakeup_fd(-1)  # else somebody would hear of a signal at once
    try:
        for number in handler.before:
            signal.signal(number, handler)
        yield handler
    finally:
        for number, before in handler.before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(awoken, warn_on_full_buffer=False)
