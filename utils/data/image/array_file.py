"""Images in .npy files, (H, W) or (H, W, C) of uint8 or uint16: read without NumPy's loader, which may allocate what a
header claims and knows objects, which are code.
"""

import io
import math
import struct
from dataclasses import dataclass

import numpy as np

from utils.data.image.header import UnusableError

ARRAY_START = b"\x93NUMPY"
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
HEADER_BYTES = 1024  # more than a header of numbers has


@dataclass(frozen=True)
class ArrayHeader:
    """``shape`` is (H, W, C); the values begin at ``start``."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    is_fortran: bool
    start: int


def array_header(head: bytes, size: int) -> ArrayHeader:
    """Return what the first bytes of a file of ``size`` bytes say. Raises: UnusableError."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in READERS:
            raise UnusableError(f".npy of version {version[0]}.{version[1]}; numpy.save writes 1.0 for numbers")
        shape, is_fortran, dtype = READERS[version](stream, max_header_size=HEADER_BYTES)
    except (ValueError, TypeError, EOFError, struct.error, SyntaxError, RecursionError, MemoryError) as error:
        raise UnusableError("damaged header of a .npy file") from error
    if dtype.hasobject or dtype.kind != "u" or dtype.itemsize not in (1, 2):
        kind = "objects" if dtype.hasobject else f"{dtype.name} values" if dtype.names is None else "records"
        raise UnusableError(f".npy of {kind}; save uint8 or uint16")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise UnusableError(f".npy of shape {shape}; save (height, width) or (height, width, channels)")
    wanted, found = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if wanted != found:
        raise UnusableError(f".npy of {found} bytes behind its header, which says {wanted}")
    height, width, *channels = shape
    return ArrayHeader((height, width, *(channels or (1,))), dtype, is_fortran, stream.tell())


def array_pixels(data: bytes) -> np.ndarray:
    """Return the image (H, W, C) in the bytes of a file, uint8 or uint16. Raises: UnusableError."""
    header = array_header(data[: HEADER_BYTES + 16], len(data))
    values = np.frombuffer(data, header.dtype, offset=header.start)
    image = values.reshape(header.shape, order="F" if header.is_fortran else "C")
    return np.ascontiguousarray(image, header.dtype.newbyteorder("="))
