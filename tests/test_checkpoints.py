"""Tests of fnn.checkpoints."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fnn
from fnn.checkpoints import (
    CheckpointError,
    keep,
    latest,
    load,
    notes,
    numbered,
    save,
    tensors,
)
from fnn.files import read, write
from fnn.saving.settings import settings

KEY = jax.random.key(0)
NET = fnn.Serial(
    up=fnn.Dense(3, 4), blocks=fnn.Repeat(2, fnn.Residual(fnn.Dense(4, 4))), act=fnn.Tanh()
)

PLAN = fnn.Plan(NET, fnn.SquaredError(), fnn.optim.Adam(0.1))


@pytest.fixture(scope="module")
def state():
    """A State whose numbers are no zeros."""
    state = fnn.start(PLAN, KEY)
    moments = jax.tree.map(lambda a: a + jnp.ones_like(a), state.optimizer_state)
    return state._replace(optimizer_state=moments, step=state.step + 7)


def bare(state):
    """A State with the numbers of its key."""
    return state._replace(key=jax.random.key_data(state.key))


def same(found, want):
    """Equal bit for bit, dtypes and nesting too."""
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_params_come_back_bit_for_bit(dtype, tmp_path):
    path = tmp_path / "a.safetensors"
    params = jax.tree.map(lambda a: a.astype(dtype), NET.init(KEY))
    params["up"] = params["up"]._replace(b=jnp.array([jnp.nan, -0.0, jnp.inf, 1e-7], dtype))
    save(path, params)
    same(load(path, params), params)
    same(load(f"{path}", jax.eval_shape(lambda: params)), params)
    assert sorted(load_file(path)) == ["blocks.b", "blocks.w", "up.b", "up.w"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_any_tree_of_numbers_comes_back(tmp_path):
    tree = {
        "a": (np.arange(3), [jnp.zeros((2, 0)), np.array(True)]), "b": None, "c": jnp.float32(7),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }  # fmt: skip
    save(tmp_path / "a", tree)
    same(load(tmp_path / "a", tree), tree)
    for alone in (np.arange(3.0), ()):
        save(tmp_path / "a", alone)
        same(load(tmp_path / "a", alone), alone)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_come_back_as_keys(impl, tmp_path):
    tree = {"one": jax.random.key(3, impl=impl), "many": jax.random.split(KEY, (2, 3)), "w": KEY}
    save(tmp_path / "a", tree)
    found = load(tmp_path / "a", tree)
    assert {n: (k.dtype, k.shape) for n, k in found.items()} == {
        n: (k.dtype, k.shape) for n, k in tree.items()
    }
    same(*(jax.tree.map(jax.random.key_data, t) for t in (found, tree)))
    with pytest.raises(CheckpointError, match=r"w must be uint32\[2\], got key<fry>\[\]"):
        load(tmp_path / "a", tree | {"w": jax.random.key_data(KEY)})


def test_a_key_that_is_none_is_told(tmp_path):
    keys = {"w": "threefry2x32", "v": "threefry2x32"}
    write(tmp_path / "a", {"w": np.arange(3)}, {"keys": json.dumps(keys)})
    with pytest.raises(CheckpointError, match="a: w is no key of 'threefry2x32': "):
        load(tmp_path / "a", {"w": np.arange(3)})


def test_a_state_comes_back_by_its_plan(state, tmp_path):
    path = tmp_path / "a"
    save(path, state, plan=PLAN, notes={"é": [1, 2.5, None]})
    found = load(path, PLAN)
    assert isinstance(found, fnn.State)
    same(bare(found), bare(state))
    same(bare(load(path, jax.eval_shape(lambda: state))), bare(state))
    assert notes(path)["notes"] == {"é": [1, 2.5, None]}
    assert notes(path)["plan"] == settings(PLAN)
    save(path, state._replace(key=None), plan=PLAN)
    assert load(path, PLAN).key is None
    with pytest.raises(TypeError, match=r"save: a State is saved with its Plan; write save\(path"):
        save(path, state)
    save(path, state.params)
    with pytest.raises(CheckpointError, match="holds no State: it was saved without a Plan"):
        load(path, PLAN)


def test_a_plan_that_is_not_the_one_in_the_file_is_an_error_part_by_part(state, tmp_path):
    path = tmp_path / "a"
    save(path, state, plan=PLAN)
    other = fnn.Plan(NET, fnn.SquaredError(0.5), fnn.optim.Adam(0.2))
    with pytest.raises(CheckpointError) as error:
        load(path, other)
    assert str(error.value) == (
        f"{path} is of another Plan: loss was SquaredError(scale=1.0) and is now "
        "SquaredError(scale=0.5); optimizer was Adam(learning_rate=0.1, b1=0.9, b2=0.999, eps=1e-0 "
        "and is now Adam(learning_rate=0.2, b1=0.9, b2=0.999, eps=1e-0; changed=(…) names the "
        "parts that may differ."
    )
    same(bare(load(path, other, changed=("loss", "optimizer"))), bare(state))
    with pytest.raises(CheckpointError, match="Plan: loss was"):
        load(path, other, changed="optimizer")
    with pytest.raises(ValueError, match="load: changed must be parts of a Plan, net, loss, .*'lo"):
        load(path, PLAN, changed=("lo",))
    with pytest.raises(CheckpointError, match=r"optimizer_state\.\S+ is unexpected"):
        load(path, fnn.Plan(NET, fnn.SquaredError(), fnn.optim.SGD(0.1)), changed="optimizer")


def test_part_of_a_file_is_loaded_only_where_that_is_asked_for(tmp_path):
    params = NET.init(KEY)
    save(tmp_path / "a", {"up": params["up"], "other": jnp.ones(2)})
    with pytest.warns(UserWarning, match=r"blocks\.b is missing.*other is unexpected"):
        found = load(tmp_path / "a", jax.tree.map(lambda a: a + 1, params), partial=True)
    same(found, {"up": params["up"], "blocks": jax.tree.map(lambda a: a + 1, params["blocks"])})
    with pytest.raises(CheckpointError, match="is missing, and `like` has only its shape; hand"):
        load(tmp_path / "a", jax.eval_shape(NET.init, KEY), partial=True)
    wider = params | {"up": fnn.DenseParams(jnp.ones((3, 5)), jnp.ones(4))}
    with (
        pytest.warns(UserWarning, match="is missing"),
        pytest.raises(CheckpointError, match=r"up\.w must be float64\[3, 5\], got float64\[3, 4\]"),
    ):
        load(tmp_path / "a", wider, partial=True)


def test_only_floating_point_numbers_are_cast_and_only_where_that_is_asked_for(tmp_path):
    tree = {"w": np.array([1 / 3, 2.0]), "i": np.arange(3)}
    save(tmp_path / "a", tree)
    half = tree | {"w": jnp.zeros(2, "bfloat16")}
    with pytest.raises(CheckpointError, match=r"w must be bfloat16\[2\], got float64\[2\]"):
        load(tmp_path / "a", half)
    same(load(tmp_path / "a", half, cast=True), tree | {"w": tree["w"].astype("bfloat16")})
    for wrong in ({"i": np.arange(3.0)}, {"i": np.arange(3, dtype=np.int32)}, {"w": np.arange(2)}):
        with pytest.raises(CheckpointError, match="does not fit"):
            load(tmp_path / "a", tree | wrong, cast=True)


def test_a_later_layout_is_refused_with_who_wrote_it(tmp_path):
    write(tmp_path / "a", {"w": np.arange(3)}, {"layout": "2", "fnn": "9.9"})
    with pytest.raises(
        CheckpointError, match=r"has the layout 2, written by fnn 9\.9; this is fnn"
    ):
        load(tmp_path / "a", {"w": np.arange(3)})


@pytest.mark.parametrize("texts", [{"keys": "3"}, {"keys": "{"}, {"plan": "[]"}, {"plan": "NaN"}])
def test_a_file_may_say_anything_and_its_digest_be_right(texts, state, tmp_path):
    save(tmp_path / "a", state, plan=PLAN)
    tensors, said = read(tmp_path / "a")
    del said["sha256"]
    write(tmp_path / "a", tensors, said | texts)
    with pytest.raises(
        CheckpointError, match="a: its (keys|plan) must be names|has no JSON in its "
    ):
        load(tmp_path / "a", PLAN)


def test_the_newest_whole_file_of_a_folder_and_the_removal_of_older_ones(tmp_path):
    assert latest(tmp_path / "none") is None
    for step in (5, 10, 15, 20):
        save(numbered(tmp_path, step), {"w": np.arange(3)})
    (tmp_path / "mine.safetensors").touch()
    assert latest(tmp_path) == tmp_path / "0000000020.safetensors"
    numbered(tmp_path, 20).write_bytes(b"x")
    with pytest.warns(
        UserWarning, match=r"latest: going on from \S+15.* passed over 0000000020\.s"
    ):
        assert latest(f"{tmp_path}") == numbered(tmp_path, 15)
    assert keep(tmp_path, 2) == [numbered(tmp_path, 5)]
    assert keep(tmp_path, 1) == [numbered(tmp_path, 10)]
    numbered(tmp_path, 15).unlink()
    with pytest.raises(CheckpointError, match=r"latest: no file in \S+ is whole: 0000000020\.safe"):
        latest(tmp_path)
    assert keep(tmp_path, 1) == []
    with pytest.raises(ValueError, match="keep: n must be at least 1, got 0"):
        keep(tmp_path, 0)


def test_what_does_not_fit_is_listed_by_name_and_nothing_is_cast(tmp_path):
    save(tmp_path / "a", NET.init(KEY))
    wider = fnn.Serial(up=fnn.Dense(3, 5), down=fnn.Dense(4, 4))
    like = jax.eval_shape(wider.init, KEY)
    half = like["up"].w.update(dtype=jnp.float16, shape=(3, 4))
    like["up"] = like["up"]._replace(w=half)
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "a", like)
    assert isinstance(error.value, ValueError)
    assert str(error.value) == (
        f"{tmp_path / 'a'} does not fit: down.w is missing, float64[4, 4]; down.b is missing, "
        "float64[4]; blocks.b is unexpected, float64[2, 4]; blocks.w is unexpected, "
        "float64[2, 4, 4]; up.w must be float16[3, 4], got float64[3, 4]; up.b must be "
        "float64[5], got float64[4]."
    )


def test_what_differs_by_a_wrapper_alone_is_told_how_to_load(tmp_path):
    plain, params = fnn.Dense(3, 4), fnn.Dense(3, 4).init(KEY)
    save(tmp_path / "a", params)
    with pytest.raises(CheckpointError, match=r"by a wrapper alone: load into params of the net"):
        load(tmp_path / "a", fnn.Frozen(plain).init(KEY))
    with pytest.raises(CheckpointError, match=r"got float64\[4\]\.$"):
        load(tmp_path / "a", fnn.Dense(3, 5).init(KEY))


def test_only_what_save_wrote_is_loaded_and_anything_is_read(tmp_path):
    named = {"w": np.arange(3.0)}
    save_file(named, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"was not saved by fnn: it has no SHA-256; fnn\.ch"):
        load(tmp_path / "a", named)
    found = tensors(tmp_path / "a")
    np.testing.assert_array_equal(found["w"], named["w"])
    save(tmp_path / "b", found)
    assert tensors(str(tmp_path / "b")).keys() == {"w"}


@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        (3.0, TypeError, r"save: params\.w must be an array, got float"),
        ("no", TypeError, r"save: params\.w must be an array, got str"),
        (np.array(["a"]), TypeError, r"save: params\.w must be an array, got <U1"),
        (np.zeros(2, complex), TypeError, r"save, w must be of bools, .* float64, got complex128"),
        (jax.ShapeDtypeStruct((2,), jnp.float32), ValueError, "save: w is not known yet"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(leaf, error, message, tmp_path):
    with pytest.raises(error, match=message):
        save(tmp_path / "a", {"w": leaf})
    assert not [*tmp_path.iterdir()]


def test_saving_under_jit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="save outside jit"):
        jax.jit(lambda w: save(tmp_path / "a", {"w": w}))(jnp.zeros(2))


def test_64_bits_are_not_narrowed_without_a_word(tmp_path):
    save(tmp_path / "a", {"w": np.zeros(2)})
    with jax.enable_x64(False), pytest.raises(TypeError, match="a: w is float64, of which JAX"):
        load(tmp_path / "a", {"w": np.zeros(2)})


def test_the_module_is_the_packages_and_comes_on_use():
    assert fnn.checkpoints.save is save
    assert "checkpoints" in dir(fnn)
