"""Files that cannot be read, rows that make no sense, images and labels that do not find each other."""

from collections import defaultdict
from collections.abc import Iterator

from utils.data.image.read import IMAGE_SUFFIXES
from utils.data.scan.label_file import PER_CENT, PIXELS
from utils.doctor.facts import ERROR, NOTE, WARNING, Example, Facts, Finding
from utils.text import counted

UNIT_FIXES = {
    PIXELS: "divide x and w by the width of the image, y and h by its height",
    PER_CENT: "divide all four by 100",
}
MANY_UNLABELLED = 0.1  # share of a split


def refused(facts: Facts) -> Iterator[Finding]:
    """What the scan of a training would stop at."""
    for split, error in facts.refusals.items():
        severity = WARNING if split == "test" else ERROR
        what = error.what.partition("\n")[0]
        command = "val.py --task test" if split == "test" else "train.py"
        yield Finding(severity, f"{command} refuses the images of {split}: {what}", error.fix)


def unusable_pictures(facts: Facts) -> Iterator[Finding]:
    examples = [facts.at_problem(problem) for problem in facts.problems]
    yield from Finding.of(
        WARNING,
        "images that cannot be used, which training leaves out",
        "replace or remove these files; a label file that cannot be read costs its image too",
        examples,
    )


def bad_rows(facts: Facts) -> Iterator[Finding]:
    examples = [facts.at_problem(problem) for problem in facts.bad_rows]
    fix = "write each row as class cx cy w h, all but the class divided by the width or height of the image"
    units = {tuple(unit for unit in (PIXELS, PER_CENT) if f"{unit}: divide" in example.text) for example in examples}
    told = min(filter(None, units), key=len, default=())  # a row that can be of one unit alone speaks for the others
    if told:
        fix = "; ".join(f"coordinates in {unit}: {UNIT_FIXES[unit]}" for unit in told)
    elif any(not example.line for example in examples):  # of COCO's or Pascal VOC's files
        fix = "correct or remove these objects in their file"
    yield from Finding.of(WARNING, "label rows that make no sense, which training leaves out", fix, examples)


def wrong_classes(facts: Facts) -> Iterator[Finding]:
    examples = [facts.at_problem(problem) for problem in facts.bad_classes]
    yield from Finding.of(ERROR, "label rows of a class that does not exist", facts.class_fix, examples)


def unknown_classes(facts: Facts) -> Iterator[Finding]:
    """Objects of COCO's and Pascal VOC's files, whose classes are matched by name."""
    examples = [
        Example(str(facts.spec.file), 0, f"{name}: {counted(count, 'object')}")
        for name, count in sorted(facts.left_out.items(), key=lambda item: (-item[1], item[0]))
    ]
    yield from Finding.of(
        WARNING,
        "classes of objects that names does not have, which training leaves out",
        "complete names, or correct a name that is spelt otherwise there",
        examples,
    )


def repaired_rows(facts: Facts) -> Iterator[Finding]:
    yield from Finding.of(
        NOTE,
        "label rows that are repaired when they are read: clipped to the image, or left out as repeated",
        "nothing has to be done; whoever wrote the labels may want to know",
        [facts.at_problem(problem) for problem in facts.repairs],
    )


def orphan_labels(facts: Facts) -> Iterator[Finding]:
    yield from Finding.of(
        WARNING,
        "label files without an image",
        f"add the image or remove the file; images end in {' '.join(sorted(IMAGE_SUFFIXES))}",
        [Example(path, 0, "no image of this name") for path in facts.orphans],
    )


def unlabelled_pictures(facts: Facts) -> Iterator[Finding]:
    for split in facts.splits:
        own = [index for index, picture in enumerate(facts.pictures) if picture.split == split and picture.shape]
        examples = [facts.at_picture(i, "no label file") for i in own if not facts.pictures[i].has_labels]
        yield from Finding.of(
            WARNING if len(examples) > MANY_UNLABELLED * len(own) else NOTE,
            f"images of {split}, of {len(own)}, without a label file, which teach that nothing is there",
            "if objects are there, label them; if not, an empty label file says that somebody has looked",
            examples,
        )


def shared_labels(facts: Facts) -> Iterator[Finding]:
    """Images that differ in their suffix only, so that one label file belongs to both."""
    owners = defaultdict(dict)
    for index, picture in enumerate(facts.pictures):
        owners[picture.label_file].setdefault(picture.path, index)
    groups = [list(images.values()) for images in owners.values() if len(images) > 1]
    examples = []
    for first, *others in groups:
        text = f"shares its label file with {facts.shown(facts.pictures[first].path)}"
        examples += [facts.at_picture(index, text) for index in others]
    yield from Finding.of(
        ERROR,
        "images that share their label file with another of the same name",
        "rename or remove one of the two",
        examples,
    )
