"""Pictures that are there twice: within a split, which wastes time, and in two splits, which spoils the figures.

Equal files are told by their digest, pictures that look alike as ``alike`` has it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from utils.data.scan.folder_layout import SPLIT_COMMAND
from utils.doctor.alike import MIN_AGREEMENT, MIN_SPREAD, agree, hashes
from utils.doctor.facts import NOTE, WARNING, Facts, Finding
from utils.text import counted

CELLS = 1 << 24  # of a matrix of agreements at once


def leaks(facts: Facts) -> Iterator[Finding]:
    """Pictures of val and test that are in a split before them."""
    order = [split for split in ("train", "val", "test") if split in facts.splits]
    for position, split in enumerate(order):
        for earlier in order[:position]:
            own = [{picture.path for picture in facts.pictures if picture.split == name} for name in (split, earlier)]
            if own[0] == own[1]:
                title = f"{split} and {earlier} are the same {counted(len(own[0]), 'picture')}"
                what = f"{title}, which tells nothing about pictures that were not trained on"
                yield Finding(WARNING, what, f"take {split} from {earlier}: {SPLIT_COMMAND}")
                continue
            twins = _twins(facts, split, earlier)
            examples = [facts.at_picture(i, f"{how} {_name(facts, j)}", j) for i, j, how in twins]
            images = sum(picture.split == split for picture in facts.pictures)
            yield from Finding.of(
                WARNING,
                f"pictures of {split}, of {images}, that are in {earlier} too, which makes the figures too good",
                f"remove them from {earlier}; split by scene, video or day, not picture by picture",
                examples,
            )


def repeated_pictures(facts: Facts) -> Iterator[Finding]:
    for split in facts.splits:
        twins = _twins(facts, split, split)
        equal = [facts.at_picture(i, f"{how} {_name(facts, j)}", j) for i, j, how in twins if how == EQUAL]
        alike = [facts.at_picture(i, f"{how} {_name(facts, j)}", j) for i, j, how in twins if how == ALIKE]
        fix = "remove the copies, and see that one of each keeps its labels"
        yield from Finding.of(WARNING, f"pictures of {split} that are copies of another", fix, equal)
        fix = "frames of a video cost time and teach little; keep one of a few dozen"
        yield from Finding.of(NOTE, f"pictures of {split} that look like another", fix, alike)


def labelled_differently(facts: Facts) -> Iterator[Finding]:
    """Equal files with other labels: at least one of both is wrong."""
    groups = defaultdict(list)
    for index in facts.usable:
        groups[facts.pictures[index].pixels.digest].append(index)
    examples = []
    for first, *others in groups.values():
        for other in others:
            if facts.pictures[first].label_file != facts.pictures[other].label_file and not _same(facts, first, other):
                here, there = (counted(len(facts.rows_of(index)), "box") for index in (other, first))
                text = f"{here} here, {there} for the same file {_name(facts, first)}"
                examples.append(facts.at_labels(other, text, first))
    yield from Finding.of(
        WARNING, "copies of a picture that are labelled differently", "keep the better labels", examples
    )


EQUAL, ALIKE = "the same file as", "looks like"


def _name(facts: Facts, index: int) -> str:
    return facts.shown(facts.pictures[index].path)


def _same(facts: Facts, one: int, other: int) -> bool:
    a, b = ([(int(facts.classes[row]), *facts.boxes[row].round(4)) for row in facts.rows_of(i)] for i in (one, other))
    return sorted(a) == sorted(b)


def _twins(facts: Facts, split: str, among: str) -> list[tuple[int, int, str]]:
    """Return (picture of ``split``, its twin in ``among``, how); in one split, the earlier picture is the original."""
    ours, theirs = ([i for i in facts.usable if facts.pictures[i].split == name] for name in (split, among))
    first: dict[bytes, int] = {}
    for index in theirs:
        first.setdefault(facts.pictures[index].pixels.digest, index)
    equal = {i: first[facts.pictures[i].pixels.digest] for i in ours if facts.pictures[i].pixels.digest in first}
    equal = {i: j for i, j in equal.items() if i != j}
    rest = [i for i in ours if i not in equal]
    alike = _alike(facts, rest, [j for j in theirs if j not in equal])
    return sorted([(i, j, EQUAL) for i, j in equal.items()] + [(i, j, ALIKE) for i, j in alike])


def _alike(facts: Facts, ours: Sequence[int], theirs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (one of ``ours``, the one of ``theirs`` that looks most like it), lower indices first in one split."""
    ours, theirs = ([i for i in some if facts.pictures[i].pixels.spread >= MIN_SPREAD] for some in (ours, theirs))
    if not ours or not theirs:
        return
    same_split = facts.pictures[ours[0]].split == facts.pictures[theirs[0]].split
    a, b = hashes(_thumbs(facts, ours)), hashes(_thumbs(facts, theirs))
    step = max(CELLS // len(theirs), 1)
    columns = np.array(theirs)
    for start in range(0, len(ours), step):
        rows = np.array(ours[start : start + step])
        agreement = a[start : start + step] @ b.T / a.shape[1]  # -1…1
        if same_split:
            agreement[columns[None] >= rows[:, None]] = -1
        best = agreement.argmax(axis=1)
        near = np.flatnonzero(agreement[np.arange(len(rows)), best] >= 2 * MIN_AGREEMENT - 1)
        pairs = list(zip(rows[near].tolist(), columns[best[near]].tolist(), strict=True))
        yield from look_alike(facts, pairs)


def look_alike(facts: Facts, pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield those of the pairs of pictures whose thumbnails agree."""
    if not pairs:
        return
    one, other = (_thumbs(facts, side) for side in zip(*pairs, strict=True))
    for pair, good in zip(pairs, agree(one, other), strict=True):
        if good:
            yield pair


def _thumbs(facts: Facts, indices: Sequence[int]) -> np.ndarray:
    """Return (n, THUMB, THUMB) float32."""
    return np.stack([facts.pictures[i].pixels.thumb for i in indices]).astype(np.float32)
