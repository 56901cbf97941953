"""Tests of fnn.devices.cuts, on meshes without devices."""

import jax
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

import fnn
from fnn.devices.cuts import cuts_of

GPT = fnn.gpt(n_vocab=50, n=64, n_heads=4, n_layers=512, n_context=32)
PARAMS = jax.eval_shape(GPT.init, jax.random.key(0))
EIGHT = AbstractMesh((8, 2), ("data", "model"))


def cuts(how, mesh=EIGHT, net=GPT, params=PARAMS):
    return {".".join(c.path): tuple(c.spec) for c in cuts_of(net, params, mesh, how)}


def test_fsdp_cuts_large_arrays_on_their_largest_axis_and_never_the_copies_of_a_repeat():
    found = cuts("fsdp")
    assert found["blocks.feed_forward.up.w"] == (None, None, "data")  # [512, 64, 256]
    assert found["blocks.feed_forward.down.dense.w"] == (None, "data", None)
    assert found["blocks.attention.wq"] == (None, "data", None)  # 64 × 64 are 4096
    assert found["blocks.feed_forward.up.b"] == (None, None)  # 256 of every copy: small
    assert found["embed.table"] == (None, None)  # 3200


def test_fsdp_leaves_whole_what_does_not_divide():
    net = fnn.Dense(66, 99)
    found = cuts("fsdp", net=net, params=jax.eval_shape(net.init, jax.random.key(0)))
    assert found == {"w": (None, None), "b": (None,)}


def test_one_way_after_the_other_cuts_further():
    found = cuts(("tensor", "fsdp"))
    assert found["blocks.feed_forward.up.w"] == (None, "data", "model")
    assert found["blocks.attention.wo"] == (None, "model", "data")
    assert found["blocks.attention_norm.scale"] == (None, None)


def test_paths_and_patterns_say_what_is_cut():
    said = {"blocks.*.w?": PartitionSpec(None, None, "model"), "embed.table": ("model",)}
    found = cuts(said)
    assert found["blocks.attention.wo"] == (None, None, "model")
    assert found["embed.table"] == ("model", None)
    assert found["head.w"] == (None, None)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("fdsp", "how must be one of replicated, fsdp, tensor, a dict of path .* got 'fdsp'"),
        (
            {"embed.tabel": ("data",)},
            "no array of params is at 'embed.tabel'; did you mean 'embed.table'",
        ),
        ({"embed.table": ("modle",)}, "the mesh has no axis 'modle', it has 'data', 'model'"),
        (
            {"embed.table": ("data",)},
            r"axis 0 of embed.table, \[50, 64\], must be a multiple of the 8",
        ),
        ({"embed.table": (None, None, "data")}, r"embed.table has 2 axes, .* a spec of 3"),
    ],
)
def test_what_no_mesh_can_do_is_an_error(how, text):
    with pytest.raises(ValueError, match=f"place: {text}"):
        cuts(how)


def test_an_axis_that_the_mesh_lacks_is_an_error():
    with pytest.raises(ValueError, match="the mesh has no axis 'data', it has 'rows'"):
        cuts("fsdp", AbstractMesh((8,), ("rows",)))


def test_heads_stay_whole():
    three = AbstractMesh((3,), ("model",))
    text = "the heads of blocks.attention.wq must be a multiple of the 3 devices .* got 4"
    with pytest.raises(ValueError, match=text):
        cuts("tensor", three)
