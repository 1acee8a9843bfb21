"""Which images must stay together: those of one video or scene, and pictures that look alike."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from utils.data.image.read import ImageError
from utils.doctor.alike import MIN_AGREEMENT, MIN_SPREAD, agree, hashes
from utils.doctor.pixels import Pixels, read_pixels
from utils.errors import ConfigError
from utils.pixels import PixelFormat
from utils.progress import progress_bar
from utils.text import shorten

THREADS = 4  # that decode
AT_ONCE = 512  # pictures that are compared with all before them
BLOCK = 64  # thumbnails that one picture is compared with at a time


class Groups:
    """Sets of the numbers 0…n-1 that grow together."""

    def __init__(self, count: int) -> None:
        self.first = np.arange(count)  # the lowest number of the set of each

    def unite(self, one: int, other: int) -> None:
        low, high = sorted((self.first[one], self.first[other]))
        if low != high:
            self.first[self.first == high] = low

    def ids(self) -> np.ndarray:
        """Return (n,) the group of each number, counted from 0."""
        return np.unique(self.first, return_inverse=True)[1]


def unite_by_name(groups: Groups, images: Sequence[str], root: Path, pattern: str) -> int:
    """Unite images of which a pattern finds the same in the path below ``root``; return how many it finds nothing in.

    Raises: ConfigError for a pattern that is none, or that fits no image.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"--group {pattern}: no regular expression ({error})", r"as in --group '(clip\d+)_'"
        ) from error
    first: dict[tuple, int] = {}
    strangers = 0
    for number, image in enumerate(images):
        if found := expression.search(_inside(image, root)):
            groups.unite(first.setdefault(found.groups() or (found[0],), number), number)
        else:
            strangers += 1
    if strangers == len(images):
        example = shorten(_inside(images[0], root), 80)
        raise ConfigError(f"--group {pattern}: is found in no path of an image, such as {example}", "correct it")
    return strangers


def _inside(image: str, root: Path) -> str:
    """Return the path of an image as it is below ``root``, with ``/`` between folders."""
    return image.removeprefix(f"{root}{os.sep}").replace(os.sep, "/")


def unite_alike(groups: Groups, images: Sequence[str], format_: PixelFormat) -> None:
    """Unite equal files, and pictures that look alike; a picture that cannot be decoded stays alone."""
    pixels = _read_all(images, format_)
    same: dict[bytes, int] = {}
    for number, facts in enumerate(pixels):
        if facts:
            groups.unite(same.setdefault(facts.digest, number), number)
    rich = np.array([number for number, facts in enumerate(pixels) if facts and facts.spread >= MIN_SPREAD], int)
    if not len(rich):
        return
    thumbs = np.stack([pixels[number].thumb for number in rich])
    bits = hashes(thumbs.astype(np.float32))
    for start in range(0, len(rich), AT_ONCE):
        agreement = bits[start : start + AT_ONCE] @ bits[: start + AT_ONCE].T / bits.shape[1]  # -1…1
        for place, row in enumerate(agreement, start):
            near = np.flatnonzero(row[:place] >= 2 * MIN_AGREEMENT - 1)
            _unite_with(groups, rich, thumbs, place, near[np.argsort(-row[near], kind="stable")])


def _unite_with(groups: Groups, rich: np.ndarray, thumbs: np.ndarray, place: int, near: np.ndarray) -> None:
    """Unite a picture with those of ``near`` that it looks like; one that is in its group by then is not compared."""
    own = int(rich[place])
    while len(near):
        block, near = near[:BLOCK], near[BLOCK:]
        one = np.broadcast_to(thumbs[place].astype(np.float32), (len(block), *thumbs.shape[1:]))
        for other in block[agree(one, thumbs[block].astype(np.float32))]:
            groups.unite(int(rich[other]), own)
        near = near[groups.first[rich[near]] != groups.first[own]]


def _read_all(images: Sequence[str], format_: PixelFormat) -> list[Pixels | None]:
    def read(image: str) -> Pixels | None:
        try:
            return read_pixels(image, format_)[0]
        except (ImageError, OSError):
            return None

    found, pool = [], ThreadPoolExecutor(THREADS)
    try:
        starts = range(0, len(images), AT_ONCE)
        with progress_bar(starts, f"{'comparing pictures':>22}", stays=False) as bar:
            for start in bar:
                found += pool.map(read, images[start : start + AT_ONCE])
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return found


def sizes_and_counts(ids: np.ndarray, labels: Sequence[np.ndarray], nc: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (G,) of each group, and (G, nc) those that show a class."""
    members = defaultdict(list)
    for number, group in enumerate(ids.tolist()):
        members[group].append(number)
    counts = np.zeros((len(members), nc), int)
    for group, numbers in members.items():
        for number in numbers:
            counts[group, np.unique(labels[number][:, 0].astype(int))] += 1
    return np.array([len(members[group]) for group in range(len(members))]), counts
