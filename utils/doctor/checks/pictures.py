"""Pictures that show nothing, are damaged, or are stored in a way that surprises."""

from collections.abc import Iterator

import numpy as np

from utils.doctor.facts import NOTE, WARNING, Facts, Finding

EMPTY_SPREAD = 2.0  # largest standard deviation of a colour in a picture that has but one
DARK, BRIGHT = 10.0, 245.0  # mean grey value
LOST_SHARE = 0.02  # of the height
FEW = 0.1  # share below which one kind is the odd one out
ODD_RATIO = 5.0  # between the sides
SMALL, LARGE = 0.25, 8.0  # longer side by the median one
COMMON_MODES = frozenset({"", "RGB", "L"})
MODES = {
    "1": "black and white only",
    "P": "a palette",
    "PA": "a palette with transparency, which is dropped",
    "LA": "grey with transparency, which is dropped",
    "RGBA": "colours with transparency, which is dropped",
    "CMYK": "inks for printing, which are turned into RGB",
    "I;16": "16 bits, of which the high byte is kept",
    "I;16B": "16 bits, of which the high byte is kept",
    "I": "32 bits",
}


def one_colour(facts: Facts) -> Iterator[Finding]:
    found = [i for i in facts.usable if facts.pictures[i].pixels.spread < EMPTY_SPREAD]
    yield from Finding.of(
        WARNING,
        "pictures of one colour",
        "look at them: a broken download or camera makes such files; remove them",
        [facts.at_picture(i, f"grey value {facts.pictures[i].pixels.mean:.0f} everywhere") for i in found],
    )


def dark_or_bright(facts: Facts) -> Iterator[Finding]:
    found = [
        (i, pixels.mean)
        for i in facts.usable
        if (pixels := facts.pictures[i].pixels).spread >= EMPTY_SPREAD and not DARK <= pixels.mean <= BRIGHT
    ]
    yield from Finding.of(
        WARNING,
        "pictures that are nearly black or white",
        "look at them: where the objects cannot be seen, remove the picture",
        [facts.at_picture(i, f"mean grey value {mean:.0f} of 255") for i, mean in found],
    )


def lost_data(facts: Facts) -> Iterator[Finding]:
    found = [(i, lost) for i in facts.usable if (lost := facts.pictures[i].pixels.lost) >= LOST_SHARE]
    yield from Finding.of(
        WARNING,
        "damaged JPEG files, whose lower part is grey",
        "copy or download them again, or remove them",
        [facts.at_picture(i, f"the last {lost:.0%} of its height are the grey of lost data") for i, lost in found],
    )


def turned_by_exif(facts: Facts) -> Iterator[Finding]:
    found = [(i, turn) for i in facts.usable if (turn := facts.pictures[i].pixels.orientation) != 1]
    yield from Finding.of(
        NOTE,
        "pictures that are turned upright as their EXIF data say",
        "labels must belong to the upright picture, as other-reading tests; some tools label the stored one",
        [facts.at_picture(i, f"EXIF orientation {turn}") for i, turn in found],
    )


def kinds_of_pixels(facts: Facts) -> Iterator[Finding]:
    odd = [(i, mode) for i in facts.usable if (mode := facts.pictures[i].pixels.mode) not in COMMON_MODES]
    yield from Finding.of(
        NOTE,
        "pictures that are not stored as 8-bit RGB or grey",
        "nothing has to be done, if what the picture shows is in what is kept",
        [facts.at_picture(i, f"{mode}: {MODES.get(mode, 'turned into RGB')}") for i, mode in odd],
    )
    paged = [(i, pages) for i in facts.usable if (pages := facts.pictures[i].pixels.pages) > 1]
    yield from Finding.of(
        WARNING,
        "pictures of several grey pages, of which the first alone is read",
        "if the pages are channels of one image, say how many with 'channels' in the data-set YAML",
        [facts.at_picture(i, f"{pages} pages of one size") for i, pages in paged],
    )
    grey = [i for i in facts.usable if facts.pictures[i].pixels.is_grey]
    colour = len(facts.usable) - len(grey)
    fewer = grey if len(grey) < colour else [i for i in facts.usable if not facts.pictures[i].pixels.is_grey]
    if len(fewer) <= FEW * len(facts.usable):
        text = "grey" if fewer is grey else "in colour"
        yield from Finding.of(
            NOTE,
            f"pictures {text}, where most of the {len(facts.usable)} are not",
            "nothing has to be done, if such pictures will be met later too",
            [facts.at_picture(i, text) for i in fewer],
        )


def odd_sizes(facts: Facts) -> Iterator[Finding]:
    if not facts.usable:
        return
    longer = np.array([max(facts.pictures[i].shape) for i in facts.usable])
    ratio = longer / np.array([min(facts.pictures[i].shape) for i in facts.usable])
    median = float(np.median(longer))
    odd = (longer < SMALL * median) | (longer > LARGE * median) | (ratio > ODD_RATIO)
    shapes = [(facts.usable[k], facts.pictures[facts.usable[k]].shape) for k in np.flatnonzero(odd)]
    yield from Finding.of(
        WARNING if len(shapes) > FEW * len(longer) else NOTE,
        "pictures much smaller, larger or narrower than the others",
        "look whether they are thumbnails, panoramas or screenshots; cut or remove them where objects become too small",
        [facts.at_picture(i, f"{w}×{h} pixels; the median longer side is {median:.0f}") for i, (h, w) in shapes],
    )
