"""The checks. Each takes the facts and yields what it finds; to add one, write a function and name it here.

Its name, with ``-`` for ``_``, stands in the report and in docs/doctor.md, which says what it means and how to mend it.
"""

from collections.abc import Callable, Iterable, Mapping

from utils.doctor.checks import boxes, classes, copies, duplicates, files, layout, model, pictures, sizes
from utils.doctor.facts import Facts, Finding

Check = Callable[[Facts], Iterable[Finding]]

_FUNCTIONS: tuple[Check, ...] = (
    files.refused,
    files.unusable_pictures,
    files.bad_rows,
    files.wrong_classes,
    files.unknown_classes,
    files.repaired_rows,
    files.orphan_labels,
    files.unlabelled_pictures,
    files.shared_labels,
    pictures.one_colour,
    pictures.dark_or_bright,
    pictures.lost_data,
    pictures.turned_by_exif,
    pictures.kinds_of_pixels,
    pictures.odd_sizes,
    duplicates.leaks,
    duplicates.repeated_pictures,
    duplicates.labelled_differently,
    copies.equal_label_files,
    copies.repeated_boxes,
    classes.missing_classes,
    classes.rare_classes,
    classes.imbalance,
    sizes.tiny_boxes,
    sizes.small_boxes,
    sizes.whole_picture,
    sizes.long_boxes,
    sizes.crowded,
    sizes.anchors,
    boxes.outside,
    boxes.doubled,
    boxes.two_classes,
    boxes.at_the_border,
    layout.other_reading,
    model.missing_labels,
    model.other_class,
    model.doubtful_labels,
)
CHECKS: Mapping[str, Check] = {function.__name__.replace("_", "-"): function for function in _FUNCTIONS}
