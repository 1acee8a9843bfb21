"""The chunks of a PNG file: its size, its checksums, and whether a decoder could stumble over it.

The checksums tell that the file is as its writer left it. Where the chunks around the picture data are of the kinds and
in the order that every writer uses, they vouch for the file (``sure``); the rest is decoded to see.
"""

import struct
import zlib
from collections.abc import Iterator

from utils.data.image.header import Header, UnusableError, exif_orientation

PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_SIDE = 1_000_000  # of libpng
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each colour type
PALETTE_COLOUR = 3
HARMLESS = frozenset(  # chunks that libpng leaves out where it cannot use them
    b"bKGD cHRM cICP eXIf gAMA hIST iCCP iTXt oFFs pCAL pHYs sBIT sCAL sPLT sRGB tEXt tIME tRNS zTXt".split()
)


def png_header(data: bytes) -> Header:
    """Return the header of a PNG. Raises: UnusableError where the file ends before its time."""
    height = width = 0
    orientation = 1
    kinds = []
    sure = True
    for kind, start, size in _chunks(data):
        content = data[start : start + size]
        if kind == b"IHDR" and size == 13:
            width, height = struct.unpack_from(">II", content)
            sure = sure and not kinds and _is_common(content)
        elif kind == b"eXIf":
            orientation = exif_orientation(content)
        elif kind == b"PLTE":
            sure = sure and size % 3 == 0 and 0 < size <= 768 and not {b"PLTE", b"IDAT"} & set(kinds)
        elif kind not in HARMLESS and kind not in (b"IDAT", b"IEND"):
            sure = False
        kinds.append(kind)
    if b"IDAT" not in kinds:
        raise UnusableError("PNG without image data")
    first, count = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    together = kinds[first : first + count] == [b"IDAT"] * count
    coloured = b"PLTE" in kinds or data[25] != PALETTE_COLOUR
    return Header(height, width, orientation, sure and kinds[0] == b"IHDR" and together and coloured)


def check_checksums(data: bytes) -> None:
    """Raises: UnusableError for a chunk whose checksum is wrong."""
    for _, start, size in _chunks(data):
        checksum = data[start + size : start + size + 4]
        if zlib.crc32(data[start - 4 : start + size]).to_bytes(4, "big") != checksum:
            raise UnusableError(f"damaged PNG (wrong checksum of the chunk at byte {start})")


def _is_common(content: bytes) -> bool:
    """True for an IHDR that the specification allows."""
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    fits = depth in DEPTHS.get(colour, ()) and not compression and not filtering and interlace in (0, 1)
    return fits and max(width, height) <= MAX_SIDE


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, offset of the content, its size) up to IEND. Raises: UnusableError when the file ends before."""
    position, kind = len(PNG_START), b""
    while kind != b"IEND":
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if position + 12 + size > len(data):
            raise UnusableError(f"truncated PNG ({len(data)} bytes)")
        yield kind, position + 8, size
        position += 12 + size
