"""Tests of fnn.checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fnn
from fnn.checkpoints import CheckpointError, load, save, tensors

KEY = jax.random.key(0)
NET = fnn.Serial(
    up=fnn.Dense(3, 4), blocks=fnn.Repeat(2, fnn.Residual(fnn.Dense(4, 4))), act=fnn.Tanh()
)


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


def test_a_typed_key_is_saved_as_its_numbers(tmp_path):
    with pytest.raises(TypeError, match=r"save: key is a typed key; save jax\.random\.key_data of"):
        save(tmp_path / "a", {"key": KEY})
    save(tmp_path / "a", {"key": jax.random.key_data(KEY)})
    assert not [*tmp_path.glob("*.partial")]


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
