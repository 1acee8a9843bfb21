"""Draw one picture of the embedded data set: shapes that differ in form only, on textured ground, partly hidden.

Colour, texture, size, turn and place say nothing about the class. Lines, bars and thin ellipses lie behind and before
the shapes and belong to no class. The box of an object encloses those of its pixels that can be seen.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from utils.data.shapes.textures import texture

CLASSES = ("disc", "square", "triangle", "star", "ring", "cross")

SIZES = ((320, 240), (352, 256), (384, 288), (288, 352))  # width, height
MAX_OBJECTS = 8
EMPTY_SHARE = 0.04  # pictures without an object
DIAMETER = (34.0, 150.0)  # pixels, log-uniform
SMALL_DIAMETER = (20.0, 34.0)
SMALL_SHARE = 0.1
SQUEEZE = 0.25  # the most by which one axis is shortened
TOUCH_SHARE = 0.4  # objects that may hide others; the rest lie free when they are placed
MIN_VISIBLE = 0.5  # of an object's area
MIN_INSET = 0.3  # of the radius: least distance of an object's centre from the border
TRIES = 12  # to place an object

MIN_CONTRAST = 65.0  # RGB distance between an object and the ground below it
GROUND_CONTRAST = 60.0  # within a texture, per channel
OBJECT_CONTRAST = 50.0
MAX_CLUTTER = 4  # lines, bars and ellipses behind the objects
MAX_COVERS = 2  # the same before them
NOISE = 9.0  # largest standard deviation
BLUR = 1.1  # largest sigma, pixels
HOLE = 0.55  # inner by outer radius of a ring
NOTCH = 0.42  # inner by outer radius of a star
ARM = 0.32  # half width by half length of a cross

SUBPIXEL_BITS = 4  # of OpenCV's fixed-point coordinates


@dataclass
class _Scene:
    """The canvas, and what each of its pixels shows."""

    canvas: np.ndarray  # (H, W, 3) float32 RGB, 0–255
    owner: np.ndarray  # (H, W) uint8: 0 no object, k the k-th object
    areas: list[float] = field(default_factory=list)  # of each object, in pixels, hidden or not
    classes: list[int] = field(default_factory=list)


def draw_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 RGB and its labels (n, 5) [class, cx, cy, w, h], 0–1."""
    width, height = SIZES[rng.integers(len(SIZES))]
    ground = texture(rng, (height, width), rng.uniform(30, 225, 3), GROUND_CONTRAST)
    ground += texture(rng, (height, width), np.zeros(3), GROUND_CONTRAST / 2)
    scene = _Scene(ground, np.zeros((height, width), np.uint8))
    for _ in range(rng.integers(MAX_CLUTTER + 1)):
        _place_clutter(rng, scene)
    if rng.random() >= EMPTY_SHARE:
        for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
            _place_object(rng, scene)
    for _ in range(rng.integers(MAX_COVERS + 1)):
        _place_clutter(rng, scene)
    return _photograph(rng, scene.canvas), _labels(scene)


def _place_object(rng: np.random.Generator, scene: _Scene) -> None:
    """Draw an object where it hides none too much; a crowded picture may have no place for it."""
    class_id = int(rng.integers(len(CLASSES)))
    low, high = SMALL_DIAMETER if rng.random() < SMALL_SHARE else DIAMETER
    radius = np.exp(rng.uniform(np.log(low), np.log(high))) / 2
    may_touch = rng.random() < TOUCH_SHARE
    turn = _rotation(rng) * [1, 1 - rng.uniform(0, SQUEEZE)] @ _rotation(rng)
    contours = [radius * contour @ turn for contour in _outline(CLASSES[class_id])]
    outer, *holes = (cv2.contourArea(contour.astype(np.float32)) for contour in contours)
    height, width = scene.owner.shape
    for _ in range(TRIES):
        inset = radius * rng.uniform(MIN_INSET, 1)
        centre = rng.uniform((inset, inset), (width - inset, height - inset))
        mask = _filled(scene.owner.shape, [contour + centre for contour in contours])
        if not may_touch and scene.owner[mask > 0].any():
            continue
        if _paint(rng, scene, mask, [*scene.areas, outer - sum(holes)], len(scene.areas) + 1):
            scene.classes.append(class_id)
            return


