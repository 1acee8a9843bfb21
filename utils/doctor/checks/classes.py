"""How often each class is there, in which split."""

from collections.abc import Iterator

import numpy as np

from utils.doctor.facts import NOTE, WARNING, Example, Facts, Finding

RARE = 10  # boxes of train
IMBALANCE = 100  # most frequent by least frequent class


def class_counts(facts: Facts) -> dict[str, np.ndarray]:
    """Return split → boxes of each class, in the order of the ids."""
    size = max(facts.spec.names) + 1
    return {s: np.bincount(facts.classes[facts.box_splits == s], minlength=size) for s in facts.splits}


def missing_classes(facts: Facts) -> Iterator[Finding]:
    counts = class_counts(facts)
    for split in [split for split in ("train", "val") if split in counts and counts[split].any()]:
        missing = [class_id for class_id in facts.spec.names if not counts[split][class_id]]
        effect = "which cannot be learnt" if split == "train" else "which get no figures and count in no mAP"
        yield from Finding.of(
            WARNING,
            f"classes, of {facts.spec.nc}, without a box in {split}, {effect}",
            f"add pictures of them to {split}, or take them out of names",
            [_class(facts, class_id, counts) for class_id in missing],
        )


def rare_classes(facts: Facts) -> Iterator[Finding]:
    counts = class_counts(facts)
    train = counts.get("train", np.zeros(0))
    rare = [class_id for class_id in facts.spec.names if class_id < len(train) and 0 < train[class_id] < RARE]
    yield from Finding.of(
        WARNING,
        f"classes, of {facts.spec.nc}, with fewer than {RARE} boxes in train",
        "label more of them; until then their figures are luck",
        [_class(facts, class_id, counts) for class_id in rare],
    )


def imbalance(facts: Facts) -> Iterator[Finding]:
    counts = class_counts(facts)
    if "train" not in counts:
        return
    there = {class_id: int(counts["train"][class_id]) for class_id in facts.spec.names if counts["train"][class_id]}
    if not there or max(there.values()) < IMBALANCE * min(there.values()):
        return
    most, least = max(there, key=there.get), min(there, key=there.get)
    title = f"the most frequent class has {there[most]} boxes in train, the least frequent {there[least]}"
    examples = [_class(facts, class_id, counts) for class_id in (most, least)]
    yield from Finding.of(NOTE, title, "label more of the rare ones, or train with --image-weights", examples)


def _class(facts: Facts, class_id: int, counts: dict[str, np.ndarray]) -> Example:
    shown = ", ".join(f"{int(numbers[class_id])} in {split}" for split, numbers in counts.items())
    return Example(str(facts.spec.file), 0, f"class {class_id} {facts.name_of(class_id)}: {shown}")
