import json
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fnn
import fnn.files
from experiments.common import checkpoints
from experiments.common.checkpoints import Checkpoint
from experiments.common.cli import DATA, NOT_FINITE, UserError
from experiments.common.data import Standardizer
from fnn.named import by_name

NET = fnn.Serial(
    fnn.Dense(3, 4, fnn.initializers.he_normal), fnn.LeakyReLU(0.2),
    fnn.Dropout(0.5, inverted=False), fnn.Residual(fnn.Serial(fnn.Dense(4, 4), fnn.Tanh())),
    fnn.Dense(4, 2),
)  # fmt: skip
STANDARDIZE = Standardizer(np.array([0.1, 0.2, 0.3], np.float32), np.ones(3, np.float32))


@pytest.fixture
def saved(tmp_path):
    params = NET.init(jax.random.key(0))
    checkpoint = Checkpoint(NET, params, STANDARDIZE, {"seed": 0})
    checkpoints.save(tmp_path / "a.safetensors", checkpoint)
    return tmp_path / "a.safetensors", checkpoint


def test_file_gives_back_network_parameters_and_preprocessing(saved):
    path, checkpoint = saved
    loaded = checkpoints.load(path)
    assert loaded.net == NET
    assert loaded.config == {"seed": 0}
    assert jax.tree.structure(loaded.params) == jax.tree.structure(checkpoint.params)
    for a, b in zip(*map(jax.tree.leaves, (loaded, checkpoint)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
    assert checkpoints.ends(loaded) == ((3,), 2)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_tensors_have_the_dotted_paths_without_a_level_for_wrappers(saved):
    path, _ = saved
    assert sorted(load_file(path)) == ["0.b", "0.w", "3.0.b", "3.0.w", "4.b", "4.w"]


def test_a_net_with_names_and_wrappers_comes_back(tmp_path):
    path, net = tmp_path / "a", fnn.Cast(fnn.gpt(5, 4, 2, 3, 6, dropout=0.1), "bfloat16")
    params = jax.jit(net.init)(jax.random.key(0))
    checkpoints.save(path, Checkpoint(net, params, STANDARDIZE, {}))
    assert {"embed.table", "blocks.attention.wq", "blocks.feed_forward.up.w"} <= {*load_file(path)}
    loaded = checkpoints.load(path)
    assert loaded.net == net
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_a_file_of_fnn_0_4_is_refused_with_what_to_do(tmp_path):
    tensors = {
        "0/w": np.zeros((3, 4), np.float32), "0/b": np.zeros(4, np.float32),
        "3/0/0/w": np.zeros((4, 4), np.float32), "3/0/0/b": np.zeros(4, np.float32),
        "4/w": np.zeros((4, 2), np.float32), "4/b": np.zeros(2, np.float32),
    }  # fmt: skip
    texts = {
        "network": json.dumps(checkpoints.described(NET)),
        "preprocessing": json.dumps({"mean": [0.0] * 3, "std": [1.0] * 3}),
        "config": json.dumps({"seed": 0}),
    }
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, texts | {"sha256": fnn.files.digest(tensors, texts)})
    with pytest.raises(UserError) as error:
        checkpoints.load(path)
    assert error.value.code == DATA
    assert str(error.value) == (
        f"{path} is of an older format, that of fnn 0.4; train again, or read it with fnn 0.4."
    )


def test_every_changed_byte_is_an_error(saved):
    path, _ = saved
    good = path.read_bytes()
    for i in range(0, len(good), 37):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        with pytest.raises(UserError) as error:
            checkpoints.load(path)
        assert error.value.code == DATA


def test_tensors_that_do_not_fit_the_network_are_listed(saved):
    path, checkpoint = saved
    tensors = arrays(checkpoint.params)
    tensors["9.w"] = tensors.pop("0.b")
    tensors["4.w"] = tensors["4.w"].T.copy()
    checkpoints.write(path, tensors, good())
    with pytest.raises(UserError) as error:
        checkpoints.load(path)
    message = str(error.value)
    assert "9.w is unexpected" in message
    assert "0.b is missing" in message
    assert "[4, 2], got " in message


@pytest.mark.parametrize(
    "network",
    [
        {"value_and_grad": {}}, {"Dense": {"n_in": 3}}, {"os": {}}, [], {"Dense": {"n": 1}},
        {"Dense": {"n_in": 3, "n_out": 2, "w_init": "nothing"}}, {"Serial": {"a": 3}},
    ],
)  # fmt: skip
def test_description_of_anything_but_layers_is_refused(network, tmp_path):
    with pytest.raises(UserError, match="describes no network"):
        checkpoints.built(tmp_path, network)


STATISTICS = {"mean": [0.0] * 3, "std": [1.0] * 3}


def deep(n):
    """A description nested in n layers."""
    inside = {"Tanh": {}}
    for _ in range(n):
        inside = {"Residual": {"inner": inside}}
    return inside


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ("{", "has no JSON in its notes: Expecting"),
        ("", "has no JSON in its notes"),
        ("[" * 100_000, "has no JSON in its notes: "),
        ("[]", "was not saved here: it has no network, preprocessing, config."),
        ('{"network": {"Dense": {"n_in": NaN, "n_out": 1}}}', "NaN is no number"),
        ('{"preprocessing": {"mean": [0], "std": [Infinity]}}', "Infinity is no number"),
        ({"network": deep(200)}, "describes no network: it is nested in more than 100 levels"),
        ({"network": {"Serial": [{"Tanh": {}}] * 10_000}}, "than 5000 entr"),
        ({"network": 3}, "a layer must be one name with its fields, got 3; take another file."),
        ({"network": {"Tanh": {}, "ReLU": {}}}, "a layer must be one name with its fields"),
        ({"network": {"Repeat": {"n": 1000000, "inner": {"Tanh": {}}}}}, "it has 1000000 layers"),
        ({"network": {"Tanh": 3}}, "the fields of Tanh must be names with values, got 3"),
        ({"network": {"Layer": {}}}, "'Layer' is no layer of fnn"),
        ({"network": {"check": {}}}, "'check' is no layer of fnn"),
        ({"network": {"Composite": {}}}, "describes no network: "),
        ('{"network": {"Dense": {"n_in": 1e400, "n_out": 1}}, "preprocessing": 0, "config": {}}',
         "describes no network: "),
        ({"network": {"Dense": {"n_in": 1e30, "n_out": 1}}}, "w is missing, "),
        ({"preprocessing": []}, "has no mean and std in its preprocessing: "),
        ({"preprocessing": {"mean": [0, 0, 0]}}, "has no mean and std in its preprocessing: "),
        ({"preprocessing": {"mean": [0, 1], "std": [1, 1, 1]}}, "must be numbers in one form"),
        ({"preprocessing": {"mean": ["0"], "std": ["1"]}}, "must be numbers in one form"),
        ({"preprocessing": {"mean": [[0], 0], "std": [1, 1]}}, "has no mean and std"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, "and the std more than 0"),
        ({"preprocessing": {"mean": [0, 0, 1e99], "std": [1, 1, 1]}}, "they must be finite"),
        ({"config": [1]}, "its config must be names with values, got [1]"),
    ],
)  # fmt: skip
def test_a_file_may_say_anything_and_its_digest_be_right(notes, message, tmp_path):
    tensors = arrays(NET.init(jax.random.key(0)))
    text = notes if isinstance(notes, str) else json.dumps(good() | notes)
    failure(tmp_path / "a", tensors, text, message)


