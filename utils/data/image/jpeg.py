"""The segments of a JPEG file: what they say, and whether a decoder could stumble over them.

libjpeg refuses a file for what stands in a segment; damaged picture data only give a damaged picture. Of a sequential
JPEG whose one scan has all its colours, nothing behind the header is needed to decode it; in a progressive one there
are segments between the scans. Here is judged as ``sure`` what libjpeg is known to read; the rest is left to it.
"""

import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from operator import mul

from utils.data.image.header import Header, UnusableError, exif_orientation

JPEG_START, JPEG_END, SCAN_START = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that carry the size
COMMON_FRAMES, PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC2}), 0xC2  # baseline, extended, progressive
HUFFMAN, QUANTISATION, RESTART, SCAN, END, APP1, COMMENT = 0xC4, 0xDB, 0xDD, 0xDA, 0xD9, 0xE1, 0xFE
SKIPPED = frozenset({*range(0xE0, 0xF0), COMMENT})
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without content
MAX_SIDE = 65500  # of libjpeg
MAX_SHIFT = 13  # of the bits that a progressive scan leaves to later ones, in libjpeg
PICTURE_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # in the data of a scan: the next marker, restarts aside
CODE_SPACE = tuple(1 << 16 - length for length in range(1, 17))  # that a Huffman code of each length takes of 65536


class _OddError(Exception):
    """Something that libjpeg need not be able to read."""


@dataclass
class _State:
    """What has been defined so far."""

    orientation: int = 1
    frame: int = 0  # its marker; 0 before it was seen
    start: int = 0  # offset of the frame
    height: int = 0
    width: int = 0
    components: dict[int, int] = field(default_factory=dict)  # id → its quantisation table
    tables: set[int] = field(default_factory=set)  # Huffman: DC 0–3, AC 16–19; quantisation 32–35

    def header(self, sure: bool, body: int) -> Header:
        return Header(self.height, self.width, self.orientation, sure, body)


def jpeg_header(data: bytes) -> Header | None:
    """Return the header of a JPEG, or None when ``data`` ends before the size. Raises: UnusableError."""
    state = _State()
    try:
        start = _skip_applications(data, state)
        scan = data.find(SCAN_START, start)
        body = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        size = _size_of_sequential(data[start:body])
        if size:
            return Header(*size, state.orientation, sure=True, body=body)
        body = _walk(data, start, state)
    except (_OddError, IndexError, struct.error) as error:
        if state.frame:
            return state.header(sure=False, body=state.start)
        if isinstance(error, _OddError):
            raise UnusableError(str(error)) from error
        return None
    return state.header(sure=True, body=body)


def _skip_applications(data: bytes, state: _State) -> int:
    """Return the offset of the first segment behind those that describe the file. Raises: IndexError."""
    position = 2
    while data[position] == 0xFF and data[position + 1] in SKIPPED:
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] == APP1:
            _read_segment(APP1, data[position + 4 : position + 2 + size], state, position)
        position += 2 + max(size, 2)
    return position


@lru_cache(maxsize=4096)
def _size_of_sequential(segments: bytes) -> tuple[int, int] | None:
    """Return (height, width) where the segments up to the picture data are a sure header; many files share one."""
    state = _State()
    try:
        complete = _walk(segments, 0, state) == len(segments)
    except (_OddError, IndexError, struct.error):
        return None
    usual = complete and state.frame != PROGRESSIVE and state.orientation == 1
    return (state.height, state.width) if usual else None


