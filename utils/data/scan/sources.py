"""Tell from what lies there who knows what is in the images of a split."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from utils.data.image.read import IMAGE_SUFFIXES
from utils.data.scan.annotations import Annotations, Entry
from utils.data.scan.class_matching import check_all_found
from utils.data.scan.coco import CocoAnnotations
from utils.data.scan.coco_file import is_coco_file
from utils.data.scan.discovery import find_images, label_path
from utils.data.scan.label_folders import check_links, check_suffixes, list_label_folders, warn_of_orphans
from utils.data.scan.voc import VocAnnotations
from utils.data.scan.voc_files import check_xml_links, xml_files, xml_orphans
from utils.data.scan.yolo import YoloAnnotations
from utils.errors import DataError
from utils.text import counted, visible

log = logging.getLogger(__name__)


def find_annotations(
    sources: Sequence[str | Path],
    names: Mapping[int, str],
    root: Path | None,
    fence: Sequence[Path] | None,
    suffixes: Collection[str] = IMAGE_SUFFIXES,
) -> list[Annotations]:
    """Return the annotations of folders, list files and COCO files, and log which there are.

    Images of folders and lists end in one of ``suffixes``.

    Raises: DataError where a class has no category in any of the COCO files, and there is nothing else.
    """
    coco_files = [Path(source).absolute() for source in sources if is_coco_file(source)]
    found: list[Annotations] = [CocoAnnotations(file, names, root, fence) for file in coco_files]
    for each in found:
        log.info("labels: %s", each)
    if others := [source for source in sources if not is_coco_file(source)]:
        found += _of_images(find_images(others, fence, suffixes), names, fence, suffixes)
    else:
        there = [name for each in found for name in each.index.categories.values()]
        classes = {index for each in found for index in each.classes.values()}
        check_all_found(names, classes, there, ", ".join(visible(file) for file in coco_files))
    return found


def entries_of(sources: Sequence[Annotations]) -> list[Entry]:
    """Return the images of all sources, sorted by path. Raises: DataError for an image that two of them speak of."""
    entries = sorted(
        Entry(image, number, index)
        for number, source in enumerate(sources)
        for index, image in enumerate(source.images)
    )
    twice = [entry.image for entry, after in pairwise(entries) if entry.image == after.image]
    if twice:
        what = f"{counted(len(twice), 'image')} in two of the sources of one split, the first is {visible(twice[0])}"
        raise DataError(what, "name each image once, so that its labels are told by one of them")
    return entries


def _of_images(
    images: list[str], names: Mapping[int, str], fence: Sequence[Path] | None, suffixes: Collection[str]
) -> list[Annotations]:
    """Return the label files of images, and the XML files of those that have only these."""
    label_files = _label_files(images)
    all_xml = xml_files(images)
    if not all_xml:
        return [_yolo(images, label_files, len(names), fence, suffixes)]
    pairs = list(zip(images, label_files, strict=True))
    both = {image for image, label_file in pairs if image in all_xml and os.path.exists(label_file)}  # noqa: PTH110
    if both:
        log.info("labels: %s with both .txt and .xml: .txt is taken", counted(len(both), "image"))
    xml = {image: file for image, file in all_xml.items() if image not in both}
    rest = [pair for pair in pairs if pair[0] not in xml]
    found: list[Annotations] = []
    if xml:
        if fence is not None:
            check_xml_links(list(xml.values()), fence)
        others = f"; {counted(len(rest), 'image')} without" if rest else ""
        log.info("labels: %s with .xml (Pascal VOC)%s", counted(len(xml), "image"), others)
        if orphans := xml_orphans(xml.values(), suffixes):
            log.warning("%s without an image, the first is %s", counted(len(orphans), ".xml file"), visible(orphans[0]))
        found.append(VocAnnotations(list(xml), list(xml.values()), names))
    if rest:
        found.append(_yolo(*map(list, zip(*rest, strict=True)), len(names), fence, suffixes))
    return found


def _yolo(
    images: Sequence[str],
    label_files: Sequence[str],
    nc: int,
    fence: Sequence[Path] | None,
    suffixes: Collection[str],
) -> YoloAnnotations:
    folders = list_label_folders(label_files)
    check_suffixes(folders.misnamed)
    if fence is not None:
        check_links(images, label_files, folders.links, fence)
    warn_of_orphans(images, folders.unclaimed, suffixes)
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
