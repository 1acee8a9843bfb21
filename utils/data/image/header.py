"""What an image file says before it is decoded, and why one cannot be used."""

import struct
from dataclasses import dataclass

ORIENTATION_TAG = 0x0112


class UnusableError(Exception):
    """Carries a reason up to the function that knows the path."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known before decoding; height and width as stored, before EXIF orientation."""

    height: int
    width: int
    orientation: int = 1
    sure: bool = False  # the decoder can neither disagree nor refuse, so that the scan need not decode
    body: int = 0  # offset in the file after which the end marker of a JPEG stands

    @property
    def upright_shape(self) -> tuple[int, int]:
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def exif_orientation(block: bytes) -> int:
    """Return 1–8 from a TIFF block; 1 where the block has none or is broken."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * index)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # the image itself is fine, and it is shown as stored
    return 1
