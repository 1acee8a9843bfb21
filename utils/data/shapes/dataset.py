"""The embedded data set: drawn on first use, offline and in seconds, the same pictures every time."""

import hashlib
import logging
from pathlib import Path

import cv2
import numpy as np

from utils.data.image.draft import draft_folder, remove_left_overs
from utils.data.shapes import scene, textures
from utils.data.shapes.scene import draw_scene
from utils.errors import DataError, StorageError

log = logging.getLogger(__name__)

SEED = 2024
COUNTS = {"train": 400, "val": 80}
JPEG_QUALITY = 92
VERSION_FILE = "drawn-by.txt"


def draw_shapes_dataset(root: str | Path) -> None:
    """Draw ``root``/{images,labels}/{train,val}, unless this version of it is there; an older version is replaced.

    Drawn beside ``root`` and renamed, so that it is complete or absent, also when two programs start at once.
    Raises: DataError when ``root`` holds something else.
    """
    root = Path(root)
    remove_left_overs(root)
    if _is_current(root):
        return
    if root.exists() and not (root / VERSION_FILE).is_file():
        raise DataError(f"{root}: exists, but the drawn data set does not lie there", "move this folder away")
    log.info("drawing %d pictures in %s", sum(COUNTS.values()), root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(root) as folder:
            fresh = folder / "new"
            for split, count in COUNTS.items():
                _draw_split(fresh, split, count)
            (fresh / VERSION_FILE).write_text(_version())
            _publish(fresh, root, old=folder / "old")
    except OSError as error:
        raise StorageError(f"{root}: cannot be drawn ({error.strerror})", "choose another path in the YAML") from error


def draw_picture(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels (see ``draw_scene``) of one picture, the same at every call."""
    return draw_scene(np.random.default_rng([SEED, *split.encode(), index]))


def _draw_split(root: Path, split: str, count: int) -> None:
    images, labels = root / "images" / split, root / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for index in range(count):
        image, rows = draw_picture(split, index)
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (images / f"{index:04d}.jpg").write_bytes(data.tobytes())
        lines = [f"{class_id:.0f} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n" for class_id, cx, cy, w, h in rows]
        (labels / f"{index:04d}.txt").write_text("".join(lines))


def _version() -> str:
    """Return what the pictures depend on, so that changed drawing code redraws them."""
    digest = hashlib.sha256()
    for source in (__file__, scene.__file__, textures.__file__):
        digest.update(Path(source).read_bytes())
    return f"shapes {digest.hexdigest()}\n"


def _is_current(root: Path) -> bool:
    file = root / VERSION_FILE
    return file.is_file() and file.read_text() == _version()


def _publish(fresh: Path, root: Path, old: Path) -> None:
    """Move the new folder into place, an outdated one out of it."""
    try:
        fresh.rename(root)
    except OSError:  # something lies there
        if _is_current(root):  # another program was faster
            return
        root.rename(old)
        fresh.rename(root)
