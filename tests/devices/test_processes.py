import pytest

import fnn


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("localhost:1", 2), "give process or JAX_PROCESS_ID"),
        (("localhost:1", 2, 2), "process must be from 0 to 1, got 2"),
        ((), "give coordinator or JAX_COORDINATOR_ADDRESS, processes or JAX_NUM_PROCESSES"),
    ],
)
def test_what_is_nowhere_said_is_an_error(flags, text, monkeypatch):
    def undetected(*args, **options):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr("jax.distributed.initialize", undetected)
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"join: {text}"):
        fnn.devices.join(*flags)


def test_one_process_waits_for_nobody():
    fnn.devices.wait("nobody", timeout=0)
    assert fnn.devices.is_first()
