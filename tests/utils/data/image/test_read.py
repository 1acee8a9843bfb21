"""The one decoder: every kind of image upright in RGB, every damaged one refused with a reason, from the header."""

import io
import os
import pickle
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from utils.data.image.read import ImageError, image_shape, read_image


def smooth(height=40, width=56, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def save(tmp_path):
    def save(name, image, **options):
        path = tmp_path / name
        Image.fromarray(image).save(path, **options) if isinstance(image, np.ndarray) else image.save(path, **options)
        return path

    return save


def test_an_image_comes_back_in_rgb_order(save):
    red = np.zeros((12, 20, 3), np.uint8)
    red[..., 0] = 255

    image = read_image(save("red.png", red))

    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, red)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright_as_pillow_does(save, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(f"turned.{suffix}", smooth(), exif=exif, **({"quality": 100} if suffix != "png" else {}))

    image = read_image(path)

    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert image.shape == expected.shape
    assert image_shape(path) == expected.shape[:2]
    assert np.abs(image.astype(int) - expected).mean() < 2  # chroma upsampling differs a little
    assert np.abs(image.astype(int) - expected[::-1, ::-1]).mean() > 20  # and the picture is not symmetric


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_shape_and_image_of_a_turned_tiff_agree(save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save("turned.tiff", smooth(), exif=exif)

    assert image_shape(path) == read_image(path).shape[:2]


def test_a_broken_exif_block_is_ignored(save):
    path = save("broken.jpg", smooth(), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")

    assert read_image(path).shape == (40, 56, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_gray_palette_and_transparent_images_become_rgb(save, mode):
    picture = Image.fromarray(smooth()).convert(mode)
    path = save("picture.png", picture)

    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_allclose(read_image(path), expected, atol=1)
    assert image_shape(path) == (40, 56)


def test_16_bit_images_keep_the_high_byte(save):
    gray = smooth()[..., 0]
    path = save("deep.png", gray.astype(np.uint16) * 257)

    np.testing.assert_allclose(read_image(path)[..., 1], gray, atol=1)


def test_a_cmyk_jpeg_has_roughly_the_colours_of_its_source(save):
    path = save("print.jpg", Image.fromarray(smooth()).convert("CMYK"), quality=95)

    assert np.abs(read_image(path).astype(int) - smooth()).mean() < 40


def test_the_content_counts_and_not_the_suffix(save, tmp_path):
    png = save("real.png", smooth())
    renamed = png.rename(tmp_path / "wrong.JPG")

    np.testing.assert_array_equal(read_image(renamed), smooth())


def test_bytes_behind_the_end_of_a_jpeg_are_accepted_and_stay(save):
    path = save("trailing.jpg", smooth())
    data = path.read_bytes() + b"\0" * 64
    path.write_bytes(data)

    assert read_image(path).shape == (40, 56, 3)
    assert image_shape(path) == (40, 56)
    assert path.read_bytes() == data


def test_a_jpeg_whose_header_is_larger_than_the_first_read_is_measured(save):
    path = save("long.jpg", smooth(), icc_profile=b"x" * 200_000)

    assert image_shape(path) == (40, 56)


def damaged_files():
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(smooth()).save(jpeg, "JPEG")
    Image.fromarray(smooth()).save(png, "PNG")
    jpeg, png = jpeg.getvalue(), png.getvalue()
    middle = png.index(b"IDAT") + 40
    flipped = png[:middle] + bytes([png[middle] ^ 255]) + png[middle + 1 :]
    floats = io.BytesIO()
    Image.fromarray(smooth()[..., 0].astype(np.float32)).save(floats, "TIFF")
    return {
        "no_end.jpg": (jpeg[:-2], "truncated JPEG"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated JPEG"),
        "header.jpg": (jpeg[:30], "truncated JPEG"),
        "half.png": (png[: len(png) // 2], "truncated PNG"),
        "no_end.png": (png[:-12], "truncated PNG"),
        "flipped.png": (flipped, "damaged PNG"),
        "empty.jpg": (b"", "empty file"),
        "page.jpg": (b"<!DOCTYPE html><html>not found</html>", "HTML"),
        "noise.png": (bytes(range(256)) * 4, "not an image"),
        "float.tiff": (floats.getvalue(), "float"),
    }


@pytest.mark.parametrize("name", damaged_files())
def test_a_damaged_file_is_refused_with_path_and_reason(tmp_path, name):
    content, reason = damaged_files()[name]
    path = tmp_path / name
    path.write_bytes(content)

    for function in (read_image, image_shape):
        with pytest.raises(ImageError, match=reason) as caught:
            function(path)
        assert str(path) in caught.value.what


def test_a_png_that_claims_gigapixels_is_refused_from_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)

    start = time.perf_counter()
    for function in (read_image, image_shape):
        with pytest.raises(ImageError, match="30000×30000 pixels; the limit is 178 million"):
            function(path)
    assert time.perf_counter() - start < 0.5


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)

    with pytest.raises(ImageError, match="not a regular file"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")


def test_the_error_survives_the_way_from_a_worker_process(tmp_path):
    error = pickle.loads(pickle.dumps(ImageError(tmp_path / "a.jpg", "empty file")))

    assert error.reason == "empty file"
    assert "a.jpg: empty file" in str(error)
