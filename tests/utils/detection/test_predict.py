"""Boxes come back in pixels of the original image, whatever size the backend takes."""

from functools import partial

import numpy as np
import pytest
import torch

from utils.detection.found import Detections
from utils.detection.predict import Predictor, input_size
from utils.errors import ConfigError
from utils.nms import non_max_suppression
from utils.predictions import BN5C, Predictions
from utils.stopwatch import Speed

CPU = torch.device("cpu")
NAMES = {0: "person", 1: "bus"}


class BrightBox:
    """A backend that finds the white rectangle of a dark image, and notes the shapes that it is given."""

    names, stride = NAMES, 32

    def __init__(self, fixed_size=None):
        self.fixed_size = fixed_size
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(tuple(images.shape))
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        rows, columns = (images[0, 0] > 0.9).nonzero(as_tuple=True)
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        rows = torch.tensor([[[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 1.0, 0.1, 0.9]]])
        return Predictions(rows, BN5C)


def white_rectangle(height, width, x1, y1, x2, y2):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize(
    ("fixed_size", "shape"), [(None, (1, 3, 192, 320)), ((320, 320), (1, 3, 320, 320)), ((256, 384), (1, 3, 256, 384))]
)
def test_the_box_of_a_letterboxed_image_is_undone(fixed_size, shape):
    backend = BrightBox(fixed_size)
    predict = Predictor(backend, CPU, imgsz=(320,))

    detections = predict(white_rectangle(360, 640, 100, 40, 300, 200))

    assert backend.shapes == [shape]
    assert detections.shape == (360, 640)
    assert detections.boxes.shape == (1, 6)
    assert np.abs(detections.boxes[0, :4] - torch.tensor([100, 40, 300, 200])).max() < 2.5  # a pixel of the input
    assert detections.boxes[0, 4:].tolist() == pytest.approx([0.9, 1])


def test_thresholds_are_those_of_the_nms_given():
    image = white_rectangle(64, 64, 10, 10, 40, 40)

    strict = Predictor(BrightBox(), CPU, imgsz=(64,), nms=partial(non_max_suppression, conf_thres=0.95))
    filtered = Predictor(BrightBox(), CPU, imgsz=(64,), nms=partial(non_max_suppression, classes=(0,)))

    assert strict(image).boxes.shape == (0, 6)
    assert filtered(image).boxes.shape == (0, 6)


def test_speed_is_that_of_one_image_and_the_mean_of_all():
    predict = Predictor(BrightBox(), CPU, imgsz=(64,))
    image = white_rectangle(64, 64, 10, 10, 40, 40)

    single = [predict(image).speed for _ in range(3)]

    assert all(speed.preprocess > 0 and speed.inference > 0 and speed.nms > 0 for speed in single)
    assert predict.speed().total == pytest.approx(sum(speed.total for speed in single) / 3)


@pytest.mark.parametrize(
    ("classes", "text"),
    [([1, 0, 0], "2 persons, 1 bus"), ([1], "1 bus"), ([1, 1], "2 buses"), ([], "no detections")],
)
def test_a_summary_counts_the_classes(classes, text):
    boxes = torch.zeros(len(classes), 6)
    boxes[:, 5] = torch.tensor(classes)

    assert Detections(boxes, (4, 4), Speed(0, 0, 0)).summary(NAMES) == text


@pytest.mark.parametrize(
    ("imgsz", "fixed_size", "expected"),
    [
        ((640,), None, (640, 640)),
        ((320, 416), None, (320, 416)),
        ((330, 10), None, (352, 64)),
        ((640,), (320, 416), (320, 416)),
    ],
)
def test_the_input_size_suits_the_backend(imgsz, fixed_size, expected):
    assert input_size(BrightBox(fixed_size), imgsz) == expected


@pytest.mark.parametrize("imgsz", [(0,), (-32, 64), (1, 2, 3)])
def test_an_impossible_size_is_refused(imgsz):
    with pytest.raises(ConfigError, match="--imgsz"):
        input_size(BrightBox(), imgsz)
