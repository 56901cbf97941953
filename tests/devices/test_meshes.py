import jax
import pytest
from jax.sharding import AxisType

import fnn


def test_a_mesh_has_rows_of_data_and_columns_of_model_on_automatic_axes():
    mesh = fnn.devices.mesh(devices=jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "model": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"data": 999}, ValueError, r"data=999 × model=1 takes 999 devices, there are 1; .*=999"),
        ({"data": 3, "model": 7}, ValueError, "data=3 × model=7 takes 21 devices, there are 1"),
        ({"model": 999}, ValueError, "model must divide the 1 devices, got 999"),
        ({"data": 0}, ValueError, "data must be at least 1, got 0"),
        ({"model": 1.5}, TypeError, "model must be an integer, got 1.5"),
    ],
)
def test_what_the_devices_do_not_allow_is_an_error_with_both_numbers(how, error, text):
    with pytest.raises(error, match=f"mesh: {text}"):
        fnn.devices.mesh(**how, devices=jax.devices()[:1])


def test_devices_that_are_none_are_an_error():
    for given in (8, "cpu", jax.devices()[0], [None]):
        with pytest.raises(TypeError, match="mesh: devices must be some of .*, got"):
            fnn.devices.mesh(devices=given)
