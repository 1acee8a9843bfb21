"""What a trained model adds to the facts: its detections in every picture, and its anchors."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from utils.checkpoint.facts import Backend
from utils.data.image.read import read_image
from utils.data.scan.class_selection import reordered
from utils.detection.predict import Predictor
from utils.doctor.facts import Facts, Picture
from utils.errors import ConfigError
from utils.nms import non_max_suppression
from utils.pixels import PixelFormat
from utils.progress import progress_bar
from utils.runs import ROOT
from utils.yaml_file import read_yaml

LOWEST = 0.05  # confidence of a detection that speaks for a label
DEFAULT_ANCHORS = "models/yolov5s.yaml"


def check_classes(backend: Backend, names: dict[int, str], weights: str) -> np.ndarray:
    """Return the class of the data set (nc,) that each of the model's is.

    Raises: ConfigError where the model knows other classes than the data set.
    """
    if len(backend.names) != len(names):
        what = f"{weights} finds {len(backend.names)} classes, the data set has {len(names)}"
        raise ConfigError(what, "give a --model that was trained on these classes")
    table = reordered(backend.names, names)
    return np.arange(len(names)) if table is None else table


def with_detections(facts: Facts, backend: Backend, device: torch.device, classes: np.ndarray) -> Facts:
    """Return the facts with what the model finds; pictures that cannot be decoded have no detections.

    ``classes`` (nc,) are what those of the model are in the data set.
    """
    nms = partial(non_max_suppression, conf_thres=LOWEST)
    predict = Predictor(backend, device, imgsz=backend.fixed_size or (facts.imgsz,), nms=nms)
    with progress_bar(facts.pictures, f"{'detections':>22}", stays=False) as pictures:
        found = [_detect(predict, picture, facts.spec.pixels) for picture in pictures]
    for rows in found:
        rows[:, 5] = classes[rows[:, 5].astype(int)]
    return replace(facts, detections=found)


def _detect(predict: Predictor, picture: Picture, pixels: PixelFormat) -> np.ndarray:
    """Return the detections (D, 6) of a picture in shares of it."""
    if picture.pixels is None:
        return np.zeros((0, 6))
    found = predict(read_image(picture.path, pixels))
    height, width = found.shape
    return found.boxes.numpy().astype(np.float64) / (width, height, width, height, 1, 1)


def default_anchors() -> np.ndarray:
    """Return the anchors (K, 2) of YOLOv5, in pixels; AutoAnchor compares them as they are, whatever the size."""
    return np.array(read_yaml(ROOT / DEFAULT_ANCHORS)["anchors"], np.float64).reshape(-1, 2)


def model_anchors(backend: Backend) -> np.ndarray | None:
    """Return those of a checkpoint, None for a head or a file without."""
    head = getattr(getattr(backend, "model", None), "head", None)
    if not hasattr(head, "anchors"):
        return None
    return (head.anchors * head.stride.view(-1, 1, 1)).reshape(-1, 2).double().cpu().numpy()
