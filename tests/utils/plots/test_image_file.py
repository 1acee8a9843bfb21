"""Images are written whole or not at all."""

import cv2
import numpy as np
import pytest

from utils.errors import StorageError
from utils.plots.image_file import write_image

RED = np.full((16, 24, 3), (255, 0, 0), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".bmp", ".webp", ".tif"])
def test_colours_survive_as_rgb(tmp_path, suffix):
    write_image(tmp_path / f"red{suffix}", RED)

    blue, green, red = cv2.imread(str(tmp_path / f"red{suffix}"))[8, 12].tolist()
    assert red > 240
    assert max(blue, green) < 15


def test_full_chroma_keeps_thin_coloured_lines(tmp_path):
    image = RED.copy()
    image[:, ::2] = (0, 255, 0)

    write_image(tmp_path / "half.jpg", image)
    write_image(tmp_path / "full.jpg", image, full_chroma=True)

    half, full = (
        np.abs(cv2.imread(str(tmp_path / n))[..., ::-1].astype(int) - image).mean() for n in ("half.jpg", "full.jpg")
    )
    assert full < half / 2


def test_a_picture_that_the_format_cannot_hold_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(StorageError, match="70000×1 pixels"):
        write_image(tmp_path / "wide.jpg", np.zeros((1, 70000, 3), np.uint8))

    assert not list(tmp_path.iterdir())
