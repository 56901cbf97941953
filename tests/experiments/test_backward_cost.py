import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments import backward_cost

SETTING = backward_cost.Setting(rows=8, seed=0, repeats=1)


def test_a_product_of_matrices_is_one_product_of_2nmk_operations():
    a, b = jnp.ones((8, 16)), jnp.ones((16, 4))
    (found,) = backward_cost.costs([lambda a, b: a @ b], (a, b), repeats=2)
    assert found.operations == 2 * 8 * 16 * 4
    assert found.products == 1
    assert found.seconds > 0


def test_layer_by_layer_adds_up_the_programs_of_all_layers():
    found = backward_cost.case(4, 2, SETTING, "layers")
    # forward 2; ∂L/∂w_2 one more, ∂L/∂w_1 two more: the first forward is shared by nobody
    assert (found.forward.products, found.both.products, found.other.products) == (2, 5, 7)
    assert found.parameters == 2 * (4 * 4 + 4)
    assert found.other.operations > found.both.operations > found.forward.operations


@pytest.mark.long
def test_quotients_are_near_the_gradient():
    p = backward_cost.problem(4, 2, SETTING)
    c, g = p.quotients(*p.arguments())
    value, exact = p.both(*p.arguments())
    exact = ravel_pytree(exact)[0]
    assert c == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(g, exact, atol=5e-3)
