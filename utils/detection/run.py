"""Take frames from a source, look at them, say what was found, and have it written meanwhile."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from utils.configs.detect import DetectConfig
from utils.data.open_source import Source
from utils.data.sources import Frame
from utils.detection.found import Detections
from utils.detection.names import frame_label
from utils.detection.predict import Predictor
from utils.detection.tiles import TiledPredictor
from utils.detection.window import Window
from utils.detection.writers import drawing, open_writers
from utils.overlap import behind
from utils.runs import sync_all
from utils.text import counted, distinct_names

log = logging.getLogger("detect")

WAITING = 2  # images that wait for being written; few, as one may have 500 MB


def open_window(cfg: DetectConfig, names: Mapping[int, str]) -> Window | None:
    """Return the window that the options ask for. Raises: ConfigError where none can be opened."""
    return Window(drawing(cfg, distinct_names(names))) if cfg.view_img else None


def detect_all(
    cfg: DetectConfig,
    source: Source,
    predict: Predictor | TiledPredictor,
    names: Mapping[int, str],
    run_dir: Path,
    window: Window | None = None,
) -> None:
    """Look at all frames of a source and write what the options ask for; a closed window ends it.

    Reading and writing are done in threads meanwhile. An error of theirs ends it as one of ours does, and so does
    Ctrl-C: what is written is finished, and what waits is dropped.
    """
    names = distinct_names(names)
    with ExitStack() as stack:
        if source.kind == "stream":
            stack.callback(sync_all)  # what cameras have shown cannot be looked at again
        writers = stack.enter_context(open_writers(cfg, run_dir, names))

        def write_all(frame: Frame, detections: Detections) -> None:
            for writer in writers:
                writer.write(frame, detections)

        write = stack.enter_context(behind(write_all, WAITING))
        if window is not None:
            stack.enter_context(window)
        batches = stack.enter_context(closing(source.batches(cfg.batch)))
        for frames in batches:
            found = predict.batch([frame.image for frame in frames])
            for frame, detections in zip(frames, found, strict=True):
                log.info("%s: %s, %.1f ms", frame_label(frame), detections.summary(names), detections.speed.total)
                write(frame, detections)
            if window is not None and not all(map(window.show, frames, found)):
                break
    if source.skipped:
        log.warning("%d of %s skipped, for the reasons above", len(source.skipped), counted(len(source), source.kind))
