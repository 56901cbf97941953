"""The mesh: devices in rows and columns, whose axes have the names "data" and "model"."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from fnn.records import integer
from fnn.sharding import DATA, MODEL


def mesh(data: int | None = None, model: int = 1, *, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of data × model devices, with automatic axes.

    Args:
        data: into how many parts a batch is cut; None: as many as the devices allow.
        model: into how many parts layers are cut that `place(…, how="tensor")` cuts.
        devices: which ones; None: the first of all that there are, of all processes.

    Raises:
        ValueError: for more devices than there are, for sizes below 1, and for a `model` that does
            not divide the devices where data is None.
        TypeError: for sizes that are no integers, and for devices that are none.
    """
    there = jax.devices() if devices is None else listed(devices)
    model = size("model", model)
    if data is None and len(there) % model:
        raise ValueError(f"mesh: model must divide the {len(there)} devices, got {model}.")
    data = max(len(there) // model, 1) if data is None else size("data", data)
    if (asked := data * model) > len(there):
        raise ValueError(
            f"mesh: data={data} × model={model} takes {asked} devices, there are {len(there)}; to "
            f"try it on a CPU set XLA_FLAGS=--xla_force_host_platform_device_count={asked}."
        )
    kinds = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), (DATA, MODEL), kinds, devices=there[:asked])


def listed(devices: Any) -> list[Any]:
    """Devices that somebody gave, as a list."""
    found = [*devices] if hasattr(devices, "__iter__") else [None]
    if not all(hasattr(device, "device_kind") for device in found):
        raise TypeError(f"mesh: devices must be some of jax.devices(), got {devices!r:.60}.")
    return found


def size(name: str, value: Any) -> int:
    """`value` as an int of at least 1."""
    value = integer(f"mesh: {name}", value)
    if value < 1:
        raise ValueError(f"mesh: {name} must be at least 1, got {value}.")
    return value
