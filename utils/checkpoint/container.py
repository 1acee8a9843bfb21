"""The file around a checkpoint: tell what it is, check that it is whole, hand out its pickle and its raw tensors.

``torch.save`` writes a zip archive (``name/data.pkl`` and one record ``name/data/N`` per storage) or, before torch 1.6,
five pickles followed by the storages. Nothing here interprets a pickle of the file; see ``pickle_vm``.
"""

import io
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from utils.errors import CheckpointError
from utils.formats import format_of

MAX_PICKLE_BYTES = 64 * 2**20
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # the pickled number that opens the older format
_KNOWN_RECORDS = re.compile(
    r"data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id"
)
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, …, length of the name, length of the extra field
DOWNLOAD = "download or copy the file again"
OURS_OR_OFFICIAL = "use detection weights that train.py, YOLOv5 or YOLOv8 wrote, such as yolov5s.pt or yolov8n.pt"
FROM_EXPORT = "give the .pt that it was made from; val.py and detect.py run exported models"
OFFICIAL = re.compile(r"yolov5[nsmlx]6?\.pt")
RELEASE = "https://github.com/ultralytics/yolov5/releases/download/v7.0"

log = logging.getLogger(__name__)


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file as ``torch.save`` writes it. Raises: CheckpointError saying what it is instead."""
    content = read_bytes(Path(path))
    if not is_zip(content) and not content.startswith(LEGACY_MAGIC):
        what, fix = _misnamed(content) or other_kind(content, "a PyTorch checkpoint")
        raise CheckpointError(f"{path}: {what}", fix)
    return content


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a weights file of any kind. Raises: CheckpointError."""
    if path.exists() and (form := format_of(path)):
        raise CheckpointError(f"{path}: an exported model ({form.name}), not a checkpoint", FROM_EXPORT)
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder, not a weights file", "give the file in it, such as weights/best.pt")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", _where_from(path.name))
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror})", "check the permissions of the file and the disk it lies on"
        ) from error


def official_url(name: str) -> str:
    """Return where YOLOv5's weight file of this name can be had, nothing for other names."""
    return f"{RELEASE}/{name}" if OFFICIAL.fullmatch(name) else ""


def _where_from(name: str) -> str:
    if url := official_url(name):
        return f"download it from {url}, which is not done by itself, or check the path"
    return "check the path; relative paths start at the current folder"


def _misnamed(content: bytes) -> tuple[str, str] | None:
    """Return (what it is, what to do) for weights of another format that are called .pt."""
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        return "a safetensors file by its first bytes", "give it the suffix .safetensors"
    if content[:1] == b"\x08" and content[2:3] in (b"\x12", b"\x1a", b"\x3a"):  # fields that open an ONNX model
        return "an ONNX model by its first bytes", "give it the suffix .onnx"
    if content[:1] == b"\x80":
        return "a pickle that torch.save did not write", "save it with torch.save"
    return None


def is_zip(content: bytes) -> bool:
    return content.startswith(b"PK\x03\x04")


def other_kind(content: bytes, expected: str) -> tuple[str, str]:
    """Return (what it is, what to do) for a file that is not the ``expected`` kind."""
    start = content[:1024].lstrip().lower()
    if not content:
        return "the file is empty", DOWNLOAD
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of weights, as a failed download leaves it", DOWNLOAD
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of weights", "run 'git lfs pull' in that checkout"
    if content[257:262] == b"ustar":
        return "a tar archive; PyTorch's format before 0.4 is not read", "save it again with a newer PyTorch"
    return f"not {expected}, or a damaged one (it starts with the bytes {content[:4].hex(' ')})", DOWNLOAD


class ZipRecords(Mapping[str, memoryview]):
    """The records of a ``torch.save`` archive by name, without the archive's top folder; all checked beforehand."""

    def __init__(self, content: bytes, path: str | Path) -> None:
        self._records: dict[str, memoryview] = {}
        try:
            infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
        except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
            raise CheckpointError(
                f"{path}: truncated or damaged: the archive has no valid directory at its end", DOWNLOAD
            ) from error
        names = [info.filename.partition("/")[2] for info in infos]
        if "constants.pkl" in names or any(name.startswith("code/") for name in names):
            raise CheckpointError(
                f"{path}: a TorchScript archive, not a checkpoint", "pass the .pt file that it was exported from"
            )
        if len({info.filename.partition("/")[0] for info in infos}) > 1:
            raise CheckpointError(
                f"{path}: several top folders in the archive; not written by torch.save", OURS_OR_OFFICIAL
            )
        if sum(info.file_size for info in infos) > len(content):  # entries that share bytes would be read many times
            raise CheckpointError(
                f"{path}: damaged: its entries are larger than the file, or lie on each other", OURS_OR_OFFICIAL
            )
        checked = any(info.CRC for info in infos)
        if not checked:
            log.info("%s: written without checksums; damage inside its records cannot be seen", path)
        for name, info in zip(names, infos, strict=True):
            if not _KNOWN_RECORDS.fullmatch(name) or name in self._records:
                raise CheckpointError(
                    f"{path}: unexpected entry {info.filename!r}; not written by torch.save", OURS_OR_OFFICIAL
                )
            self._records[name] = _record(content, info, path, checked)
        if self._records.get("byteorder", b"little") != b"little":
            raise CheckpointError(f"{path}: written on a big-endian machine", "save it again on a little-endian one")
        if len(self._records.get("data.pkl", b"")) not in range(1, MAX_PICKLE_BYTES):
            raise CheckpointError(
                f"{path}: the entry data.pkl is missing or larger than {MAX_PICKLE_BYTES} bytes", OURS_OR_OFFICIAL
            )

    def __getitem__(self, name: str) -> memoryview:
        return self._records[name]

    def __iter__(self):
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def _record(content: bytes, info: zipfile.ZipInfo, path: str | Path, checked: bool) -> memoryview:
    """Return a view of one stored entry; its checksum counts if the file has any (``checked``).

    Raises: CheckpointError when it is packed, cut short or altered.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
        raise CheckpointError(
            f"{path}: entry {info.filename!r} is compressed or encrypted; not written by torch.save",
            "load it with PyTorch and save it again with torch.save",
        )
    header = content[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise CheckpointError(f"{path}: damaged: entry {info.filename!r} has no header", DOWNLOAD)
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    record = memoryview(content)[start : start + info.file_size]
    if len(record) != info.file_size:
        raise CheckpointError(f"{path}: truncated in entry {info.filename!r}", DOWNLOAD)
    if checked and zlib.crc32(record) != info.CRC:
        raise CheckpointError(f"{path}: damaged: the checksum (CRC-32) of {info.filename!r} is wrong", DOWNLOAD)
    return record
