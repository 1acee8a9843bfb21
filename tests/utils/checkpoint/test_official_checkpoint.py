"""Official pickled checkpoints become our models with the same numbers, or an error that says what is wrong."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from official_layout import save_official
from tiny_detector import TINY, tiny_model
from torch import nn

from models.detector import DetectionModel
from models.layers.conv import Conv
from utils.checkpoint.layers import adopt_layers
from utils.checkpoint.load import load_checkpoint, load_model
from utils.errors import CheckpointError
from utils.runs import ROOT
from utils.yaml_file import read_yaml

GOLDEN = Path(__file__).parents[2] / "golden"
OFFICIAL = GOLDEN / "official_format.pt"


def images(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def edited(path, *replacements):
    """Copy the official file with parts of its pickle replaced; every part must occur exactly once."""
    with zipfile.ZipFile(OFFICIAL) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                for old, new in replacements:
                    assert data.count(old) == 1
                    data = data.replace(old, new)
            target.writestr(name, data)
    return path


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def test_the_official_file_reproduces_the_reference_output():
    model = load_model(OFFICIAL)
    golden = np.load(GOLDEN / "official_format_out.npz")
    batch = np.random.Generator(np.random.PCG64(1)).random((2, 3, 128, 192), dtype=np.float32)

    with torch.inference_mode():
        predictions = model(torch.from_numpy(batch))[0].numpy()

    np.testing.assert_allclose(predictions[:, golden["idx"]], golden["rows"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predictions.mean((0, 1)), golden["mean"], rtol=1e-4)


def test_what_the_official_file_says_besides_weights():
    checkpoint = load_checkpoint(OFFICIAL)

    assert checkpoint.names == dict(enumerate(["disc", "square", "triangle", "star", "ring", "cross"]))
    assert checkpoint.stride == (8, 16, 32)
    assert checkpoint.epoch == -1
    assert checkpoint.facts["best_fitness"] == pytest.approx(0.123)
    assert checkpoint.facts["training"]["opt"] == {"cfg": "models/yolov5n.yaml", "imgsz": 640, "data": "data.yaml"}
    assert checkpoint.facts["training"]["hyp"]["momentum"] == 0.937


def test_the_loaded_model_is_float32_in_eval_mode_and_not_fused():
    model = load_model(OFFICIAL)

    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    assert not model.training
    assert isinstance(model.model[0].bn, nn.BatchNorm2d)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "name", ["yolov5n.yaml", "hub/yolov5s-ghost.yaml", "hub/yolov5s-transformer.yaml", "hub/yolov3-tiny.yaml"]
)
def test_every_kind_of_layer_survives_the_official_layout(tmp_path, name, zipped):
    model = DetectionModel({**read_yaml(ROOT / "models" / name), "nc": 3, "width_multiple": 0.125}).eval()
    save_official(tmp_path / "x.pt", model, zipped)

    loaded = load_model(tmp_path / "x.pt")

    with torch.inference_mode():
        torch.testing.assert_close(loaded(images())[0], model(images())[0], rtol=0, atol=0)


def test_detection_prefers_the_moving_average_and_training_starts_from_the_model(tmp_path):
    model, average = tiny_model(), tiny_model()
    average.model[0].conv.weight.data += 1
    save_official(tmp_path / "last.pt", model, ema=average, epoch=7)

    key = "model.0.conv.weight"
    assert torch.equal(load_checkpoint(tmp_path / "last.pt").state[key], average.state_dict()[key])
    assert torch.equal(load_checkpoint(tmp_path / "last.pt", use_ema=False).state[key], model.state_dict()[key])
    assert load_checkpoint(tmp_path / "last.pt").epoch == 7


@pytest.mark.parametrize("activation", [nn.Hardswish(), nn.LeakyReLU(0.1)])
def test_an_activation_that_old_code_had_built_in_is_found_in_the_layers(tmp_path, activation):
    model = tiny_model()
    for module in [part for part in model.modules() if isinstance(part, Conv)]:
        module.act = activation
    save_official(tmp_path / "old.pt", model)

    loaded = load_model(tmp_path / "old.pt")

    with torch.inference_mode():
        torch.testing.assert_close(loaded(images())[0], model(images())[0], rtol=0, atol=0)
    assert repr(DetectionModel(load_checkpoint(tmp_path / "old.pt").yaml).model[0].act) == repr(activation)


def test_the_epsilon_of_the_norms_is_the_one_of_the_file(tmp_path):
    model = tiny_model()
    model.model[0].bn.eps = 0.5
    save_official(tmp_path / "x.pt", model)

    assert load_model(tmp_path / "x.pt").model[0].bn.eps == 0.5


@pytest.mark.parametrize(
    ("path", "kind", "attributes", "words"),
    [
        ("model.1.conv", "Conv2d", {"stride": (1, 1)}, r"model.1.conv has stride \(1, 1\) in the file but \(2, 2\)"),
        ("model.5.m", "MaxPool2d", {"kernel_size": 9}, "model.5.m has kernel_size 9"),
        ("model.6", "Upsample", {"mode": "bilinear"}, "model.6 has mode 'bilinear'"),
        ("model.2.m.0", "Bottleneck", {"add": False}, "model.2.m.0 has add False"),
        ("model.5", "SPPF", {"n": 2, "add": False}, "model.5 has n 2 in the file but 3"),
        ("model.5", "SPPF", {"n": 3, "add": True}, "model.5 has add True in the file but False"),
        ("model.0.act", "FReLU", {}, "model.0.act is a FReLU in the file but a SiLU here"),
    ],
)
def test_a_layer_that_computes_something_else_is_refused(path, kind, attributes, words):
    with pytest.raises(CheckpointError, match=words):
        adopt_layers(tiny_model(), {path: (kind, attributes)}, Path("x.pt"))


@pytest.mark.parametrize(
    ("path", "kind", "attributes"),
    [("model.5", "SPPF", {"n": 3, "add": False}), ("model.5", "SPPF", {}), ("model.8", "Detect", {"stride": 8})],
)
def test_a_layer_that_computes_the_same_is_taken(path, kind, attributes):
    adopt_layers(tiny_model(), {path: (kind, attributes)}, Path("x.pt"))


def test_an_unknown_class_is_named(tmp_path):
    weights = edited(tmp_path / "x.pt", (b"cmodels.common\nSPPF\n", b"cmodels.common\nC3Fancy\n"))

    with pytest.raises(CheckpointError, match="C3Fancy"):
        load_model(weights)


def test_code_as_the_name_of_a_layer_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "executed"
    weights = edited(tmp_path / "x.pt", (text("SPPF"), text(f"__import__('os').system('touch {marker}')")))

    with pytest.raises(CheckpointError, match="its model description is wrong"):
        load_model(weights)
    assert not marker.exists()


def test_code_as_the_activation_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "executed"
    model = tiny_model()
    model.yaml["activation"] = f"nn.SiLU(__import__('os').system('touch {marker}'))"
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match="its model description is wrong"):
        load_model(tmp_path / "x.pt")
    assert not marker.exists()


def test_a_segmentation_model_is_refused_as_such(tmp_path):
    weights = edited(tmp_path / "x.pt", (b"cmodels.yolo\nDetectionModel\n", b"cmodels.yolo\nSegmentationModel\n"))

    with pytest.raises(CheckpointError, match="a segmentation model"):
        load_model(weights)


def test_more_names_than_classes_are_refused(tmp_path):
    model = tiny_model()
    model.names[3] = "one too many"
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match="4 class names are not numbered 0 to 2"):
        load_model(tmp_path / "x.pt")


def test_names_of_old_files_are_a_list(tmp_path):
    model = tiny_model()
    model.names = ["a", "b", "c"]
    save_official(tmp_path / "x.pt", model)

    assert load_model(tmp_path / "x.pt").names == {0: "a", 1: "b", 2: "c"}


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    model = tiny_model()
    model.model[3].conv.weight.data[0, 0, 0, 0] = float("nan")
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match=r"\'model\.3\.conv\.weight\' holds NaN"):
        load_model(tmp_path / "x.pt")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path):
    model = tiny_model()
    model.yaml = {**TINY, "nc": 5}
    model.names = {index: str(index) for index in range(5)}
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(
        CheckpointError, match=r"'model.8.m.0.weight' is \(16, 32, 1, 1\) in the file but \(20, 32, 1, 1\)"
    ):
        load_model(tmp_path / "x.pt")


def test_the_anchor_grid_of_old_files_is_ignored(tmp_path):
    model = tiny_model()
    model.head.register_buffer("anchor_grid", torch.zeros(2, 1, 2, 1, 1, 2))
    save_official(tmp_path / "x.pt", model)

    assert "model.8.anchor_grid" not in load_checkpoint(tmp_path / "x.pt").state
    load_model(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": None}, "its entry 'model' is a NoneType"),
        ({"weights": 1}, "without an entry 'model'"),
        ([1, 2], "holds a list"),
    ],
)
def test_a_file_without_a_model_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "x.pt")
