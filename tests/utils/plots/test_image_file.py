"""Images are written whole or not at all."""

import cv2
import numpy as np
import pytest

from utils.errors import OutputError
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


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65500), (".WEBP", 16383)])
def test_a_picture_that_the_format_cannot_hold_becomes_a_png(tmp_path, caplog, suffix, most):
    for width in (most, most + 1):
        write_image(tmp_path / f"{width}{suffix}", np.full((1, width, 3), (255, 0, 0), np.uint8))

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{most}{suffix}", f"{most + 1}.png"]
    assert (cv2.imread(str(tmp_path / f"{most + 1}.png")) == (0, 0, 255)).all()
    assert f"an image of {most + 1}×1 pixels cannot be encoded in this format; written as .png" in caplog.text


def test_what_no_format_holds_is_an_error_with_a_fix_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))

    with pytest.raises(OutputError, match="24×16 pixels") as error:
        write_image(tmp_path / "a.jpg", RED)

    assert error.value.fix
    assert not list(tmp_path.iterdir())