def good():
    """What a file says that is one."""
    return {"network": checkpoints.described(NET), "preprocessing": STATISTICS, "config": {}}


def arrays(params):
    """Params by name."""
    return {name: np.asarray(a) for name, a in by_name(params).items()}


def failure(path, tensors, notes, message):
    """Loading a file of these tensors and notes, with a digest that is right, fails soon."""
    fnn.files.write(path, tensors, {"layout": "1", "fnn": "0.5", "notes": notes})
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        checkpoints.load(path)
    assert time.perf_counter() - began < 5
    assert error.value.code == DATA
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}")
    assert len(str(error.value)) < 1100


@pytest.mark.parametrize("name", ["jax", "jnp", "Array", "check_key", "_normal", "__doc__", "os"])
def test_only_initializers_can_be_named_as_one(name, tmp_path):
    description = {"Dense": {"n_in": 3, "n_out": 2, "w_init": name}}
    with pytest.raises(UserError, match=rf"w_init '{name}' is not one of glorot_uniform, "):
        checkpoints.built(tmp_path, description)
    assert {"glorot_uniform", "he_normal", "orthogonal", "zeros"} <= set(checkpoints.INITIALIZERS)


def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(saved, tmp_path):
    path, checkpoint = saved
    before = path.read_bytes()
    params = jax.tree.map(lambda a: a.at[..., 0].set(jax.numpy.nan), checkpoint.params)
    with pytest.raises(UserError, match=r"in 0\.\w are not finite when it is saved") as error:
        checkpoints.save(path, checkpoint._replace(params=params))
    assert error.value.code == NOT_FINITE
    assert path.read_bytes() == before
    message = "1 of 2 numbers in 4.b are not finite; train again"
    tensors = arrays(checkpoint.params) | {"4.b": np.array([1, np.inf], np.float32)}
    failure(tmp_path / "b", tensors, json.dumps(good()), message)


