"""TIFF files of any number of channels: a page with all of them, interleaved or one behind the other, or a page each.

OpenCV reads no page of more than four channels, and multiplies colours by what it takes for transparency. But to the
library behind it (libtiff) samples that are interleaved are a grey page as many times as wide, and planes that stand
one behind the other are grey pages. So a page is described anew as grey ones, which all compressions know; what goes
over pixels, the differences of the horizontal predictor, is undone here.

Format: TIFF Revision 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.image.header import UnusableError
from utils.pixels import MAX_CHANNELS

TIFF_STARTS = {b"II*\0": "<", b"MM\0*": ">"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, ROWS, SIZES = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, KIND = 284, 317, 322, 323, 324, 325, 339
KEPT = (HEIGHT, ROWS, COMPRESSION, TILE_HEIGHT, 266)  # 266: the order of bits
TYPES = {1: "B", 3: "H", 4: "I"}  # of the tags that are read
COMPRESSIONS = {1, 5, 8, 32773, 32946, 50000}  # none, LZW, deflate, PackBits, deflate, Zstandard
GREY, COLORED = (0, 1), 2  # photometric interpretations
MAX_VALUES = 1 << 20  # of a tag

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Page:
    """What a directory of the file says."""

    tags: Tags

    def one(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    @property
    def samples(self) -> int:
        return self.one(SAMPLES, 1)

    @property
    def shape(self) -> tuple[int, int]:
        return self.one(HEIGHT, 0), self.one(WIDTH, 0)

    @property
    def bits(self) -> int:
        return self.one(BITS, 1)

    @property
    def is_planar(self) -> bool:
        return self.one(PLANAR, 1) == 2 and self.samples > 1

    def check(self) -> None:
        """Raises: UnusableError unless ``_read_page`` can read it."""
        depths, kinds = set(self.tags.get(BITS, (1,))), set(self.tags.get(KIND, (1,)))
        if kinds != {1} or len(depths) > 1 or self.bits not in (8, 16):
            raise UnusableError(f"TIFF of {self.bits}-bit {'numbers' if kinds == {1} else 'signed or float numbers'}")
        if self.one(COMPRESSION, 1) not in COMPRESSIONS or self.one(PREDICTOR, 1) not in (1, 2):
            raise UnusableError(
                "TIFF of a compression that is not read for these channels; save it with LZW or deflate"
            )


def tiff_pages(data: bytes) -> list[Page]:
    """Return the first pages of a TIFF, one more than an image may have channels. Raises: UnusableError."""
    order = TIFF_STARTS[data[:4]]
    pages: list[Page] = []
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        while start and len(pages) <= MAX_CHANNELS:
            tags, start = _read_directory(data, start, order)
            pages.append(Page(tags))
    except struct.error as error:
        raise UnusableError("damaged TIFF: a directory lies outside the file") from error
    return pages


def tiff_storage(data: bytes) -> tuple[int, int]:
    """Return 16 for a TIFF of values with more than 8 bits, else 8; and how many pages look like channels of one image.

    Those are grey, and of one size; as ``tiff_pages`` counts them. Raises: UnusableError.
    """
    pages = tiff_pages(data)
    alike = {(page.shape, page.bits, page.samples, page.one(PHOTOMETRIC, 1) in GREY) for page in pages}
    are_channels = len(alike) == 1 and pages[0].samples == 1 and pages[0].one(PHOTOMETRIC, 1) in GREY
    return 16 if pages and pages[0].bits > 8 else 8, len(pages) if are_channels else 1


def is_misread(data: bytes, bits: int) -> bool:
    """Return whether OpenCV makes something else of a TIFF than its colours, where ``bits`` of each are wanted.

    It multiplies by a fourth channel, and mixes up values of 16 bits. Raises: UnusableError where there are three
    channels or more, but no RGB.
    """
    pages = tiff_pages(data)
    if not pages:
        return False
    page = pages[0]
    photometric = page.one(PHOTOMETRIC, 1)
    if photometric in GREY and page.samples > 2:
        raise UnusableError(f"TIFF of {page.samples} channels that are no colours")
    is_plain = photometric in (1, COLORED)
    return (photometric == COLORED and page.samples > 3) or (is_plain and bits == page.bits == 16)


def tiff_pixels(data: bytes, *, only_first: bool = False) -> np.ndarray:
    """Return the image (H, W, C), uint8 or uint16: the first page, or if that is grey all pages.

    Raises: UnusableError.
    """
    pages = tiff_pages(data)
    if not pages:
        raise UnusableError("TIFF without pages")
    if pages[0].samples > 1 or only_first:
        pages = pages[:1]
    if len({(page.shape, page.bits, page.samples) for page in pages}) > 1:
        raise UnusableError("TIFF whose pages differ in size or bits")
    if len(pages) * pages[0].samples > MAX_CHANNELS:
        raise UnusableError(f"TIFF of more than {MAX_CHANNELS} channels")
    return np.concatenate([_read_page(data, page) for page in pages], axis=2)


def _read_directory(data: bytes, start: int, order: str) -> tuple[Tags, int]:
    (count,) = struct.unpack_from(order + "H", data, start)
    tags: Tags = {}
    for index in range(count):
        entry = start + 2 + 12 * index
        tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
        if kind not in TYPES or length > MAX_VALUES:
            continue
        code = f"{order}{length}{TYPES[kind]}"
        place = entry + 8
        if struct.calcsize(code) > 4:
            (place,) = struct.unpack_from(order + "I", data, place)
        tags[tag] = struct.unpack_from(code, data, place)
    return tags, struct.unpack_from(order + "I", data, start + 2 + 12 * count)[0]


def _read_page(data: bytes, page: Page) -> np.ndarray:
    """Return (H, W, samples). Raises: UnusableError."""
    page.check()
    height, width = page.shape
    planes = page.samples if page.is_planar else 1
    inside = page.samples // planes
    parts = [_decode_grey(data, _grey_tags(page, plane, planes), (height, width * inside)) for plane in range(planes)]
    images = [part.reshape(height, width, inside) for part in parts]
    if page.one(PREDICTOR, 1) == 2:
        step = page.one(TILE_WIDTH, width)
        for image in images:
            for left in range(0, width, step):
                block = image[:, left : left + step]
                np.cumsum(block, axis=1, dtype=image.dtype, out=block)
    return np.concatenate(images, axis=2)


def _grey_tags(page: Page, plane: int, planes: int) -> Tags:
    """Return the tags of a grey page that has the samples of a plane side by side."""
    inside = page.samples // planes
    tags = {tag: page.tags[tag] for tag in KEPT if tag in page.tags}
    tags |= {WIDTH: (page.one(WIDTH, 0) * inside,), BITS: (page.bits,), SAMPLES: (1,), PHOTOMETRIC: (1,)}
    if TILE_WIDTH in page.tags:
        tags[TILE_WIDTH] = (page.one(TILE_WIDTH, 0) * inside,)
    for tag in (OFFSETS, SIZES, TILE_OFFSETS, TILE_SIZES):
        values = page.tags.get(tag, ())
        share = len(values) // planes
        if values:
            tags[tag] = values[plane * share : (plane + 1) * share]
    return tags


def _decode_grey(data: bytes, tags: Tags, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) of the page that ``tags`` describe in the file. Raises: UnusableError."""
    try:
        image = cv2.imdecode(np.frombuffer(_with_directory(data, tags), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, struct.error) as error:
        raise UnusableError("damaged TIFF") from error
    if image is None or image.shape != shape:
        raise UnusableError("damaged TIFF, or of a kind that OpenCV cannot read")
    return image


def _with_directory(data: bytes, tags: Tags) -> bytes:
    """Return the file with a directory of ``tags`` at its end as its only one."""
    order = TIFF_STARTS[data[:4]]
    start = len(data) + len(data) % 2
    behind = start + 2 + 12 * len(tags) + 4  # values that do not fit into their entry
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > 4:
            packed, values = struct.pack(order + "I", behind + len(values)), values + packed
        entries += struct.pack(order + "HHI", tag, 4, len(numbers)) + packed
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4) + values
    return data[:4] + struct.pack(order + "I", start) + data[8:].ljust(start - 8, b"\0") + directory
