"""Label files damaged at random: rows are read or reported, and the scan knows no other outcome."""

import cv2
import numpy as np
import pytest

from utils.class_names import numbered_names
from utils.data.scan.label_file import LabelRows, parse_labels
from utils.data.scan.scan import scan_dataset
from utils.errors import DataError

GOOD = (
    "0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.125 0.0625\n\n"
    "2 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4\n1 0.2 0.2 0.6 0.2 0.6 0.3 0.3 0.3 0.3 0.6 0.2 0.6\n"
)
PIECES = ("\r", "\0", "nan", "1e999", "-", "\ufeff", "1_0", ",", "\u2028", "999999999999999999999", " ", "\t", "\n")


def damaged(seed):
    """Return the bytes of a label file with characters changed, cut out or put in."""
    rng = np.random.default_rng(seed)
    text = list(GOOD)
    for _ in range(int(rng.integers(1, 8))):
        place = int(rng.integers(len(text)))
        how = rng.integers(4)
        if how == 0:
            text[place] = chr(int(rng.integers(1, 300)))
        elif how == 1:
            del text[place : place + int(rng.integers(1, 20))]
        elif how == 2:
            text[place:place] = PIECES[rng.integers(len(PIECES))]
        else:
            text[place:place] = text[: int(rng.integers(1, 40))]
    content = bytearray("".join(text).encode())
    if rng.random() < 0.2:
        content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)


def check_rows(rows: LabelRows):
    """Every row that is read is finite, in range and has an area; every other one has a line and a printable reason."""
    for (class_id, cx, cy, w, h), polygon in zip(rows.boxes, rows.polygons, strict=True):
        assert class_id in (0, 1, 2)
        assert 0 <= cx <= 1
        assert 0 <= cy <= 1
        assert 0 < w <= 1
        assert 0 < h <= 1
        assert np.isfinite(polygon).all()
    for line, message in (*rows.bad_rows, *rows.bad_classes):
        assert line >= 1
        assert message.isprintable()


def check_files(folder, seeds):
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for seed in seeds:
        content = damaged(seed)
        (folder / f"labels/{seed}.txt").write_bytes(content)
        cv2.imwrite(str(folder / f"images/{seed}.png"), np.full((24, 32), seed % 256, np.uint8))
        check_rows(parse_labels(content.decode(errors="replace"), 3, (24, 32)))
    try:
        result = scan_dataset([folder / "images"], numbered_names(3), max_bad_images=1, max_bad_rows=1)
    except DataError as error:
        assert "of a class that does not exist" in error.what
        assert error.fix
    else:
        assert np.isfinite(np.concatenate(result.labels)).all()


def test_damaged_label_files_are_read_or_reported(tmp_path):
    check_files(tmp_path, range(60))


@pytest.mark.slow
def test_500_damaged_label_files_are_read_or_reported(tmp_path):
    check_files(tmp_path, range(1000, 1500))