def _place_clutter(rng: np.random.Generator, scene: _Scene) -> None:
    """Draw a line, a bar or a thin ellipse that belongs to no class."""
    height, width = scene.owner.shape
    length, thickness = rng.uniform(40, width), rng.choice([rng.uniform(1, 4), rng.uniform(5, 14)])
    bar = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    form = bar if rng.random() < 0.6 else _polygon(32)
    contour = form * (length / 2, thickness / 2) @ _rotation(rng) + rng.uniform((0, 0), (width, height))
    _paint(rng, scene, _filled(scene.owner.shape, [contour]), scene.areas, 0)


def _paint(rng: np.random.Generator, scene: _Scene, mask: np.ndarray, areas: list[float], owner: int) -> bool:
    """Fill a mask with a texture, in place, unless less than MIN_VISIBLE of an object would remain to be seen."""
    after = np.where(mask >= 128, np.uint8(owner), scene.owner)
    seen = np.bincount(after.ravel(), minlength=len(areas) + 1)[1:]
    if not mask.any() or any(seen < MIN_VISIBLE * np.array(areas)):
        return False
    scene.owner, scene.areas = after, areas
    x, y, width, height = cv2.boundingRect(mask)
    region = np.s_[y : y + height, x : x + width]
    alpha = mask[region][..., None] / np.float32(255)
    ground = scene.canvas[region]
    colour = _contrasting_colour(rng, np.array(cv2.mean(ground, mask[region])[:3]))
    ground += alpha * (texture(rng, (height, width), colour, OBJECT_CONTRAST) - ground)
    return True


def _contrasting_colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    while True:
        colour = rng.uniform(10, 245, 3)
        if np.linalg.norm(colour - ground) >= MIN_CONTRAST:
            return colour


def _labels(scene: _Scene) -> np.ndarray:
    height, width = scene.owner.shape
    labels = np.zeros((len(scene.classes), 5))
    for index, class_id in enumerate(scene.classes):
        x, y, w, h = cv2.boundingRect((scene.owner == index + 1).astype(np.uint8))
        labels[index] = class_id, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
    return labels


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Return the canvas as a camera might see it: brighter or darker, out of focus, noisy."""
    image = canvas * rng.uniform(0.75, 1.2) + rng.uniform(-20, 20)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.1, BLUR))
    image += rng.uniform(0, NOISE) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _outline(kind: str) -> list[np.ndarray]:
    """Return the contours (k, 2) of a shape in the unit circle; a second contour is a hole."""
    a, spikes = ARM, np.where(np.arange(10) % 2, NOTCH, 1.0)[:, None]
    cross = [(a, 1), (a, a), (1, a), (1, -a), (a, -a), (a, -1), (-a, -1), (-a, -a), (-1, -a), (-1, a), (-a, a), (-a, 1)]
    return {
        "disc": [_polygon(48)],
        "square": [_polygon(4)],
        "triangle": [_polygon(3)],
        "star": [spikes * _polygon(10)],
        "ring": [_polygon(48), HOLE * _polygon(48)],
        "cross": [np.array(cross) / np.hypot(1, a)],
    }[kind]


def _polygon(corners: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack((np.cos(angles), np.sin(angles)), axis=1)


def _rotation(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _filled(shape: tuple[int, int], contours: list[np.ndarray]) -> np.ndarray:
    """Return (H, W) uint8, 0 outside and 255 inside of the contours, in between on their edge."""
    fixed = [np.round(contour * 2**SUBPIXEL_BITS).astype(np.int32) for contour in contours]
    return cv2.fillPoly(np.zeros(shape, np.uint8), fixed, 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
