"""Class names from COCO files, for a data-set YAML that gives none."""

import logging
from collections.abc import Sequence
from pathlib import Path

from utils.data.scan.coco_file import CocoIndex, is_coco_file, open_coco
from utils.errors import DataError
from utils.text import counted, safe_text, visible

log = logging.getLogger(__name__)


def names_of_coco(sources: Sequence[Path]) -> dict[int, str]:
    """Return the categories of the COCO files among the sources of a data set, in the order of their ids, by class.

    Those of the first file come first, then what further ones have besides. A category without annotations that others
    name as their super-category is no class. Returns nothing where there is no such file. Raises: DataError.
    """
    files = list(dict.fromkeys(source for source in sources if is_coco_file(source) and source.is_file()))
    names: dict[str, None] = {}
    for file in files:
        names |= dict.fromkeys(_names(open_coco(file)[0]))
    if names:
        what = ", ".join(safe_text(file.name) for file in files)
        log.info("names: %s, the categories of %s", counted(len(names), "class"), what)
    return dict(enumerate(names))


def _names(index: CocoIndex) -> list[str]:
    try:
        in_order = sorted(index.categories)
    except TypeError as error:  # numbers and texts
        what = f"{visible(index.path)}: some category ids are numbers and some are texts"
        raise DataError(what, "use numbers, or write names into the data-set YAML") from error
    if left_out := [index.categories[key] for key in in_order if index.categories[key] in index.groups]:
        what = ", ".join(map(safe_text, left_out))
        log.info("%s: %s without annotations, and others are parts of it: no class", index.path.name, what)
    names = [index.categories[key] for key in in_order if index.categories[key] not in index.groups]
    if not names:
        raise DataError(f"{visible(index.path)}: has no categories", "write names into the data-set YAML")
    return names
