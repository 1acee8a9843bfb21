"""errors.html: the worst of what a detector got wrong, and how much each kind of error costs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.image.read import ImageError, read_image
from utils.detection.names import distinct_files
from utils.evaluation.evaluate import ImageResult
from utils.evaluation.summary import errors_of
from utils.html import escape, page, picture, table
from utils.metrics.error_kinds import CORRECT, IGNORED, KINDS, MISSED, NOTHING, SURE, ErrorShares
from utils.pixels import PixelFormat, as_picture, resize
from utils.plots.annotate import Color, color_of, draw_boxes
from utils.text import counted, distinct_names, shorten

PAGE = "errors.html"
PICTURES, PER_IMAGE = 30, 3  # of each section, and of one image in it
ROOM = 4_000_000  # bytes of all pictures together
SIDE, QUALITY = 320, 75  # pixels of the longer side, of JPEG
AROUND, LEAST = 2.0, 64  # of the window, in longer sides of what it shows; in pixels of the file
LABEL_COLOR: Color = (230, 230, 230)
MEANING = {
    "class": "IoU ≥ 0.5 with a label of another class",
    "localisation": "0.1 ≤ IoU < 0.5 with a label of its class",
    "both": "0.1 ≤ IoU < 0.5 with a label of another class",
    "duplicate": "IoU ≥ 0.5 with a label that a more confident detection has",
    "background": "IoU < 0.1 with every label",
    MISSED: "a label that no detection finds, nor mistakes in class or place",
}


@dataclass(frozen=True)
class Mistake:
    """A detection that is wrong, or a label that is missed, with what it was compared with."""

    result: ImageResult
    weight: float  # the larger, the worse
    what: str
    box: np.ndarray  # (4,) xyxy in pixels of the file
    class_id: int
    other: np.ndarray | None = None  # (5,) [class, xyxy], the label that it is about


def false_positives(results: Sequence[ImageResult]) -> list[Mistake]:
    """Return the detections that are wrong, the most confident first."""
    names = {code: kind for kind, code in KINDS.items()}
    found = []
    for result in results:
        errors, rows, labels = errors_of(result), result.detections.numpy(), result.labels.numpy()
        wrong = (errors.kind != CORRECT) & (errors.kind != IGNORED) & (errors.confidence > SURE)
        for index in np.flatnonzero(wrong):
            kind, box, class_id = errors.kind[index], rows[index, :4], int(rows[index, 5])
            other = None if kind == NOTHING else labels[errors.label[index]]
            found.append(Mistake(result, float(rows[index, 4]), names[kind], box, class_id, other))
    return sorted(found, key=lambda mistake: -mistake.weight)


def missed_labels(results: Sequence[ImageResult]) -> list[Mistake]:
    """Return the labels that are missed, those that fill the largest part of their image first."""
    found = []
    for result in results:
        for class_id, *box in result.labels.numpy()[errors_of(result).missed(SURE)]:
            x1, y1, x2, y2 = box
            share = float((x2 - x1) * (y2 - y1) / (result.shape[0] * result.shape[1]))
            found.append(Mistake(result, share, MISSED, np.array(box), int(class_id)))
    return sorted(found, key=lambda mistake: -mistake.weight)


@dataclass
class ErrorsPage:
    """Draws the page; ``room`` is what is left of the bytes for pictures."""

    names: Mapping[int, str]
    pixels: PixelFormat
    room: int = ROOM

    def render(self, title: str, results: Sequence[ImageResult], shares: ErrorShares) -> str:
        """Return the whole page about the ``results`` of a model on a data set."""
        self.names = distinct_names(self.names)
        self.files = distinct_files({result.path for result in results})
        parts = shares.shares()
        rows = [
            (kind, count, f"{100 * parts[kind]:.0f} %", f"{shares.costs[kind]:.3f}", MEANING[kind])
            for kind, count in shares.counts.items()
        ]
        head = ("error", "number", "share", "costs mAP50", "what it is")
        body = [
            f"<h1>Errors: {escape(title)}</h1>",
            f"<p>{escape(counted(len(results), 'image'))}, mAP50 {shares.map50:.3f}. Numbers are of detections above a "
            f"confidence of {SURE:g}, and of labels that these miss; the cost is what mending all errors of a kind "
            "would add, whatever their confidence.</p>",
            table(head, rows),
            self._section("False positives, the most confident first", false_positives(results)),
            self._section("Missed labels, the largest first", missed_labels(results)),
        ]
        return page(f"Errors: {title}", "\n".join(body))

    def _section(self, title: str, mistakes: Sequence[Mistake]) -> str:
        seen: Counter[str] = Counter()
        shown_ones = []
        for mistake in mistakes:
            seen[mistake.result.path] += 1
            if seen[mistake.result.path] <= PER_IMAGE:
                shown_ones.append(mistake)
        figures = "".join(self._figures(shown_ones[:PICTURES]))
        shown = f'<div class="pictures">{figures}</div>' if figures else "<p>There are none.</p>"
        count = min(len(shown_ones), PICTURES)
        more = f'<p class="soft">{count} of {len(mistakes)}, at most {PER_IMAGE} of an image.</p>' if mistakes else ""
        return f"<section><h2>{escape(title)}</h2>{more}{shown}</section>"

    def _figures(self, mistakes: Sequence[Mistake]) -> Iterator[str]:
        for mistake in mistakes:
            if self.room <= 0:
                return
            caption = f"<code>{escape(self.files[mistake.result.path])}</code><br>{escape(self._text(mistake))}"
            image = self._drawn(mistake)
            shown = "cannot be read any more" if image is None else picture(image, self._text(mistake), QUALITY)
            figure = f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
            self.room -= len(figure)
            yield figure

    def _text(self, mistake: Mistake) -> str:
        name = shorten(self.names[mistake.class_id])
        if mistake.what == MISSED:
            return f"{name}, {100 * mistake.weight:.2g} % of the image"
        text = f"{name} {mistake.weight:.2f}: {mistake.what}"
        return text if mistake.other is None else f"{text}, label {shorten(self.names[int(mistake.other[0])])}"

    def _drawn(self, mistake: Mistake) -> np.ndarray | None:
        """Return the part of the image around a mistake, with all labels in grey; None where it is unreadable now."""
        try:
            image = as_picture(read_image(mistake.result.path, self.pixels))
        except ImageError:
            return None
        labels = mistake.result.labels.numpy()[:, 1:]
        focus = mistake.box[None] if mistake.other is None else np.stack((mistake.box, mistake.other[1:]))
        x1, y1, x2, y2 = _window(focus, image.shape)
        scale = SIDE / max(x2 - x1, y2 - y1)
        size = (max(round((x2 - x1) * scale), 1), max(round((y2 - y1) * scale), 1))
        crop = resize(
            np.ascontiguousarray(image[y1:y2, x1:x2]), size, cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        boxes = (np.concatenate((labels, mistake.box[None])) - (x1, y1, x1, y1)) * scale
        texts = [""] * len(labels) + [shorten(self.names[mistake.class_id], 16)]
        colors = [LABEL_COLOR] * len(labels) + [color_of(mistake.class_id)]
        return draw_boxes(crop, boxes.clip(-SIDE, 2 * SIDE), texts, colors, line_width=2)


def _window(boxes: np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the part x1, y1, x2, y2 of an image (height, width, …) around boxes (k, 4) xyxy, within the image."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    half = max(AROUND * (high - low).max(), LEAST) / 2
    centre, size = (low + high) / 2, np.array([shape[1], shape[0]])
    x1, y1 = np.clip(np.floor(centre - half), 0, size - 1).astype(int)
    x2, y2 = np.minimum(np.ceil(centre + half), size).astype(int)
    return int(x1), int(y1), max(int(x2), int(x1) + 1), max(int(y2), int(y1) + 1)
