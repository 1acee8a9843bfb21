"""Every name that a pickled checkpoint may mention, and what stands in for it.

A name is looked up by its exact (module, name) pair; nothing is imported and no attribute is followed. It becomes an
inert record (the class of the file is never touched), the type of a storage, or one of the small functions below.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from utils.checkpoint.class_names import INERT

MAX_DIMENSIONS = 8
MAX_SIZE = 2**62
_SCALARS = (str, int, float, bool, type(None))


class RefusedError(Exception):
    """The pickle asks for something that no checkpoint contains; the reader adds the file's name."""


def describe(value: Any) -> str:
    """Name a value of the pickle in bounded space; its own repr may be endless."""
    if isinstance(value, InertClass):
        return str(value)
    if type(value) is str:
        return repr(value[:80])
    return repr(value) if type(value) in _SCALARS else f"a {type(value).__name__}"


def scalar_keys(keys: list[Any]) -> list[Any]:
    """Return ``keys`` unchanged if all are scalars; to hash a deep tuple would overflow the C stack."""
    odd = next((key for key in keys if type(key) not in _SCALARS), None)
    if odd is not None:
        raise RefusedError(f"{describe(odd)} as a dictionary key or set item")
    return keys


@dataclass(frozen=True)
class InertClass:
    """A class of the file: a name and nothing that could run."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Node:
    """An instance of an inert class; ``state`` is the dictionary of its attributes."""

    kind: InertClass
    state: dict[str, Any] = field(default_factory=dict)
    built: bool = False

    def build(self, state: Any) -> None:
        if self.built or type(state) is not dict:
            raise RefusedError(f"the state of a {self.kind} is not one dictionary")
        self.state, self.built = state, True


@dataclass(frozen=True)
class BoundMethod:
    """A method of a module, which only fused models and other tasks store as an attribute."""

    name: str


@dataclass(frozen=True)
class StorageType:
    dtype: torch.dtype


@dataclass(frozen=True)
class Storage:
    """``numel`` numbers of ``dtype`` in the record ``key``, not read yet."""

    dtype: torch.dtype
    key: str
    numel: int

    def __post_init__(self) -> None:
        if type(self.key) is not str or type(self.numel) is not int or self.numel < 0:
            raise RefusedError("a storage without a name or a size")


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage, checked to lie inside it and not to repeat its numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise RefusedError(f"a tensor with {len(self.shape)} sizes and {len(self.stride)} strides")
        sizes = (self.offset, *self.shape, *self.stride)
        if type(self.storage) is not Storage or any(type(n) is not int or not 0 <= n < MAX_SIZE for n in sizes):
            raise RefusedError("a tensor without a storage or with odd sizes")
        if math.prod(n for n in self.shape if n) >= MAX_SIZE:
            raise RefusedError("an empty tensor with impossible sizes")
        if self.numel and (self.numel > self.storage.numel or self.offset + self.span > self.storage.numel):
            raise RefusedError(
                f"a tensor of shape {self.shape} that does not fit into its {self.storage.numel} numbers"
            )

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """Distance in the storage from the first to behind the last number."""
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)) if self.numel else 0


@dataclass
class NumpyType:
    dtype: np.dtype

    def build(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", "|", "=") or any(state[2:5]):
            raise RefusedError("a NumPy type that is not a plain little-endian number")

    def read(self, data: Any, shape: tuple[int, ...]) -> np.ndarray:
        if type(data) is not bytes or len(data) != math.prod(shape) * self.dtype.itemsize:
            raise RefusedError("NumPy data of a length that does not match its shape")
        return np.frombuffer(data, self.dtype).reshape(shape)


@dataclass
class NumpyArray:
    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _version, shape, dtype, fortran, data = state
        if type(dtype) is not NumpyType or type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise RefusedError("a NumPy array of odd type or shape")
        self.value = dtype.read(data, shape[::-1]).T if fortran else dtype.read(data, shape)


# Stand-ins for the functions that a pickle may call. Wrong arguments end in RefusedError, TypeError or ValueError.


def _ordered_dict(items: list | tuple = ()) -> dict:
    return dict(zip(scalar_keys([key for key, _ in items]), [value for _, value in items], strict=True))


def _set(items: list) -> set:
    return set(scalar_keys(items))


def _rebuild_tensor(storage: Any, offset: int, shape: tuple, stride: tuple, *_flags: Any) -> TensorRecord:
    return TensorRecord(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: Any, *_flags: Any) -> TensorRecord:
    if type(data) is not TensorRecord:
        raise RefusedError("a parameter that is not a tensor")
    return data


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise RefusedError(f"bytes in the codec {describe(codec)}")
    return text.encode("latin1")


def _size(sizes: tuple = ()) -> tuple:
    return tuple(sizes)


def _device(kind: str, *_index: int) -> str:
    return kind


def _joined_path(*parts: str) -> str:
    return "/".join(parts)


def _numpy_type(code: str, *_flags: Any) -> NumpyType:
    if code not in _NUMPY_CODES:
        raise RefusedError(f"the NumPy type {describe(code)}")
    return NumpyType(np.dtype(code).newbyteorder("<"))


def _numpy_scalar(dtype: NumpyType, data: bytes) -> int | float | bool:
    if type(dtype) is not NumpyType:
        raise RefusedError("a NumPy number without a type")
    return dtype.read(data, ()).item()


def _numpy_array(cls: Any, *_placeholder: Any) -> NumpyArray:
    if cls != InertClass("numpy", "ndarray"):
        raise RefusedError(f"the array class {describe(cls)}")
    return NumpyArray()


def _namespace() -> Node:
    return Node(NAMESPACE)


def _attribute(owner: Any, name: Any) -> BoundMethod | None:
    """``getattr`` as official files of segmentation and of fused models contain it, and nothing else."""
    if type(owner) is InertClass and owner in _DETECT and name == "forward":
        return None
    if type(owner) is not Node or type(name) is not str or name not in ("forward", "forward_fuse"):
        raise RefusedError(f"getattr of {describe(owner)} and {describe(name)}")
    return BoundMethod(name)


NAMESPACE = InertClass("argparse", "Namespace")  # the options of a training
_DETECT = [
    InertClass(module, "Detect") for module in ("models.yolo", "ultralytics.nn.modules", "ultralytics.nn.modules.head")
]


_NUMPY_CODES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_FUNCTIONS = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("builtins", "getattr"): _attribute,
    ("__builtin__", "getattr"): _attribute,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("_codecs", "encode"): _encode,
    ("ultralytics.utils", "IterableSimpleNamespace"): _namespace,
    ("ultralytics.yolo.utils", "IterableSimpleNamespace"): _namespace,
    ("numpy", "dtype"): _numpy_type,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy.core.multiarray", "_reconstruct"): _numpy_array,
    ("numpy._core.multiarray", "_reconstruct"): _numpy_array,
    ("pathlib", "PosixPath"): _joined_path,
    ("pathlib", "WindowsPath"): _joined_path,
    ("pathlib._local", "PosixPath"): _joined_path,
    ("pathlib._local", "WindowsPath"): _joined_path,
}

GLOBALS: dict[tuple[str, str], Any] = {
    **{(module, name): InertClass(module, name) for module, names in INERT.items() for name in names.split()},
    **{("torch", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **_FUNCTIONS,
}
