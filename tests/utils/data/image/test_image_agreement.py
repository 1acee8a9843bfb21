"""What the scan passes, training reads: ``image_shape`` and ``read_image`` agree on damaged files of every kind."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.class_names import numbered_names
from utils.data.image.read import ImageError, image_shape, read_image
from utils.data.scan.scan import scan_dataset

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged TIFFs

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8), (0, 0), 2)
KINDS = {
    "baseline": ("JPEG", {"quality": 90}),
    "optimised": ("JPEG", {"quality": 90, "optimize": True}),
    "progressive": ("JPEG", {"quality": 80, "progressive": True}),
    "full colour": ("JPEG", {"subsampling": 0}),
    "restarts": ("JPEG", {"restart_marker_blocks": 2}),
    "described": ("JPEG", {"comment": b"drawn", "icc_profile": b"x" * 99}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
}


def encoded(kind):
    form, options = KINDS[kind]
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, form, **options)
    return file.getvalue()


def damaged(data, seed):
    """Return a copy with bytes changed, cut out, put in, or segments of a header exchanged."""
    rng = np.random.default_rng(seed)
    copy = bytearray(data)
    end = len(copy) if rng.random() < 0.5 else min(len(copy), 700)  # half of the damage hits the header
    place = int(rng.integers(2, end))
    how = rng.integers(4)
    if how == 0:
        for index in rng.integers(2, end, int(rng.integers(1, 5))):
            copy[index] = rng.integers(256)
    elif how == 1:
        del copy[place : place + int(rng.integers(1, 200))]
    elif how == 2:
        copy[place:place] = rng.bytes(int(rng.integers(1, 50)))
    else:
        size, other = int(rng.integers(1, 100)), int(rng.integers(2, end))
        copy[place : place + size] = data[other : other + size]
    return bytes(copy)


def verdict(function, path):
    """Return (height, width), or None where the file is refused; anything else fails the test."""
    try:
        return tuple(function(path)[:2] if function is image_shape else function(path).shape[:2])
    except ImageError:
        return None


def check_agreement(path, kind, seeds):
    passed = 0
    for seed in seeds:
        path.write_bytes(damaged(encoded(kind), seed))
        shape = verdict(image_shape, path)
        assert shape == verdict(read_image, path), f"{kind}, seed {seed}"
        passed += shape is not None
    return passed


@pytest.mark.parametrize("kind", KINDS)
def test_scan_and_decoder_agree_on_damaged_files(tmp_path, kind):
    assert verdict(read_image, tmp_path / "none") is None
    passed = check_agreement(tmp_path / "x", kind, range(60))

    assert passed > 10 or kind == "png"  # whose checksums tell every change


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scan_and_decoder_agree_on_500_damaged_files(tmp_path, kind):
    check_agreement(tmp_path / "x", kind, range(1000, 1500))


def test_undamaged_jpegs_and_pngs_are_judged_without_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)

    for kind in ("baseline", "optimised", "progressive", "full colour", "restarts", "described", "png"):
        (tmp_path / kind).write_bytes(encoded(kind))
        assert image_shape(tmp_path / kind) == (40, 56), kind


def segment_offset(data, marker, number=0):
    """Return the offset of a segment of the header of a JPEG."""
    position = 2
    while True:
        if data[position + 1] == marker:
            if not number:
                return position
            number -= 1
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


HEADERS = {
    "a colour without its table": lambda data: change(data, segment_offset(data, 0xC0) + 12, 3),
    "a table that no code fits": lambda data: change(data, segment_offset(data, 0xC4) + 5, 9),
    "a table cut short": lambda data: change(
        data, segment_offset(data, 0xC4) + 3, data[segment_offset(data, 0xC4) + 3] - 1
    ),
    "a scan of unknown colours": lambda data: change(data, segment_offset(data, 0xDA) + 5, 77),
    "no quantisation": lambda data: data[: segment_offset(data, 0xDB)] + data[segment_offset(data, 0xC0) :],
}


def change(data, offset, value):
    return data[:offset] + bytes([value]) + data[offset + 1 :]


@pytest.mark.parametrize("name", HEADERS)
def test_a_jpeg_that_the_decoder_would_stumble_over_does_not_pass(tmp_path, name):
    (tmp_path / "x.jpg").write_bytes(HEADERS[name](encoded("baseline")))

    assert verdict(read_image, tmp_path / "x.jpg") is None
    assert verdict(image_shape, tmp_path / "x.jpg") is None


def png(*chunks):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in (*chunks, (b"IEND", b"")))


def header(depth=8, colour=2, compression=0, filtering=0, interlace=0):
    return b"IHDR", struct.pack(">IIBBBBB", 56, 40, depth, colour, compression, filtering, interlace)


ROWS = b"IDAT", zlib.compress(b"".join(b"\0" + bytes(56 * 3) for _ in range(40)))
INDICES = b"IDAT", zlib.compress(b"".join(b"\0" + bytes(56) for _ in range(40)))


@pytest.mark.parametrize(
    "content",
    [
        png(header(), ROWS),
        png(header(colour=3), (b"PLTE", b"abc" * 4), INDICES),
        png(header(colour=3), INDICES),
        png(header(colour=3), (b"PLTE", b"abcd"), INDICES),
        png(header(depth=7), ROWS),
        png(header(colour=5), ROWS),
        png(header(interlace=2), ROWS),
        png(header(compression=1), ROWS),
        png((b"tEXt", b"a\0b"), header(), ROWS),
        png(header(), (b"ABCD", b"x"), ROWS),
        png(header(), ROWS, (b"tEXt", b"a\0b"), ROWS),
        png(header(), header(), ROWS),
        png(header(), (b"acTL", bytes(8)), ROWS),
        png(header(), (b"tEXt", b""), (b"tRNS", b"x" * 9), (b"iCCP", b"junk"), ROWS),
    ],
)
def test_a_png_with_right_checksums_and_odd_chunks_is_judged_alike(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)

    assert verdict(image_shape, tmp_path / "x.png") == verdict(read_image, tmp_path / "x.png")


def test_what_the_scan_keeps_can_all_be_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for seed in range(40):
        (tmp_path / f"images/{seed:02d}.jpg").write_bytes(damaged(encoded("progressive"), seed))
        (tmp_path / f"labels/{seed:02d}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    result = scan_dataset([tmp_path / "images"], numbered_names(1), max_bad_images=0.9)

    assert [read_image(path).shape[:2] for path in result.image_paths] == [tuple(s) for s in result.shapes.tolist()]
    assert 0 < result.unreadable == 40 - len(result)
