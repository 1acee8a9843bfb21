"""Every YAML of ``models/`` has the parameters, strides and key counts that the reference publishes."""

import pytest
import torch

from models.detector import DetectionModel
from models.dialects import dialect_of
from models.scales import model_names
from models.summary import count_flops
from utils.runs import ROOT
from utils.yaml_file import read_yaml

PUBLISHED = {  # name → parameters, fused parameters, strides, GFLOPs at 640
    "yolov5n": (1872157, 1867405, (8, 16, 32), 4.47),
    "yolov5s": (7235389, 7225885, (8, 16, 32), 16.43),
    "yolov5m": (21190557, 21172173, (8, 16, 32), 48.87),
    "yolov5l": (46563709, 46533693, (8, 16, 32), 108.99),
    "yolov5x": (86749405, 86705005, (8, 16, 32), 205.45),
    "yolov5n6": (3246940, 3239884, (8, 16, 32, 64), 4.56),
    "yolov5s6": (12626620, 12612508, (8, 16, 32, 64), 16.80),
    "yolov5m6": (35731932, 35704908, (8, 16, 32, 64), 49.91),
    "yolov5l6": (76770172, 76726332, (8, 16, 32, 64), 111.24),
    "yolov5x6": (140794780, 140730220, (8, 16, 32, 64), 209.56),
    "yolov5-p6": (76770172, 76726332, (8, 16, 32, 64), 111.24),
    "yolov5-p7": (144281723, 144216251, (8, 16, 32, 64, 128), 115.87),
    "yolov5-p2": (47493372, 47461436, (4, 8, 16, 32), 125.55),
    "yolov5-p34": (5331518, 5323806, (8, 16), 14.91),
    "yolov5-fpn": (41117565, 41090877, (8, 16, 32), 99.77),
    "yolov5-panet": (46563709, 46533693, (8, 16, 32), 108.99),
    "yolov5-bifpn": (46825853, 46795837, (8, 16, 32), 109.83),
    "yolov5s-ghost": (3897605, 3888789, (8, 16, 32), 8.71),
    "yolov5s-transformer": (7235645, 7226653, (8, 16, 32), 16.60),
    "yolov5s-LeakyReLU": (7235389, 7225885, (8, 16, 32), 16.43),
    "yolov3": (61949149, 61922845, (8, 16, 32), 155.89),
    "yolov3-spp": (62998749, 62971933, (8, 16, 32), 156.73),
    "yolov3-tiny": (8852366, 8849182, (16, 32), 13.17),
}
STATE_DICT_KEYS = {"yolov5n": 349, "yolov5s": 349, "yolov5m": 481, "yolov5l": 613, "yolov5x": 745}


def build(name):
    """Build on the meta device: shapes without memory."""
    with torch.device("meta"):
        return DetectionModel(name)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


# those that differ from others in width and depth only, of which n and s are two
SCALED = ("yolov5m", "yolov5l", "yolov5x", "yolov5s6", "yolov5m6", "yolov5l6", "yolov5x6", "yolov5-p6", "yolov5-panet")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SCALED else name for name in PUBLISHED]
)
def test_a_model_has_the_published_size(name):
    expected, fused, _, gflops = PUBLISHED[name]
    with torch.device("meta"):
        model = build(name)

    assert parameters(model) == expected
    assert len(model.state_dict()) == STATE_DICT_KEYS.get(name, len(model.state_dict()))
    assert parameters(model.fuse()) == fused
    assert count_flops(model, 640) / 1e9 == pytest.approx(gflops, abs=0.0051)


@pytest.mark.parametrize("name", ["yolov5n", "yolov5n6", "yolov5-p2", "yolov5-p34", "yolov5-p7", "yolov3-tiny"])
def test_a_model_has_the_published_strides(name):
    data = read_yaml(next(ROOT.glob(f"models/**/{name}.yaml")))
    model = DetectionModel(data | {"width_multiple": 0.05, "depth_multiple": 0.1, "nc": 2})

    assert tuple(model.stride.tolist()) == PUBLISHED[name][2]


def test_the_list_of_published_sizes_is_complete():
    files = {name for name, path in model_names() if dialect_of(read_yaml(path)).has_anchors}
    backbones = {path.stem for path in ROOT.glob("models/yolov5?-*.yaml")}

    assert files - backbones == set(PUBLISHED)


@pytest.mark.parametrize(("name", "total"), [("yolov5n-emo", 2144365)])
def test_an_emo_detector_has_the_size_of_the_tutorials(name, total):
    model = build(name)

    assert parameters(model) == total
    assert model.save == [2, 3, 5, 10, 13, 16, 19]
    assert [row.slot for row in model.rows] == [4, *range(5, 21)]


def test_small_and_medium_emo_detectors_scale_the_neck_alone():
    small, medium = build("yolov5s-emo"), build("yolov5m-emo")

    assert parameters(small.backbone) == 1192168
    assert small.model[-2].cv3.conv.out_channels == 512
    assert medium.backbone.feature_channels == [72, 160, 288]
    assert medium.model[-2].cv3.conv.out_channels == 768


def test_the_table_of_anchors_fits_the_models_that_copy_from_it():
    tables = read_yaml(ROOT / "models/hub/anchors.yaml")

    assert tables["P5_640"] == read_yaml(ROOT / "models/yolov5s.yaml")["anchors"]
    assert tables["P6_1280"] == read_yaml(ROOT / "models/hub/yolov5s6.yaml")["anchors"]
    assert {name: len(rows) for name, rows in tables.items()} == {
        "P5_640": 3,
        "P6_640": 4,
        "P6_1280": 4,
        "P6_1920": 4,
        "P7_640": 5,
        "P7_1280": 5,
        "P7_1920": 5,
    }
    assert all(len(row) == 6 for rows in tables.values() for row in rows)
