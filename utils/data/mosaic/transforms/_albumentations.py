"""Transforms of the Albumentations package, for lists that name them; nothing else imports it.

Paper: Albumentations: Fast and Flexible Image Augmentations, https://doi.org/10.3390/info11020125

Each call is seeded from the generator of the sample. Boxes are cut at the edges and filtered as after our own warp; a
picture whose size has changed is stretched back to it.
"""

import importlib.metadata
import inspect
import logging
import os
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from utils.data.batch import normalize_boxes
from utils.data.mosaic.perspective import BOX_AREA_LEFT, is_learnable
from utils.data.mosaic.transforms._contract import Sample
from utils.errors import ConfigError, UserError
from utils.pixels import PixelFormat, resize
from utils.registry import suggest

log = logging.getLogger(__name__)

PREFIX = "albumentations."
VERSION = "2.0.8"  # the last one of the MIT licence
NOT_LISTED = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Lambda"}  # do nothing alone
REMOVE = "correct its parameters, or remove it"


class Albumentation:
    """A transform of the package; ``where`` is its place in a file, for errors."""

    def __init__(self, package: ModuleType, transform: Any, where: str) -> None:
        self.where = where
        self.has_boxes = isinstance(transform, package.DualTransform)
        boxes = package.BboxParams("albumentations", ["rows"], min_visibility=BOX_AREA_LEFT, clip=True)
        self.compose = package.Compose([transform], bbox_params=boxes if self.has_boxes else None)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the changed sample. Raises: ConfigError where the package does."""
        self.compose.set_random_seed(int(rng.integers(2**32)))
        corners = _corners(sample.labels)
        boxes = {"bboxes": corners, "rows": np.arange(len(corners))} if self.has_boxes else {}
        try:
            result = self.compose(image=sample.image, **boxes)
        except Exception as error:  # the package has no class of its own
            raise ConfigError(f"{self.where}: {_first_line(error)}", REMOVE) from error
        height, width = sample.image.shape[:2]
        image = self._checked(result["image"], sample.image)
        if image.shape[:2] != (height, width):
            image = resize(image, (width, height), cv2.INTER_LINEAR)
        if not self.has_boxes:
            return Sample(image, sample.labels)
        size = np.array([width, height, width, height])
        rows = np.array(result["rows"], int)
        new = np.array(result["bboxes"], float).reshape(-1, 4) * size
        kept = is_learnable(corners[rows] * size, new, area_left=0.0)  # of what is visible the package has judged
        classes = sample.labels[rows[kept], :1]
        return Sample(image, np.concatenate([classes, normalize_boxes(new[kept], (height, width))], 1))

    def _checked(self, image: Any, before: np.ndarray) -> np.ndarray:
        """Return the image. Raises: ConfigError where it has other values or channels than the one before."""
        is_array = isinstance(image, np.ndarray) and image.ndim == 3
        if is_array and image.dtype == before.dtype and image.shape[2] == before.shape[2]:
            return image
        kind = f"{image.dtype} of shape {tuple(image.shape)}"
        what = f"{self.where}: makes {kind} of {before.dtype} of shape {before.shape}"
        raise ConfigError(what, REMOVE)


def build_albumentation(
    name: str, parameters: Mapping[str, Any], where: str, pixels: PixelFormat, shape: tuple[int, int] | None
) -> Albumentation:
    """Return the transform ``albumentations.NAME``, tried on a picture of ``shape`` (h, w) if one is given.

    Raises: ConfigError where the package is missing, has no such transform or refuses a parameter, or the transform
    takes no such pictures.
    """
    package = _import_package(where)
    known = {key: item for key, item in vars(package).items() if _is_transform(key, item, package)}
    cls = known.get(name.removeprefix(PREFIX))
    if cls is None:
        raise ConfigError(f"{where}: Albumentations {VERSION} has no such transform", _close(name, known))
    names = set(inspect.signature(cls).parameters)
    for key in parameters:
        if key not in names:
            fix = suggest(str(key), names) or f"known: {', '.join(sorted(names))}"
            raise ConfigError(f"{where}: unknown parameter {key!r}", fix)
    step = Albumentation(package, _make(cls, parameters, where, says=shape is None), where)
    if pixels.bits != 8 and not step.has_boxes:
        raise ConfigError(f"{where}: changes values of 8 bits only, and the images have {pixels.bits}", "remove it")
    if shape is not None:
        _try(Albumentation(package, _make(cls, {**parameters, "p": 1.0}, where), where), pixels, shape)
    return step


def _import_package(where: str) -> ModuleType:
    """Return Albumentations. Raises: ConfigError where it is missing or another; no other is imported."""
    fix = f"pip install albumentations=={VERSION}"
    try:
        installed = importlib.metadata.version("albumentations")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"{where}: the package albumentations is not installed", fix) from None
    if installed != VERSION:
        raise ConfigError(f"{where}: is for Albumentations {VERSION}, and {installed} is installed", fix)
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else importing asks a server for the newest version
    return importlib.import_module("albumentations")


def _is_transform(name: str, item: Any, package: ModuleType) -> bool:
    if not isinstance(item, type) or name in NOT_LISTED:
        return False
    return issubclass(item, package.BasicTransform) and not issubclass(item, package.Transform3D)


def _close(name: str, known: Mapping[str, Any]) -> str:
    return suggest(name.removeprefix(PREFIX), known, prefix=PREFIX) or "see its documentation for their names"


def _make(cls: type, parameters: Mapping[str, Any], where: str, *, says: bool = False) -> Any:
    """Return the transform, and say what the package warns of. Raises: ConfigError for a value that it refuses."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _validate(cls, parameters)
            made = cls(**parameters)
        except Exception as error:
            raise ConfigError(f"{where}: {_reason(error)}", "correct it") from error
    for warning in caught if says else ():
        log.warning("%s: %s", where, _first_line(warning.message))
    return made


def _validate(cls: type, parameters: Mapping[str, Any]) -> None:
    """Raise what checking the parameters does; of some errors the package itself would warn, and take all defaults."""
    schema = vars(cls).get("InitSchema")
    if schema is not None:
        items = inspect.signature(cls).parameters.items()
        defaults = {key: item.default for key, item in items if item.default is not inspect.Parameter.empty}
        schema(**{**defaults, **parameters, "strict": False})


def _try(step: Albumentation, pixels: PixelFormat, shape: tuple[int, int]) -> None:
    """Raises: ConfigError where the transform does not turn a picture into one of the same kind."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(pixels.dtype).max, (*shape, pixels.channels), pixels.dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step(Sample(image, np.array([[0, 0.5, 0.5, 0.5, 0.5]])), rng)
    except UserError as error:
        raise ConfigError(f"{error.what} (tried on {shape[0]}×{shape[1]} pixels, {pixels})", error.fix) from error


def _corners(labels: np.ndarray) -> np.ndarray:
    """Return the boxes (n, 4) of labels (n, 5) as corners, 0–1."""
    centre, half = labels[:, 1:3], labels[:, 3:5] / 2
    return np.concatenate([centre - half, centre + half], 1).clip(0, 1)


def _reason(error: Exception) -> str:
    """Return what pydantic says of the first wrong value, ``size: Field required``, else the first line."""
    details = getattr(error, "errors", None) or getattr(error.__cause__, "errors", None)
    if details is None:
        return _first_line(error)
    first = details()[0]
    place = ".".join(str(part) for part in first["loc"][:1])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
