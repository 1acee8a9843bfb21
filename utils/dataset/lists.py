"""Write the images of a part: a list of those with files of their own, and a COCO file of those from a COCO file."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from utils.data.scan.coco import CocoAnnotations
from utils.data.scan.spec import DataSpec
from utils.errors import DataError
from utils.runs import write_text
from utils.text import visible


def check_paths(images: Sequence[str], spec: DataSpec) -> None:
    """Raises: DataError for an image that a list could not name, or that would lie outside the new data set."""
    odd = [image for image in images if not _is_line(image)]
    if odd:
        what = f"{visible(odd[0])}: a list of images cannot hold this name"
        raise DataError(what, "rename the file, without line ends and without spaces at its ends")
    outside = [] if spec.allow_outside else [image for image in images if not is_below(image, spec.root)]
    if outside:
        what = f"{len(outside)} of {len(images)} images lie outside {visible(spec.root)}, as {visible(outside[0])}"
        raise DataError(what, f"set path in {visible(spec.file)} to a folder that holds them all")


def _is_line(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path == path.strip() and "\n" not in path and "\r" not in path


def is_below(image: str, root: Path) -> bool:
    return image.startswith(str(root).rstrip(os.sep) + os.sep)


def path_from(root: Path, image: str) -> str:
    """Return the path of an image as a COCO file has it: from ``root``, unless it lies elsewhere."""
    return Path(image).relative_to(root).as_posix() if is_below(image, root) else image


def write_part(
    folder: Path, name: str, images: Collection[str], spec: DataSpec, coco: Sequence[CocoAnnotations]
) -> list[str]:
    """Write the files of a part, and return their names."""
    rest, files = set(images), []
    for number, source in enumerate(coco, start=1):
        own = [place for place, image in enumerate(source.images) if image in rest]
        rest.difference_update(source.images[place] for place in own)
        if own:
            files.append(f"{name}.json" if len(coco) == 1 else f"{name}-{number}.json")
            write_text(folder / files[-1], _subset(source, own, spec.root))
    if rest:
        files.append(f"{name}.txt")
        write_text(folder / files[-1], "".join(f"{image}\n" for image in images if image in rest))
    return files


def _subset(source: CocoAnnotations, own: Sequence[int], root: Path) -> str:
    """Return a COCO file with some of its images, all else as it is; files are named from ``root``."""
    content = json.loads(source.index.path.read_text(encoding="utf-8-sig"))
    paths = {source.index.image_ids[place]: source.images[place] for place in own}
    content["images"] = [
        image | {"file_name": path_from(root, path)}
        for image in content["images"]
        if (path := paths.pop(image["id"], None))
    ]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] in kept]
    return json.dumps(content, ensure_ascii=False)
