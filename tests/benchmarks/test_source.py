"""Tests of benchmarks.mutations.source."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.mutations.source import edited, functions, operations, terms

X = jnp.array([[-2.0, -0.5, 0.25, 3.0]])
S = jax.nn.sigmoid(X)


def by_name(edits):
    return {edit.what: edit for edit in edits}


def test_terms_are_those_of_outer_sums():
    assert [*by_name(terms(fnn.SiLU, "df"))] == [
        "without x * (1 - s)", "without 1", "− x * (1 - s)",
    ]  # fmt: skip


def test_an_edited_layer_has_another_backward_and_the_same_forward():
    wrong = edited(fnn.SiLU(), by_name(terms(fnn.SiLU, "df"))["− x * (1 - s)"])
    y, cache = wrong.forward((), X)
    np.testing.assert_array_equal(y, fnn.SiLU().forward((), X)[0])
    np.testing.assert_allclose(
        wrong.backward((), cache, jnp.ones_like(X))[1], S * (1 - X * (1 - S))
    )
    assert wrong.sequences == "positions"
    assert jax.jit(lambda f, x: f.forward((), x)[0])(wrong, X).shape == X.shape


def test_the_fields_stay():
    wrong = edited(fnn.Huber(0.25), by_name(functions(fnn.Huber, "df"))["clip forgotten: y - t"])
    assert wrong.delta == 0.25
    np.testing.assert_array_equal(wrong.df(X, 0 * X), X)


def test_a_choice_forgotten_is_its_first_case():
    wrong = edited(fnn.Hinge(), by_name(functions(fnn.Hinge, "df"))["where forgotten: -t"])
    np.testing.assert_array_equal(wrong.df(X, -jnp.ones_like(X)), jnp.ones_like(X))


def test_super_is_that_of_the_class_where_the_formula_stands():
    optimizer = fnn.optim.AdamW(0.1, weight_decay=0.5)
    p = fnn.UnembedParams(X)
    wrong = edited(optimizer, by_name(operations(fnn.optim.AdamW, "update"))["+ decay"])
    right, _ = optimizer.update(p, optimizer.init(p), p)
    found, _ = wrong.update(p, wrong.init(p), p)
    np.testing.assert_allclose(found.w - right.w, 2 * 0.1 * 0.5 * X, rtol=1e-12)


def test_every_edit_has_a_name_of_its_own():
    found = operations(fnn.optim.Momentum, "update")
    assert {"without g", "without g, place 2"} <= {*by_name(found)}
    assert len(by_name(found)) == len(found)


def test_operations_of_an_update():
    found = by_name(operations(fnn.optim.AdaDelta, "update"))
    for what in (
        "hypot forgotten: new * g", "hypot forgotten: old * s", "without the factor old",
        "eps outside the root", "upside down", "sqrt forgotten: o.rho",
    ):  # fmt: skip
        assert what in found
    assert "o.eps inside the root" in by_name(operations(fnn.optim.RMSProp, "update"))
    assert "as if not self.nesterov" in by_name(operations(fnn.optim.Momentum, "update"))
