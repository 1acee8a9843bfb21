"""A checkpoint of another project is named for what it is; nothing of it is looked up."""

import official_layout
import pytest
import torch
from official_layout import save_official
from tiny_detector import tiny_model

from utils.checkpoint.load import load_checkpoint, load_model
from utils.errors import CheckpointError

# what its classes are called instead of ours: (module, name) of the model, of the head, of a layer
YOLOV7 = {"DetectionModel": ("models.yolo", "Model"), "Detect": ("models.yolo", "IDetect")}
ULTRALYTICS = {
    "DetectionModel": ("ultralytics.nn.tasks", "DetectionModel"),
    "Detect": ("ultralytics.nn.modules.head", "Detect"),
    "SPPF": ("ultralytics.nn.modules.block", "A2C2f"),
}
TASK = {"DetectionModel": ("ultralytics.nn.tasks", "PoseModel"), "Detect": ("ultralytics.nn.modules.head", "Pose")}
PROJECTS = [
    (YOLOV7, r"a YOLOv7 model \(its head is IDetect\), refused: .* 'models\.yolo\.IDetect'"),
    ({**YOLOV7, "Detect": ("models.yolo", "IKeypoint")}, r"a YOLOv7 model \(its head is IKeypoint\)"),
    ({"SPPF": ("models.common", "SPPCSPC")}, "a YOLOv7 model, refused"),
    (ULTRALYTICS, r"ultralytics package .* \(its head is Detect\), refused: .* 'ultralytics\.nn\.modules\.block\.A2"),
    (TASK, r"a model for pose estimation, refused: .* 'ultralytics\.nn\.tasks\.PoseModel'"),
    ({"DetectionModel": ("ultralytics.yolo.nn.tasks", "DetectionModel")}, "a model of the ultralytics package"),
    ({"Detect": ("yolov6.models.effidehead", "Detect")}, r"a YOLOv6 model \(its head is Detect\)"),
    ({"Detect": ("yolox.models.yolo_head", "YOLOXHead")}, r"a YOLOX model \(its head is YOLOXHead\)"),
    ({"Detect": ("models.yolo", "DualDDetect")}, r"a YOLOv9 model \(its head is DualDDetect\)"),
    ({"DetectionModel": ("models.models", "Darknet")}, "a Darknet-style model"),
    ({"DetectionModel": ("mmdet.models", "YOLOV3")}, "a model of OpenMMLab"),
    ({"SPPF": ("models.common", "CBAM")}, r"refused: it contains the name 'models\.common\.CBAM'"),
]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("names", "words"), PROJECTS)
def test_the_model_of_another_project_is_named(tmp_path, monkeypatch, names, words, zipped):
    ours = official_layout.class_path
    monkeypatch.setattr(official_layout, "class_path", lambda m: names.get(type(m).__name__) or ours(m))
    save_official(tmp_path / "x.pt", tiny_model(), zipped)

    with pytest.raises(CheckpointError, match=words) as error:
        load_model(tmp_path / "x.pt")
    assert "\n" not in error.value.what
    assert "yolov5s.pt" in error.value.fix


def test_a_head_with_more_numbers_per_box_is_told(tmp_path):
    """Forks for oriented boxes add 180 angles: (5 + 3 + 180) · 2 anchors = 376 channels."""
    model = tiny_model(nc=183)
    model.yaml["nc"], model.names = 3, ["a", "b", "c"]
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match=r"\(376, 32, 1, 1\) .* its head gives 188 numbers per box instead of 8"):
        load_model(tmp_path / "x.pt")


def test_a_model_without_a_description_is_refused_with_what_helps(tmp_path, monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(type(model), "nc", 3)
    model.yaml = None
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match="carries no description") as error:
        load_model(tmp_path / "x.pt")
    assert error.value.fix.startswith("save its state_dict alone")


@pytest.mark.parametrize("data", [7, ["a.yaml"], {}, None])
def test_the_options_of_other_code_are_no_reason_to_refuse(tmp_path, data):
    save_official(tmp_path / "x.pt", tiny_model(), opt={"data": data, "imgsz": 320})
    save_official(tmp_path / "y.pt", tiny_model(), opt=[1])

    assert load_checkpoint(tmp_path / "x.pt").facts["training"]["opt"] == {"imgsz": 320}
    assert load_checkpoint(tmp_path / "y.pt").facts["training"]["opt"] == {}


def test_the_file_of_a_whole_foreign_module_is_named(tmp_path):
    torch.save({"model": torch.nn.Bilinear(1, 1, 1)}, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match=r"the name 'torch\.nn\.modules\.linear\.Bilinear'"):
        load_model(tmp_path / "x.pt")


def test_a_fused_model_is_told_from_another_one(tmp_path):
    save_official(tmp_path / "x.pt", tiny_model().fuse())

    with pytest.raises(CheckpointError, match=r"'model\.0\.bn\.weight' is missing in the file") as error:
        load_model(tmp_path / "x.pt")
    assert "folded" in error.value.fix


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("yolov5s.pt", "releases/download/v7.0/yolov5s.pt"),
        ("yolov5x6.pt", "releases/download/v7.0/yolov5x6.pt"),
        ("yolov5s-emo.pt", "check the path"),
        ("best.pt", "check the path"),
    ],
)
def test_official_weights_that_are_not_there_are_told_with_their_place(tmp_path, name, fix):
    with pytest.raises(CheckpointError, match="no such file") as error:
        load_checkpoint(tmp_path / name)
    assert fix in error.value.fix