def _walk(data: bytes, position: int, state: _State) -> int:
    """Go through the segments, to the picture data of a sequential JPEG or the end of a progressive one.

    Returns the offset of the last scan's data. Raises: _OddError, IndexError, struct.error.
    """
    scan = 0
    while True:
        if data[position] != 0xFF:
            raise _OddError(f"damaged JPEG header at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in BARE:
            position += 2
        elif marker == END and scan:
            return scan
        else:
            (size,) = struct.unpack_from(">H", data, position + 2)
            _read_segment(marker, data[position + 4 : position + 2 + size], state, position)
            position += 2 + max(size, 2)
            if marker == SCAN:
                scan = position
                if state.frame != PROGRESSIVE:
                    return scan
                found = PICTURE_END.search(data, position)
                if found is None:
                    raise _OddError("no end marker")
                position = found.start()


def _read_segment(marker: int, content: bytes, state: _State, position: int) -> None:
    """Note what a segment defines. Raises: _OddError."""
    if marker in FRAMES:
        _read_frame(marker, content, state, position)
    elif marker == APP1:
        if content.startswith(b"Exif\0\0"):
            state.orientation = exif_orientation(content[6:])
    elif marker in SKIPPED:
        pass
    elif marker in (HUFFMAN, QUANTISATION):
        found = _huffman_tables(content) if marker == HUFFMAN else _quantisation_tables(content)
        if found is None:
            _odd(state, marker)
        else:
            state.tables |= found
    elif marker == SCAN and state.frame:
        _check_scan(content, state)
    elif marker != RESTART or len(content) != 2:
        _odd(state, marker)


def _odd(state: _State, marker: int) -> None:
    if state.frame:
        raise _OddError(f"marker {marker:02x}")
    state.tables.add(-1)  # without a size yet, so that the walk goes on; no scan is sure any more


def _read_frame(marker: int, content: bytes, state: _State, position: int) -> None:
    if state.frame:
        raise _OddError("a second frame")
    bits, state.height, state.width, count = struct.unpack_from(">BHHB", content)
    state.frame, state.start = marker, position
    if marker not in COMMON_FRAMES or bits != 8 or count not in (1, 3) or len(content) != 6 + 3 * count:
        raise _OddError("an uncommon frame")
    rows = [content[start : start + 3] for start in range(6, len(content), 3)]
    state.components = {row[0]: 32 + row[2] for row in rows}
    first, *others = (row[1] for row in rows)
    if first not in (0x11, 0x21, 0x12, 0x22, 0x41, 0x14) or any(sampling != 0x11 for sampling in others):
        raise _OddError("uncommon sampling")
    if len(state.components) != count or max(state.height, state.width) > MAX_SIDE:
        raise _OddError("repeated components, or too large")


def _check_scan(content: bytes, state: _State) -> None:
    count = content[0]
    if len(content) != 4 + 2 * count:
        raise _OddError("a scan of the wrong length")
    ids, selectors = content[1:-3:2], content[2:-3:2]
    start, end, bits = content[-3:]
    needed = {state.components.get(component, -2) for component in ids}
    if state.frame == PROGRESSIVE:
        high, low = bits >> 4, bits & 15
        if start > end or end > 63 or low > MAX_SHIFT or (high and high != low + 1) or (not start and end):
            raise _OddError("a progressive scan out of range")
        if start and count != 1:
            raise _OddError("several components in one scan of details")
        if start or not high:
            needed |= {16 + (byte & 15) if start else byte >> 4 for byte in selectors}
    else:
        if tuple(ids) != tuple(state.components):
            raise _OddError("a scan of some components")
        needed |= {byte >> 4 for byte in selectors} | {16 + (byte & 15) for byte in selectors}
    if len(set(ids)) != count or not count or not needed <= state.tables or -1 in state.tables:
        raise _OddError("a scan without its tables")


@lru_cache(maxsize=256)
def _huffman_tables(content: bytes) -> frozenset[int] | None:
    """Return the ids of the tables in a segment; None where libjpeg cannot use one."""
    ids, position = set(), 0
    while position < len(content):
        index, counts = content[position], content[position + 1 : position + 17]
        total = sum(counts)
        symbols = content[position + 17 : position + 17 + total]
        fits = len(counts) == 16 and len(symbols) == total <= 256 and sum(map(mul, counts, CODE_SPACE)) < 1 << 16
        if not fits or index & ~0x13 or (index < 16 and any(symbol > 15 for symbol in symbols)):
            return None
        ids.add(index)
        position += 17 + total
    return frozenset(ids)


@lru_cache(maxsize=256)
def _quantisation_tables(content: bytes) -> frozenset[int] | None:
    ids, position = set(), 0
    while position < len(content):
        precision, index = divmod(content[position], 16)
        position += 1 + 64 * (1 + precision)
        if precision > 1 or index > 3 or position > len(content):
            return None
        ids.add(32 + index)
    return frozenset(ids)
