import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cnn
from experiments.common import checkpoints, cli, portraits

TINY = "--filters 2 3 --epochs 2 --batch-size 400 --learning-rate 0.01"
PICTURES = {"curves", "confusion", "maps", "gradient_flow", "insides", "mistakes"}


def run(argv):
    return cli.run(cnn.main, cnn.Config, argv.split())


def pictures(out):
    return {p.stem for p in out.glob("*.png")}


@pytest.mark.long
def test_command_checks_gradients_trains_writes_and_its_file_evaluates_alike(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(f"{TINY} --out {out}") == 0
    assert pictures(out) == PICTURES
    summary = json.loads((out / "summary.json").read_text())
    assert summary["gradient_max_error"] < 1e-14
    assert 1e-12 < summary["gradient_max_error_float32"] < 1e-5
    assert summary["train_accuracy"] > 0.2
    capsys.readouterr()

    file = out / "params.safetensors"
    assert run(f"--load {file} --out {tmp_path / 'again'}") == 0
    accuracy = f"{100 * summary['test_accuracy']:.2f} %"
    assert accuracy in capsys.readouterr().out.splitlines()[-3]
    assert pictures(tmp_path / "again") == {"confusion", "maps", "mistakes"}
    assert checkpoints.ends(checkpoints.load(file)) == ((8, 8, 1), 10)


@pytest.mark.long
def test_a_folder_of_idx_files_trains_and_its_network_does_not_fit_the_digits(
    images, tmp_path, capsys
):
    out = tmp_path / "run"
    argv = "--filters 3 4 --epochs 4 --batch-size 34 --learning-rate 0.01"
    assert run(f"--data mnist:{images} {argv} --out {out}") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "170 train, 30 validation, 100 test images of 28 × 28 numbers; 10 classes"
    )
    assert pictures(out) == PICTURES
    assert json.loads((out / "summary.json").read_text())["train_accuracy"] > 0.3
    assert run(f"--load {out / 'params.safetensors'}") == cli.DATA
    said = capsys.readouterr().err
    assert "maps 28 × 28 × 1 numbers to 10; digits needs 8 × 8 × 1 to 10. It was trained" in said


def test_a_table_is_refused_because_it_has_no_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("--data csv:a.csv") == cli.USAGE
    said = "error: --data csv:a.csv has no images; take digits or mnist:FOLDER.\n"
    assert capsys.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_network_moves_with_its_image_up_to_the_pooling():
    net = cnn.network((8, 12), (2, 4), 3, dropout=0.5)
    params = net.init(jax.random.key(0))
    x = (
        jnp.zeros((1, 8, 12, 1))
        .at[:, 2:4, 3:5]
        .set(jax.random.normal(jax.random.key(1), (2, 2, 1)))
    )
    first, second = net.layers[0], net.layers[2]

    def found(x):
        a, _ = first.forward(params[0], x)
        return second.forward(params[2], a)[0]

    moved = found(jnp.roll(x, (1, 2), (1, 2)))
    np.testing.assert_allclose(moved, jnp.roll(found(x), (1, 2), (1, 2)), atol=1e-6)
    assert net.layers[-1].n_in == 4 * 6 * 4


def test_groups_divide_any_number_of_filters():
    assert [cnn.groups(n) for n in (3, 4, 6, 16)] == [1, 4, 1, 4]


def test_a_picture_of_maps_has_every_image_and_at_most_sixteen_windows():
    rng = np.random.default_rng(0)
    figure = portraits.maps(
        rng.normal(size=(18, 3, 3)), rng.random((5, 7, 7)), rng.random((5, 18, 7, 7)), "images"
    )
    assert figure.get_suptitle() == (
        "What 16 windows of the first layer look for, and what they find in 5 images"
    )
    rows, windows = (image.get_array() for image in figure.axes[0].images)
    assert rows.shape == (5 * 8, 17 * 8)
    assert windows.shape == (7, 16 * 8)
