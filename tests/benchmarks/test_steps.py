import jax
import numpy as np
import pytest

from benchmarks.peers.steps import blocks, halved, hand_written, heads, plain_jax
from benchmarks.steps import (
    AGREE,
    ALL,
    HALF,
    HALF_AGREE,
    LARGE,
    PEERS,
    TASKS,
    check_first,
    step_rows,
    summarized,
)
from benchmarks.turns import Ratio, interpreter


def ratio(first, last=1.0):
    return Ratio(0.9, 0.8, 1.0, 0.02, [{"first": first, "last": 5.0}, {"first": 3.0, "last": last}])


@pytest.mark.long
def test_installed_peers_take_the_same_steps(monkeypatch):
    here = {name: module for name, module in PEERS.items() if interpreter(module)}
    monkeypatch.setattr("benchmarks.steps.PEERS", here)
    task = TASKS["lstm"]
    ours, *others = step_rows("lstm", task.arrays(**task.tiny), ALL, n=3, rounds=1)
    assert ours.ratio == 1.0
    assert ours.last < ours.first
    assert others
    for other in others:
        assert other.seconds > 0
        assert other.first == pytest.approx(ours.first, rel=1e-5), other.peer
        assert other.last == pytest.approx(ours.last, rel=1e-4), other.peer


@pytest.mark.parametrize("name", ["gpt", "cnn", "gpt, bfloat16", *LARGE])
def test_first_losses_agree(name):
    rtol = 2e-3 if HALF in name else 1e-5
    task = (TASKS | LARGE)[name]
    arrays = task.arrays(**task.tiny)
    x, target = arrays.pop("x"), arrays.pop("target")
    net, loss, params = hand_written.built(name, arrays)
    plain, plain_params = plain_jax.built(name, arrays)

    @jax.jit
    def ours(params):
        return loss.forward(net.forward(params, x)[0], target)[0].mean()

    with jax.numpy_dtype_promotion("standard"):  # as in a benchmark
        expected = jax.jit(plain_jax.mean_loss, static_argnums=0)(plain, plain_params, x, target)
    np.testing.assert_allclose(ours(params), expected, rtol=rtol)


@pytest.mark.long
def test_writers_write_the_same():
    arrays = TASKS["writing"].arrays(**TASKS["writing"].tiny)
    x, target = arrays.pop("x"), arrays.pop("target")
    ours, plain = (peer.start("writing", arrays, x, target) for peer in (hand_written, plain_jax))
    assert ours() == plain()


def test_a_name_tells_the_net_and_the_dtype_before_the_sizes():
    assert halved("gpt") == ("gpt", False)
    assert [halved(name) for name in LARGE] == [("gpt", True), ("lstm", True), ("mlp", True)]
    assert [heads(n) for n in (8, 256, 768)] == [4, 4, 12]


@pytest.mark.parametrize("net", TASKS)
def test_no_two_axes_of_a_tiny_weight_are_equal(net):
    arrays = TASKS[net].arrays(**TASKS[net].tiny)
    square = {"wq", "wk", "wv", "wo"}
    for name in [n for n in arrays if n.startswith("w") and n not in square]:
        assert len(set(arrays[name].shape[-2:])) == 2, name


def test_another_first_loss_is_not_measured():
    check_first("gpt", {"hand_written": ratio(2.0), "equinox": ratio(2.0 * (1 + AGREE / 2))})
    for wrong in (2.0 * (1 + 2 * AGREE), float("nan")):
        with pytest.raises(AssertionError, match="gpt step: equinox starts from the loss"):
            check_first("gpt", {"hand_written": ratio(2.0), "equinox": ratio(wrong)})
    near = {"hand_written": ratio(2.0), "pytorch": ratio(2.0 * (1 + HALF_AGREE / 2))}
    check_first(next(iter(LARGE)), near)


def test_a_row_has_the_first_loss_of_all_and_the_last():
    row = summarized("lstm", "Flax", "flax_nnx", ratio(2.5, last=0.7))
    assert (row.first, row.last, row.target) == (2.5, 0.7, 0.77)
    assert row[2:6] == (0.9, 0.8, 1.0, 0.02)


def test_only_vendor_kernels_of_convolutions_have_no_target():
    targets = {net: summarized(net, "PyTorch", "pytorch", ratio(2.0)).target for net in TASKS}
    wanted = {"gpt": 1.0, "writing": 1.0, "lstm": 1.0, "gpt, bfloat16": 1.0}
    assert targets == dict.fromkeys(TASKS) | wanted


def test_torch_compile_stands_beside_eager_at_the_sizes_of_an_accelerator_only():
    assert not any("pytorch_compiled" in task.peers for task in TASKS.values())
    assert all({"pytorch", "pytorch_compiled"} <= {*task.peers} for task in LARGE.values())


def test_blocks_are_cut_apart_in_their_order():
    arrays = TASKS["gpt"].arrays(**TASKS["gpt"].tiny)
    first, second = blocks(arrays)
    assert "table" not in first
    np.testing.assert_array_equal(second["wk"], arrays["wk"][1])
    assert first["w_up"].shape == (8, 32)
