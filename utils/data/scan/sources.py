"""Find who knows what is in the images of a split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.data.scan.annotations import Annotations, Entry
from utils.data.scan.discovery import find_images, label_path
from utils.data.scan.label_folders import check_links, list_label_folders, warn_of_orphans
from utils.data.scan.yolo import YoloAnnotations
from utils.errors import DataError


def find_annotations(
    sources: Sequence[str | Path], names: Mapping[int, str], fence: Sequence[Path] | None
) -> list[Annotations]:
    """Return the annotations of folders and list files."""
    images = find_images(sources, fence)
    label_files = _label_files(images)
    return [_yolo(images, label_files, len(names), fence)]


def entries_of(sources: Sequence[Annotations]) -> list[Entry]:
    """Return the images of all sources, sorted by path."""
    return sorted(
        Entry(image, number, index)
        for number, source in enumerate(sources)
        for index, image in enumerate(source.images)
    )


def _yolo(images: Sequence[str], label_files: Sequence[str], nc: int, fence: Sequence[Path] | None) -> YoloAnnotations:
    folders = list_label_folders(label_files)
    if fence is not None:
        check_links(images, label_files, folders.links, fence)
    warn_of_orphans(images, label_files, folders.unclaimed)
    return YoloAnnotations(images, label_files, nc)


def _label_files(images: Sequence[str]) -> list[str]:
    """Return the label file of each image. Raises: DataError where two images would share one."""
    owner: dict[str, str] = {}
    for image in images:
        other = owner.setdefault(label_path(image), image)
        if other != image:
            raise DataError(
                f"{other} and {image} would share the labels in {label_path(image)}", "rename or remove one of the two"
            )
    return list(owner)