def test_many_tensors_that_do_not_belong_there_are_told_in_a_moment_and_not_all_listed(tmp_path):
    tensors = dict.fromkeys((f"t{i}" for i in range(20_000)), np.zeros(0, np.float32))
    failure(tmp_path / "a", tensors, json.dumps(good()), " and 19998 more.")


def test_more_names_and_texts_than_are_read_are_neither_read_nor_written(tmp_path):
    path = tmp_path / "a"
    path.write_bytes((2**24 + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="take 16777217 bytes; at most 16777216 can be read"):
        checkpoints.load(path)
    with pytest.raises(UserError, match="at most 16777216 can be read"):
        checkpoints.write(tmp_path / "b", {}, {"config": "x" * 2**24})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_is_no_file_to_load_is_told(tmp_path):
    for path, message in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / ("a" * 300), "cannot be read: File name too long"),
        (tmp_path / "a" / "b", "there is no folder"),
    ):
        with pytest.raises(UserError, match=message) as error:
            checkpoints.load(path)
        assert error.value.code == DATA


def test_missing_file_is_named_with_the_nearest_there_is(saved):
    path, _ = saved
    with pytest.raises(UserError, match=r"there is no file .*Did you mean .*a\.safetensors\?"):
        checkpoints.load(path.with_name("b.safetensors"))


def test_files_without_metadata_and_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "a"
    save_file({"w": np.zeros(2, np.float32)}, path)
    with pytest.raises(UserError, match="was not saved by fnn: it has no SHA-256"):
        checkpoints.load(path)
    path.write_text("nothing of the kind")
    with pytest.raises(UserError, match="is not a safetensors file"):
        checkpoints.load(path)


def test_function_that_is_not_fnns_cannot_be_described():
    with pytest.raises(ValueError, match=r"w_init must be one of fnn\.initializers"):
        checkpoints.described(fnn.Dense(1, 2, lambda key, n_in, n_out: None))


def test_a_file_has_the_mode_of_its_neighbours_and_leaves_nothing_beside_it(tmp_path):
    path, beside = tmp_path / "a.safetensors", tmp_path / "b"
    for value in (1.0, 2.0):
        checkpoints.write(path, {"w": np.full(3, value, "float32")}, {})
        beside.write_text("")
        assert path.stat().st_mode == beside.stat().st_mode
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b"]
    tensors, _ = checkpoints.read(path, ())
    assert (tensors["w"] == 2).all()
