"""What every exported file is asked before it runs: that it takes one batch of images."""

from pathlib import Path

import openvino
import pytest
import torch
from openvino import opset13

from utils.backends.choose import load_backend
from utils.backends.exported import OTHER_PROGRAM, facts_beside, image_sizes
from utils.errors import CheckpointError


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ([2, 3, 64, 96], (2, 3, 64, 96)),
        (["batch", 3, "height", "width"], (None, 3, None, None)),
        ((None, 4, 64, 96), (None, 4, 64, 96)),
        ([1, None, None, None], (1, None, None, None)),
    ],
)
def test_open_sizes_of_images_are_none(shape, sizes):
    assert image_sizes([shape], Path("x"), ["float32"]) == sizes


@pytest.mark.parametrize(
    ("shapes", "types", "found"),
    [
        ([], [], "nothing"),
        ([[1, 3, 64, 64], [1]], [], "[1, 3, 64, 64] [1]"),
        ([[3, 64, 64]], [], "[3, 64, 64]"),
        ([[1, 3, 64, 64]], ["int64"], "int64 [1, 3, 64, 64]"),
        ([[1, 64, 64, 3]], ["float32"], "float32 [1, 64, 64, 3]"),
        ([[-1, 3, 64, 64]], [], "[-1, 3, 64, 64]"),
        ([[1, 3, 64, None]], [], "[1, 3, 64, None]"),
        ([[2**20, 3, 640, 640]], [], "[1048576, 3, 640, 640]"),
        ([[1, 3, 64, 40000]], [], "[1, 3, 64, 40000]"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(shapes, types, found):
    with pytest.raises(CheckpointError) as error:
        image_sizes(shapes, Path("x"), types)

    assert error.value.what.startswith(f"x: takes {found} instead of one batch of float images (B, C, H, W)")
    assert error.value.fix == OTHER_PROGRAM


def test_names_of_a_folder_are_text_as_other_programs_write_them(tmp_path):
    (tmp_path / "x.yaml").write_text("stride: 32\nnames:\n  0: 1e3\n  1: no\n  2: 007\n")

    assert facts_beside(tmp_path / "x.xml", "").names == {0: "1e3", 1: "no", 2: "007"}


@pytest.mark.parametrize("kind", ["f32", "f16", "u8"])
def test_images_are_not_turned_into_integers_on_their_way_into_openvino(tmp_path, kind):
    images = opset13.parameter([1, 3, 64, 64], getattr(openvino.Type, kind), name="images")
    mean = opset13.reduce_mean(opset13.convert(images, "f32"), opset13.constant([1, 2, 3]), keep_dims=False)
    network = openvino.Model([opset13.broadcast(mean, opset13.constant([1, 252, 8]))], [images], "constant")
    (tmp_path / "x_openvino_model").mkdir()
    openvino.save_model(network, tmp_path / "x_openvino_model/x.xml")
    (tmp_path / "x_openvino_model/x.yaml").write_text("stride: 32\nnames: {0: a, 1: b, 2: c}\nimgsz: 64\n")
    if kind == "u8":
        with pytest.raises(CheckpointError, match=r"takes u8 \[1, 3, 64, 64\] instead of one batch of float images"):
            load_backend(tmp_path / "x_openvino_model")
        return

    found = load_backend(tmp_path / "x_openvino_model")(torch.full((1, 3, 64, 64), 0.5)).output

    assert found.unique().tolist() == [0.5]
