"""What ``detect.py`` writes for each image: the drawn picture or video, label files, a table, crops."""

import csv
import functools
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from utils.boxes import xyxy_to_cxcywh
from utils.data.sources import Frame
from utils.engine.configs_infer import DetectConfig
from utils.engine.names import OutputNames, UniqueNames, class_folders
from utils.engine.predict import Detections
from utils.engine.video import VideoFile
from utils.errors import StorageError
from utils.plots.annotate import color_of, draw_boxes
from utils.plots.image_file import SUFFIXES, write_image
from utils.runs import write_text

CROP_GAIN, CROP_MARGIN = 1.02, 10  # a crop is a little larger than its box: factor, and pixels in all


class Writer(Protocol):
    """Takes every image with what was found in it."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Store this image's part. Raises: StorageError."""

    def close(self) -> None:
        """Store what is still open. Raises: StorageError."""


@contextmanager
def open_writers(cfg: DetectConfig, run_dir: Path, names: Mapping[int, str]) -> Iterator[list[Writer]]:
    """Yield the writers that the options ask for; all are closed at the end, also after an error."""
    outputs = OutputNames()
    writers: list[Writer] = []
    if cfg.save:
        text = functools.partial(box_text, names=names, hide_label=cfg.hide_labels, hide_confidence=cfg.hide_conf)
        writers.append(PictureWriter(run_dir, outputs, text, cfg.line_thickness or None))
    if cfg.save_txt:
        writers.append(TxtWriter(run_dir / "labels", outputs, corners=cfg.save_format == 1, confidence=cfg.save_conf))
    if cfg.save_csv:
        writers.append(CsvWriter(run_dir / "predictions.csv", names))
    if cfg.save_crop:
        writers.append(CropWriter(run_dir / "crops", outputs, names))
    with ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        yield writers


def make_folder(folder: Path) -> None:
    """Make a folder of the run, unless it is there. Raises: StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot make this folder ({error.strerror})", "free some space") from error


class PictureWriter:
    """Draws the boxes on a copy of the image; the frames of a video become a video."""

    def __init__(
        self, folder: Path, outputs: OutputNames, text: Callable[[float, int], str], line_width: int | None
    ) -> None:
        """``text`` turns confidence and class id into a label; without ``line_width`` it suits the image."""
        self.folder, self.outputs, self.text, self.line_width = folder, outputs, text, line_width
        self._video: VideoFile | None = None

    def write(self, frame: Frame, detections: Detections) -> None:
        boxes = detections.boxes.flip(0)  # the best on top
        texts = [self.text(confidence, int(class_id)) for confidence, class_id in boxes[:, 4:].tolist()]
        colors = [color_of(class_id) for class_id in boxes[:, 5].tolist()]
        picture = draw_boxes(frame.image, boxes[:, :4].numpy(), texts, colors, self.line_width)
        if frame.is_video:
            self._video_of(frame).write(picture)
        else:
            suffix = Path(frame.path).suffix
            suffix = suffix if suffix.lower() in SUFFIXES else ".jpg"
            write_image(self.folder / f"{self.outputs.stem(frame)}{suffix}", picture)

    def _video_of(self, frame: Frame) -> VideoFile:
        path = self.folder / f"{self.outputs.stem(frame)}.mp4"
        if self._video is None or self._video.path != path:
            self.close()
            self._video = VideoFile(path, frame.fps, frame.image.shape[:2])
        return self._video

    def close(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()


def box_text(
    confidence: float, class_id: int, names: Mapping[int, str], hide_label: bool, hide_confidence: bool
) -> str:
    """Return ``person 0.87``, or less where something is hidden."""
    if hide_label:
        return ""
    return names[class_id] if hide_confidence else f"{names[class_id]} {confidence:.2f}"


class TxtWriter:
    """One label file per image or frame in which something was found."""

    def __init__(self, folder: Path, outputs: OutputNames, *, corners: bool = False, confidence: bool = False) -> None:
        make_folder(folder)
        self.folder, self.outputs, self.corners, self.confidence = folder, outputs, corners, confidence

    def write(self, frame: Frame, detections: Detections) -> None:
        lines = label_lines(detections.boxes, detections.shape, corners=self.corners, confidence=self.confidence)
        path = self.folder / f"{self.outputs.of(frame)}.txt"
        if lines:
            write_text(path, "\n".join(lines) + "\n")
        else:
            path.unlink(missing_ok=True)  # of an earlier run into the same folder

    def close(self) -> None:
        """Every file is already complete."""


def label_lines(boxes: Tensor, shape: tuple[int, int], *, corners: bool = False, confidence: bool = False) -> list[str]:
    """Return ``class cx cy w h [confidence]`` in 0–1 for ``boxes (n, 6)`` in pixels; with ``corners`` x1 y1 x2 y2."""
    height, width = shape
    places = boxes[:, :4] if corners else xyxy_to_cxcywh(boxes[:, :4])
    columns = [boxes[:, 5:6], places / places.new_tensor([width, height, width, height])]
    if confidence:
        columns.append(boxes[:, 4:5])
    return [" ".join(f"{value:g}" for value in row) for row in torch.cat(columns, dim=1).tolist()]


class CsvWriter:
    """A table with a row per detection."""

    HEADINGS = ("Image Name", "Prediction", "Confidence")

    def __init__(self, path: Path, names: Mapping[int, str]) -> None:
        self.path, self.names = path, names
        self.rows: list[tuple[str, str, str]] = []

    def write(self, frame: Frame, detections: Detections) -> None:
        name = Path(frame.path).name
        for confidence, class_id in detections.boxes[:, 4:].tolist():
            self.rows.append((name, self.names[int(class_id)], f"{confidence:.2f}"))

    def close(self) -> None:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([self.HEADINGS, *self.rows])
        write_text(self.path, table.getvalue())


class CropWriter:
    """What is inside each box, in a folder per class."""

    def __init__(self, folder: Path, outputs: OutputNames, names: Mapping[int, str]) -> None:
        self.folder, self.outputs, self.class_folders = folder, outputs, class_folders(names)
        self._unique: dict[str, UniqueNames] = defaultdict(UniqueNames)

    def write(self, frame: Frame, detections: Detections) -> None:
        for *box, _, class_id in detections.boxes.tolist():
            folder = self.folder / self.class_folders[int(class_id)]
            assert folder.resolve().is_relative_to(self.folder.resolve()), folder
            make_folder(folder)
            name = self._unique[folder.name].claim(self.outputs.of(frame))
            write_image(folder / f"{name}.jpg", crop(frame.image, box), full_chroma=True)

    def close(self) -> None:
        """Every file is already complete."""


def crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Return the part of the image in a slightly larger box (xyxy in pixels), at least one pixel."""
    x1, y1, x2, y2 = box
    half_width = ((x2 - x1) * CROP_GAIN + CROP_MARGIN) / 2
    half_height = ((y2 - y1) * CROP_GAIN + CROP_MARGIN) / 2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    top, left = max(int(centre_y - half_height), 0), max(int(centre_x - half_width), 0)
    return image[top : int(centre_y + half_height), left : int(centre_x + half_width)]
