"""Layers and head of the YOLOv8 family, assembled row by row, have the sizes and outputs of the reference."""

import copy
import json

import numpy as np
import pytest
import torch
from golden_models import FOLDER, fill_random, random_image

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.summary import count_flops
from models.swap import swap_head
from utils.checkpoint.load import load_model

SIZES = json.loads((FOLDER / "v8" / "sizes.json").read_text(encoding="utf-8"))
NAMES = [name for name in SIZES if name.startswith("yolo")]


def build(name):
    """Build the model that the reference calls ``name``; its yolov5 and yolov3 have the anchor-free head."""
    if name.startswith("yolov3"):
        return DetectionModel(swap_head(read_model_yaml(name)[0], "anchor-free"))
    if name.startswith("yolov5"):
        size, dash, levels = name.partition("-")
        name = f"{size}u{dash}{levels}"
    return DetectionModel(name)


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def assert_rows_equal(found, expected):
    """Compare (2, 64, 4 + nc) rows of predictions."""
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-5)


def rows(predictions, idx):
    """Return the columns ``idx`` of (B, 4 + nc, N) as rows (B, 64, 4 + nc)."""
    return predictions[:, :, idx].mT.numpy()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if set("mlx") & set(n[6:8]) else n for n in NAMES]
)
def test_a_model_has_the_parameters_and_keys_of_the_reference_row_by_row(name):
    with torch.device("meta"):
        model = build(name)
    expected = SIZES[name]

    assert [size(row) for row in model.model] == expected["per_row"]
    assert size(model) == expected["params"]
    assert len(model.state_dict()) == expected["keys"]
    assert model.save == expected["save"]
    assert count_flops(model, 640) / 1e9 == pytest.approx(expected["gflops"], rel=2e-3)
    assert size(model.fuse()) == expected["fused"]


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n-p2", "yolov8n-p6", "yolov3-tiny", "yolo11n"])
def test_a_model_has_the_strides_of_the_reference(name):
    assert build(name).stride.tolist() == SIZES[name]["stride"]


UNREAD_NORM = {"t2": 2 * 96, "t0": 2 * 40}  # of the level P2, which no row reads and which is not built here
SEED_GFLOPS = {"t2": (37.40, 48.29, 72.43, 111.05, 155.19), "t0": (11.23, 21.75, 45.67, 84.14, 128.01)}  # n, s, m, l, x


@pytest.mark.parametrize("letter", "nsmlx")
@pytest.mark.parametrize("variant", UNREAD_NORM)
def test_the_fasternet_yaml_has_the_sizes_of_the_tutorial_row_by_row(variant, letter):
    data, _ = read_model_yaml(f"models/yolov8{letter}-fasternet.yaml")
    data["backbone"][0][2] = f"fasternet_{variant}"
    with torch.device("meta"):
        model = DetectionModel(data)
    expected = SIZES["fasternet seed"][f"{variant} {letter}"]

    assert [size(row) for row in model.model[1:] if size(row)] == expected["rows"]
    assert size(model) == expected["total"] - UNREAD_NORM[variant]
    assert model.save == [2, 3, 5, 8, 11, 14, 17]
    assert count_flops(model, 640) / 1e9 == pytest.approx(SEED_GFLOPS[variant]["nsmlx".index(letter)], abs=0.006)


@pytest.fixture(scope="module")
def golden():
    model = build("yolov8n").eval()
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

    fused = copy.deepcopy(model).fuse()

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
    model = load_model(FOLDER / "v8" / "official_format_v8.pt")

    with torch.no_grad():
        predictions, _ = model(random_image(128, 192))

    assert list(model.state_dict()) == figures["keys"].tolist()
    assert size(model) == figures["params"]
    assert list(predictions.shape)[1:] == figures["shape"].tolist()[1:]
    assert_rows_equal(rows(predictions, figures["idx"]), figures["rows"])
