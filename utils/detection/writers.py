"""What ``detect.py`` writes for each image: the drawn picture or video, label files, a table, crops."""

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from utils.boxes import xyxy_to_cxcywh
from utils.configs.detect import DetectConfig
from utils.data.sources import Frame
from utils.detection.annotations import JsonWriter, LabelmeWriter
from utils.detection.features import FeatureWriter
from utils.detection.found import Detections
from utils.detection.names import OutputNames, UniqueNames, class_folders, distinct_files
from utils.detection.video import VideoFile
from utils.errors import OutputError, StorageError
from utils.pixels import as_picture
from utils.plots.annotate import color_of, draw_boxes
from utils.plots.image_file import SUFFIXES, write_image
from utils.runs import write_text
from utils.text import csv_cell

log = logging.getLogger(__name__)

CROP_GAIN, CROP_MARGIN = 1.02, 10  # a crop is a little larger than its box: factor, and pixels in all


class Writer(Protocol):
    """Takes every image with what was found in it."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Store this image's part. Raises: StorageError."""

    def close(self) -> None:
        """Store what is still open. Raises: StorageError."""


class Failures:
    """Counts outputs that cannot be encoded and logs why; a disk that takes no more is not among them."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            self.count += 1
            log.error("%s", error)


@contextmanager
def open_writers(cfg: DetectConfig, run_dir: Path, names: Mapping[int, str]) -> Iterator[list[Writer]]:
    """Yield the writers that the options ask for; all are closed at the end, also after an error.

    Raises: OutputError at the end, when all else is done, where an output could not be written in its format.
    """
    outputs, failures = OutputNames(), Failures()
    writers: list[Writer] = []
    if cfg.save:
        writers.append(PictureWriter(run_dir, outputs, drawing(cfg, names), failures))
    if cfg.save_txt:
        writers.append(TxtWriter(run_dir / "labels", outputs, corners=cfg.save_format == 1, confidence=cfg.save_conf))
    if cfg.save_csv:
        writers.append(CsvWriter(run_dir / "predictions.csv", names))
    if cfg.save_crop:
        writers.append(CropWriter(run_dir / "crops", outputs, names, failures))
    if cfg.save_json:
        writers.append(JsonWriter(run_dir / "predictions.json", outputs))
    if cfg.save_labelme:
        writers.append(LabelmeWriter(run_dir / "labelme", outputs, names))
    if cfg.visualize:
        writers.append(FeatureWriter(run_dir / "features", outputs))
    with ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        yield writers
    if failures.count:
        raise OutputError(
            f"{failures.count} of the outputs could not be written, for the reasons above", "do as these say"
        )


def make_folder(folder: Path) -> None:
    """Make a folder of the run, unless it is there. Raises: StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot make this folder ({error.strerror})", "free some space, or choose another --project"
        ) from error


Draw = Callable[[Frame, Detections], np.ndarray]


def drawing(cfg: DetectConfig, names: Mapping[int, str]) -> Draw:
    """Return what makes a picture (H, W, 3) with boxes, as the options ask for."""

    def draw(frame: Frame, detections: Detections) -> np.ndarray:
        boxes = detections.boxes.flip(0)  # the best on top
        texts = [
            box_text(confidence, int(class_id), names, cfg.hide_labels, cfg.hide_conf)
            for confidence, class_id in boxes[:, 4:].tolist()
        ]
        colors = [color_of(class_id) for class_id in boxes[:, 5].tolist()]
        line_width = cfg.line_thickness or None
        return draw_boxes(as_picture(frame.image), boxes[:, :4].numpy(), texts, colors, line_width)

    return draw


class PictureWriter:
    """Writes drawn pictures; the frames of a video become a video, and those of several streams one each."""

    def __init__(self, folder: Path, outputs: OutputNames, draw: Draw, failures: Failures) -> None:
        self.folder, self.outputs, self.draw, self.failures = folder, outputs, draw, failures
        self._videos: dict[Path, VideoFile | None] = {}  # whose frames are coming; None: it cannot be written

    def write(self, frame: Frame, detections: Detections) -> None:
        picture = self.draw(frame, detections)
        if frame.is_video:
            self._write_frame(frame, picture)
        else:
            suffix = Path(frame.path).suffix
            suffix = suffix if suffix.lower() in SUFFIXES else ".jpg"
            with self.failures.counted():
                write_image(self.folder / f"{self.outputs.stem(frame)}{suffix}", picture)

    def _write_frame(self, frame: Frame, picture: np.ndarray) -> None:
        path = self.folder / f"{self.outputs.stem(frame)}.mp4"
        if path not in self._videos:
            if not frame.is_stream:
                self.close()
            self._videos[path] = None
            with self.failures.counted():
                self._videos[path] = VideoFile(path, frame.fps, frame.image.shape[:2])
        video = self._videos[path]
        for _ in range(video.due(frame.seconds) if video else 0):
            video.write(picture)

    def close(self) -> None:
        videos, self._videos = self._videos, {}
        with ExitStack() as stack:
            for video in videos.values():
                if video is not None:
                    stack.callback(self._finish, video)

    def _finish(self, video: VideoFile) -> None:
        with self.failures.counted():
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
            write_text(path, "\n".join(lines) + "\n", sync=False)
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
    """A table with a row per detection; an image is called by its path where another has the same name."""

    HEADINGS = ("Image Name", "Prediction", "Confidence")

    def __init__(self, path: Path, names: Mapping[int, str]) -> None:
        self.path, self.names = path, names
        self.rows: list[tuple[str, str, str, str]] = []  # path, which frame, class, confidence
        self.paths: set[str] = set()

    def write(self, frame: Frame, detections: Detections) -> None:
        path, which = str(frame.path), f" frame {frame.frame_number + 1}" if frame.is_video else ""
        self.paths.add(path)
        for confidence, class_id in detections.boxes[:, 4:].tolist():
            self.rows.append((path, which, csv_cell(self.names[int(class_id)]), f"{confidence:.2f}"))

    def close(self) -> None:
        files = distinct_files(self.paths)
        rows = [(csv_cell(files[path] + which), *found) for path, which, *found in self.rows]
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([self.HEADINGS, *rows])
        write_text(self.path, table.getvalue())


class CropWriter:
    """What is inside each box, in a folder per class."""

    def __init__(self, folder: Path, outputs: OutputNames, names: Mapping[int, str], failures: Failures) -> None:
        self.failures = failures
        self.folder, self.outputs, self.class_folders = folder, outputs, class_folders(names)
        self._unique: dict[str, UniqueNames] = defaultdict(UniqueNames)

    def write(self, frame: Frame, detections: Detections) -> None:
        for *box, _, class_id in detections.boxes.tolist():
            folder = self.folder / self.class_folders[int(class_id)]
            assert folder.resolve().is_relative_to(self.folder.resolve()), folder
            make_folder(folder)
            name = self._unique[folder.name].claim(self.outputs.of(frame))
            with self.failures.counted():
                write_image(folder / f"{name}.jpg", as_picture(crop(frame.image, box)), full_chroma=True)

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
