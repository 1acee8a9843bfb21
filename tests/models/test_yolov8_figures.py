"""Layers and head of the YOLOv8 family, assembled row by row, have the sizes and outputs of the reference."""

import copy
import json

import numpy as np
import pytest
import torch
from golden_models import FOLDER, fill_random, random_image
from yolov8_rows import RowModel

from models.layers.reparam import fuse_submodules

SIZES = json.loads((FOLDER / "v8" / "sizes.json").read_text(encoding="utf-8"))
NAMES = [name for name in SIZES if name.startswith(("yolov8", "yolo11"))]


def build(name):
    """Build ``yolov8s-p2``: layout yolov8-p2, letter s."""
    stem, dash, rest = name.partition("-")
    return RowModel(stem[:-1] + dash + rest, stem[-1]).eval()


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def assert_rows_equal(found, expected):
    """Compare (2, 64, 4 + nc) rows of predictions."""
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-5)


def rows(predictions, idx):
    """Return the columns ``idx`` of (B, 4 + nc, N) as rows (B, 64, 4 + nc)."""
    return predictions[:, :, idx].mT.numpy()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_parameters_and_keys_of_the_reference_row_by_row(name):
    with torch.device("meta"):
        model = build(name)

        assert [size(row) for row in model.model] == SIZES[name]["per_row"]
        assert size(model) == SIZES[name]["params"]
        assert len(model.state_dict()) == SIZES[name]["keys"]
        fuse_submodules(model)
        assert size(model) == SIZES[name]["fused"]


@pytest.fixture(scope="module")
def golden():
    model = build("yolov8n")
    fill_random(model)
    return model, np.load(FOLDER / "v8" / "model_yolov8n.npz")


@pytest.mark.parametrize("shape", [(128, 192), (256, 256)])
def test_outputs_equal_the_golden_figures(golden, shape):
    model, figures = golden
    prefix = f"{shape[0]}x{shape[1]}_"

    with torch.no_grad():
        predictions, maps = model(random_image(*shape))

    assert list(predictions.shape) == figures[prefix + "shape"].tolist()
    assert_rows_equal(rows(predictions, figures[prefix + "idx"]), figures[prefix + "rows"])
    np.testing.assert_allclose(predictions.mean((0, 2)).numpy(), figures[prefix + "mean"], rtol=1e-4)
    for level, found in enumerate(maps):
        boxes, classes = found.split((64, 80), dim=1)
        statistics = [boxes.mean().item(), boxes.std().item(), classes.mean().item(), classes.std().item()]
        np.testing.assert_allclose(statistics, figures[f"{prefix}raw{level}"], rtol=1e-4, atol=1e-6)


def test_fused_outputs_equal_the_golden_figures(golden):
    model, figures = golden
    assert model.model[-1].stride.tolist() == figures["stride"].tolist()

    fused = copy.deepcopy(model)
    fuse_submodules(fused)

    with torch.no_grad():
        predictions, _ = fused(random_image(128, 192))
    assert_rows_equal(rows(predictions, figures["128x192_idx"]), figures["fused_rows"])


def test_outputs_that_differ_from_cell_to_cell_equal_the_golden_figures(golden):
    model, figures = copy.deepcopy(golden[0]), golden[1]
    for key, tensor in model.state_dict().items():
        if tensor.ndim >= 2 and not key.endswith("dfl.conv.weight"):
            tensor.mul_(float(figures["sharp_gain"]))

    with torch.no_grad():
        predictions, _ = model(random_image(128, 192))

    assert_rows_equal(rows(predictions, figures["128x192_idx"]), figures["sharp_rows"])


def test_a_model_of_an_official_file_has_its_keys_and_outputs():
    figures = np.load(FOLDER / "v8" / "official_format_v8_out.npz")
    model = RowModel("tiny", "n", nc=6).eval()
    fill_random(model)
    model.half().float()  # the file holds float16

    with torch.no_grad():
        predictions, _ = model(random_image(128, 192))

    assert list(model.state_dict()) == figures["keys"].tolist()
    assert size(model) == figures["params"]
    assert list(predictions.shape)[1:] == figures["shape"].tolist()[1:]
    assert_rows_equal(rows(predictions, figures["idx"]), figures["rows"])
