"""The Python API, the sources of detection and val.py with a model of other channels than RGB."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from models.detector import DetectionModel
from utils.checkpoint.native import save_checkpoint
from utils.data.sources import ImageSource
from utils.errors import ConfigError, DataError
from utils.evaluation.inputs import check_channels
from utils.hub.detector import load
from utils.pixels import PixelFormat

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 4), np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Return a function that makes a detector, whose every cell is a box, for channels and bits."""

    def make(channels, bits=8):
        torch.manual_seed(0)
        model = DetectionModel("yolov5n.yaml", ch=channels, nc=2)
        model.yaml["bits"] = bits
        path = tmp_path_factory.mktemp("model") / "m.pt"
        save_checkpoint(path, model, epoch=0, fitness=0.0, training={}, imgsz=64)
        return load(path, "cpu", conf=0.0, max_det=5)

    return make


@pytest.mark.parametrize("bits", [8, 16])
def test_every_kind_of_four_channels_gives_the_same(detector, bits, tmp_path):
    model = detector(4, bits)
    np.save(tmp_path / "a.npy", IMAGE)
    kinds = {
        "chw": IMAGE.transpose(2, 0, 1),
        "tensor": torch.from_numpy(IMAGE).permute(2, 0, 1),
        "floats": IMAGE / np.float32(255),
        "16 bits": IMAGE.astype(np.uint16) * 257,
        "file": tmp_path / "a.npy",
        "PIL": Image.fromarray(IMAGE, "RGBA"),
    }
    expected = model(IMAGE).xyxy[0]
    assert len(expected) == 5
    for kind, image in kinds.items():
        result = model(image)

        torch.testing.assert_close(result.xyxy[0], expected, rtol=0, atol=1e-3, msg=kind)
        assert result.ims[0].shape == (40, 56, 3)
        assert result.ims[0].dtype == np.uint8


def test_images_of_other_channels_are_refused(detector):
    with pytest.raises(DataError, match=r"shape \(40, 56, 3\)") as error:
        detector(4)(IMAGE[..., :3])
    assert "with 4 channels" in error.value.fix


def test_a_model_of_one_channel_takes_colours_as_grey(detector, tmp_path):
    model, grey = detector(1), cv2.cvtColor(IMAGE[..., :3].copy(), cv2.COLOR_RGB2GRAY)
    expected = model(grey).xyxy[0]
    for image in (grey[..., None], IMAGE[..., :3], IMAGE, np.stack([grey] * 3, 2)):
        torch.testing.assert_close(model(image).xyxy[0], expected, rtol=0, atol=1e-2)


def test_a_source_has_arrays_for_models_of_other_channels_alone(tmp_path):
    np.save(tmp_path / "a.npy", IMAGE)
    cv2.imwrite(str(tmp_path / "b.png"), IMAGE[..., :3])

    four = ImageSource(tmp_path, pixels=PixelFormat(4, 16))
    frames = list(four)

    assert [(frame.path.name, frame.image.shape, frame.image.dtype) for frame in frames] == [
        ("a.npy", (40, 56, 4), np.uint16)
    ]
    assert four.skipped == [(tmp_path / "b.png", "3 channels instead of 4")]
    assert [frame.path.name for frame in ImageSource(tmp_path)] == ["b.png"]


def test_a_video_is_no_source_for_four_channels(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    video.write(np.full((48, 64, 3), 90, np.uint8))
    video.release()

    with pytest.raises(DataError, match="videos have 3 channels, and the model takes 4"):
        list(ImageSource(tmp_path / "v.avi", pixels=PixelFormat(4)))
    (frame,) = ImageSource(tmp_path / "v.avi", pixels=PixelFormat(1, 16))
    assert (frame.image.shape, frame.image.dtype) == ((48, 64, 1), np.uint16)


def test_a_model_is_not_measured_on_images_of_other_channels():
    data = SimpleNamespace(file="d.yaml", pixels=PixelFormat(4))

    check_channels(SimpleNamespace(channels=4), data)
    with pytest.raises(ConfigError, match=r"d\.yaml: images of 4 channels, but the model takes 3"):
        check_channels(SimpleNamespace(channels=3), data)
