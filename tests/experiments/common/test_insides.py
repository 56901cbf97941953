import jax.numpy as jnp
import numpy as np
from matplotlib.image import imread

import fnn
from experiments.common import insides, plots

NET = fnn.Serial(
    up=fnn.Dense(3, 4),
    blocks=fnn.Repeat(2, fnn.Residual(fnn.Serial(a=fnn.Dense(4, 4), act=fnn.ReLU()))),
    down=fnn.Cast(fnn.Dense(4, 2), "float32"),
)
SEEN = {
    "blocks": {"a": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])},
    "down": jnp.array([0.1, 0.2, 0.3]),
    "up": jnp.array([7.0, 8.0, 9.0]),
}


def test_layers_are_in_the_order_of_the_net_copy_by_copy():
    found = insides.by_layer(NET, SEEN)
    assert list(found) == ["up", "blocks.a 1", "blocks.a 2", "down"]
    assert found["blocks.a 2"].tolist() == [2, 4, 6]
    assert found["up"].tolist() == [7, 8, 9]
    assert insides.by_layer(NET, {}) == {}


def test_few_layers_are_lines_and_many_are_rows_of_a_map(tmp_path):
    few = insides.by_layer(NET, SEEN)
    many = {f"{name} {i}": a for name, a in few.items() for i in range(3)}
    for i, layers in enumerate((few, many)):
        quantities = {"saturation": {}, "update_ratios": layers, "gradient_norms": layers}
        figure = insides.picture_of(np.array([1, 11, 21]), quantities)
        first, second, *bars = figure.axes
        assert (len(first.lines), len(bars)) == ((4, 0), (0, 2))[i]
        plots.save(figure, tmp_path / "a.png")
        assert first.get_title("left").startswith("norm of the gradient, ‖g‖")
        assert second.get_title("left").startswith("update / weight")
        assert imread(tmp_path / "a.png").std() > 0.01
    assert figure.get_suptitle() == (
        "A step moves a layer by 3.5e+00 of its size, the first by 1.5e+00, the last by 5.5e+00 "
        "(medians)"
    )
