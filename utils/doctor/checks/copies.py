"""Labels that were copied from one picture to another."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from utils.doctor.checks.duplicates import look_alike
from utils.doctor.facts import NOTE, WARNING, Facts, Finding

DIGITS = 5  # to which coordinates must be equal
COMMON = 0.95  # of both sides of a picture: such boxes are equal by their nature
PICTURES = 4  # that have a box in common before it is told
MANY = 0.02  # share of all boxes


def equal_label_files(facts: Facts) -> Iterator[Finding]:
    """Label files of the same content, whose pictures are not the same."""
    groups = defaultdict(list)
    for index in facts.usable:
        rows = facts.rows_of(index)
        if len(rows) and facts.boxes[rows.start : rows.stop, 2:].min() < COMMON:
            groups[tuple(sorted(_key(facts, row) for row in rows))].append(index)
    examples = []
    for first, *others in groups.values():
        known = {facts.pictures[first].pixels.digest}
        for index in others:
            digest, file = facts.pictures[index].pixels.digest, facts.pictures[index].label_file
            other = digest not in known and file != facts.pictures[first].label_file
            if other and not list(look_alike(facts, [(first, index)])):
                name = facts.shown(facts.pictures[first].label_file)
                examples.append(facts.at_labels(index, f"the same rows as {name}", first))
            known.add(digest)
    yield from Finding.of(
        WARNING,
        "label files with the same rows as that of another picture",
        "look which picture they belong to: a copy of labels is wrong unless nothing moves before the camera",
        examples,
    )


def repeated_boxes(facts: Facts) -> Iterator[Finding]:
    """Single boxes that are exactly the same in several pictures."""
    groups = defaultdict(dict)
    for row in np.flatnonzero(facts.boxes[:, 2:].min(axis=1, initial=1) < COMMON).tolist():
        pixels = facts.pictures[facts.owners[row]].pixels
        if pixels:
            groups[_key(facts, row)].setdefault(pixels.digest, row)
    found = [list(rows.values()) for rows in groups.values() if len(rows) >= PICTURES]
    count = sum(map(len, found))
    text = "{} at the same place in {} pictures"
    yield from Finding.of(
        WARNING if count > MANY * len(facts.boxes) else NOTE,
        f"boxes that are exactly the same in {PICTURES} pictures or more",
        "a thing that never moves teaches its place, not its looks; a watermark or a template is no object",
        [
            facts.at_row(row, text.format(facts.name_of(facts.classes[row]), len(rows)))
            for rows in sorted(found, key=len, reverse=True)
            for row in rows
        ],
    )


def _key(facts: Facts, row: int) -> tuple[float, ...]:
    return (int(facts.classes[row]), *facts.boxes[row].round(DIGITS).tolist())
