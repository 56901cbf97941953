"""Experiments are tested in single precision, as they are run."""

import gzip
import struct

import jax
import numpy as np
import pytest

from experiments.common import bundles


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def double_precision(single_precision):
    with jax.enable_x64(True):
        yield


@pytest.fixture
def images(tmp_path):
    """Files like those of MNIST: the digits, larger, the first 200 for training."""
    rows, _ = bundles.table("digits.csv.gz", tuple("0123456789"))
    pixels = np.kron(rows.x.reshape(-1, 8, 8), np.ones((3, 3))) * 15
    pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, chosen in (("train", slice(200)), ("t10k", slice(200, 300))):
        kinds = {"images-idx3": pixels[chosen], "labels-idx1": rows.label[chosen].astype(np.uint8)}
        for kind, a in kinds.items():
            header = bytes([0, 0, 8, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape)
            packed = part == "train"
            raw = gzip.compress(header + a.tobytes()) if packed else header + a.tobytes()
            (folder / f"{part}-{kind}-ubyte{'.gz' * packed}").write_bytes(raw)
    return folder
