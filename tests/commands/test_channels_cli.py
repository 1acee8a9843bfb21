"""A data set of four channels from the first to the last command, and one backbone of each family for it in ONNX."""

import cv2
import numpy as np
import onnxruntime
import pytest

import detect
import export
import train
import val
from models.detector import DetectionModel
from models.swap import swap_backbone
from utils.data.shapes.dataset import draw_picture
from utils.export.onnx import export_onnx

FAMILIES = ("emo_1m", "repvit_m0_9", "fasternet_t0", "repvgg_a0", "torchvision/shufflenet_v2_x0_5", "timm/lcnet_050")


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """A set of 16-bit files, half of them .npy and half TIFF of four pages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(4):
        rgb, rows = draw_picture("train", index)
        image = np.concatenate([rgb, 255 - rgb[..., :1]], 2).astype(np.uint16) * 257
        if index % 2:
            np.save(tmp_path / f"images/{index}.npy", image)
        else:
            cv2.imwritemulti(str(tmp_path / f"images/{index}.tif"), [*np.ascontiguousarray(image.transpose(2, 0, 1))])
        text = "".join(f"{row[0]:.0f} " + " ".join(map(str, row[1:])) + "\n" for row in rows)
        (tmp_path / f"labels/{index}.txt").write_text(text)
    names = "[disc, square, triangle, star, ring, cross]"
    (tmp_path / "four.yaml").write_text(f"train: images\nval: images\nnames: {names}\nchannels: 4\nbits: 16\n")
    return tmp_path / "four.yaml"


@pytest.mark.slow
def test_a_set_of_four_channels_is_trained_validated_exported_and_detected_in(data_set, tmp_path):
    options = {"imgsz": 64, "project": str(tmp_path / "runs"), "workers": 0}
    result = train.run(cfg="yolov5n.yaml", data=str(data_set), epochs=1, batch_size=2, **options)
    weights = tmp_path / "runs/exp/weights/best.pt"
    assert (tmp_path / "runs/exp/train_batch0.jpg").is_file(), result

    files = export.run(weights=str(weights), imgsz=64, include=("onnx", "torchscript", "openvino", "ncnn"))

    assert onnxruntime.InferenceSession(files[0]).get_inputs()[0].shape == [1, 4, 64, 64]
    paths = (weights, *files)
    figures = [val.run(weights=str(path), data=str(data_set), plots=False, **options)[0] for path in paths]
    assert np.abs(np.subtract(figures, figures[0])).max() < 0.05  # rectangles in PyTorch, squares else
    for path in paths:
        found = detect.run(
            weights=str(path), source=str(tmp_path / "images"), conf_thres=0.0001, max_det=5, save_txt=True,
            imgsz=64, project=str(tmp_path / "found"),
        )  # fmt: skip
        assert len(list((found / "labels").iterdir())) == 4
        assert cv2.imread(str(found / "1.jpg")).std() > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_backbone_of_each_family_takes_four_channels_to_onnx(name, tmp_path):
    data = swap_backbone(DetectionModel("yolov5n.yaml").yaml | {"ch": 4}, name)
    model = DetectionModel(data, nc=2).eval()

    report = export_onnx(model, tmp_path / "four.onnx", (64, 64))

    assert report.input_shape == (1, 4, 64, 64)
    assert all(comparison.passed for comparison in report.comparisons)
