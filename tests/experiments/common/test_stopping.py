import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.common.stopping import INTERRUPTED

PLACES = {  # what an exception is lost in, or has to wait for
    "imports": "import jax, tyro, matplotlib.pyplot, sklearn, scipy.stats; time.sleep(9)",
    "a destructor": "X = type('X', (), {'__del__': lambda self: time.sleep(9)}); X()",
    "a handler": "try: time.sleep(9)\nexcept BaseException: time.sleep(9)",
    "compiled code": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2 * 10**9)",
}


@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_ends_a_command_at_once_whatever_it_is_doing(place):
    script = f"""
import sys, time
sys.argv = ["-m"]
import experiments
print("printed")
print("ready", file=sys.stderr, flush=True)
{PLACES[place]}
"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=env)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        said, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors) == (INTERRUPTED, "stopped.\n")
    assert said == "printed\n" or place == "compiled code"


def test_a_module_of_the_experiments_leaves_the_signals_of_others_alone():
    script = (
        "import signal; before = signal.getsignal(2); import experiments; "
        "print(signal.getsignal(2) == before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n"
