"""Tests of fnn.saving.interrupts."""

import os
import signal
import threading

import pytest

from fnn.saving.interrupts import SIGNALS, noted


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C as a terminal has it: what is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_does_what_it_did_before(number):
    heard = []
    before = signal.signal(number, lambda n, frame: heard.append(n))
    ours = signal.getsignal(number)
    try:
        with noted() as signals:
            assert signals.signal == 0
            os.kill(os.getpid(), number)
            assert (signals.signal, heard) == (number, [])
            os.kill(os.getpid(), number)
            assert heard == [number]
        assert signal.getsignal(number) is ours
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_is_an_interrupt_where_it_was_one_before():
    before = signal.getsignal(signal.SIGINT)
    with noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_signal_stays_ignored_and_nobody_is_awoken():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    out, into = os.pipe()
    os.set_blocking(into, False)
    fd = signal.set_wakeup_fd(into)
    try:
        with noted() as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert signals.signal == signal.SIGINT
        assert signal.set_wakeup_fd(-1) == into
        os.set_blocking(out, False)
        with pytest.raises(BlockingIOError):
            os.read(out, 1)
    finally:
        signal.set_wakeup_fd(fd)
        signal.signal(signal.SIGTERM, before)
        os.close(out)
        os.close(into)


def test_in_another_thread_nothing_is_changed():
    found = []

    def work():
        with noted() as signals:
            found.append((signals.before, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [({}, signal.getsignal(signal.SIGINT))]
