import fnn
from fnn.devices.columns import columns


def axes(net):
    return {".".join(path): place.axis for path, place in columns(net).items()}


def test_two_dense_layers_are_a_pair_and_every_layer_is_in_one_at_most():
    found = axes(fnn.mlp([8, 16, 16, 16, 4], dropout=0.1))
    layers = [
        i
        for i, layer in enumerate(fnn.mlp([8, 16, 16, 16, 4], dropout=0.1).layers)
        if isinstance(layer, fnn.Dense)
    ]
    a, b, c, d = layers
    assert found == {
        f"{a}.w": -1,
        f"{a}.b": -1,
        f"{b}.w": -2,
        f"{c}.w": -1,
        f"{c}.b": -1,
        f"{d}.w": -2,
    }


def test_a_norm_between_two_dense_layers_parts_them():
    assert not axes(fnn.Serial(fnn.Dense(8, 16), fnn.LayerNorm(16), fnn.Dense(16, 4)))


def test_a_block_is_cut_by_heads_and_by_its_hidden_features():
    net = fnn.gpt(50, 64, 4, 2, 32, feed_forward=fnn.GLU(64, 96), bias=True)
    found = axes(net)
    of = {name: found[f"blocks.attention.{name}"] for name in ("wq", "wk", "wv", "wo", "bq")}
    assert of == {"wq": -1, "wk": -1, "wv": -1, "wo": -2, "bq": -1}
    assert "blocks.attention.bo" not in found
    assert [found[f"blocks.feed_forward.{n}"] for n in ("wg", "wu", "wd")] == [-1, -1, -2]
    assert (found["head.w"], found["embed.table"]) == (-1, -2)


def test_a_head_that_has_the_weights_of_the_table_has_none_to_cut():
    found = axes(fnn.gpt(48, 64, 4, 2, 32, tied=True))
    assert found["embed.table"] == -2
    assert "head.w" not in found
    assert found["blocks.feed_forward.up.w"] == -1
    assert found["blocks.feed_forward.down.dense.w"] == -2
