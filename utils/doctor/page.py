"""The report as one HTML page with pictures of the examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.data.image.read import ImageError
from utils.doctor.checks.classes import class_counts
from utils.doctor.examine import heading, summary, verdict
from utils.doctor.facts import ERROR, NOTE, Example, Facts, Finding
from utils.doctor.pixels import read_pixels
from utils.html import escape, page, picture, table
from utils.plots.annotate import color_of, draw_boxes
from utils.text import shorten

PICTURES = {ERROR: 8, "warning": 8, NOTE: 4}  # of a finding, by its severity
LISTED = 40  # examples as text
CLASSES = 100  # rows of the table
ROOM = 4_000_000  # bytes of all pictures together
SIDE, QUALITY = 320, 70  # pixels of the longer side, of JPEG
ZOOM_BELOW, ZOOM_OUT, ZOOM_MIN = 0.12, 3.0, 48  # share of the longer side; sizes of the box; pixels of the picture
GREY = (170, 170, 170)

STYLE = """
.verdict { font-size: 1.15rem; font-weight: 600; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; }
section h2 { margin-top: 1.1rem; }
.tag { font-size: .75rem; font-weight: 700; letter-spacing: .03em; text-transform: uppercase; margin-right: .5rem; }
summary { cursor: pointer; margin: .6rem 0; }
figure img + img { margin-top: .4rem; }
ul { padding-left: 1.2rem; }
"""


@dataclass
class _Room:
    """What is left of the bytes for pictures."""

    left: int = ROOM


def render(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the whole page."""
    name = facts.spec.file.name
    state = "error" if any(finding.severity == ERROR for finding in findings) else "good"
    room = _Room()
    head = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="verdict {state}">{escape(verdict(findings).capitalize())}</p>',
        f'<p class="soft">python -m utils.doctor, at --imgsz {facts.imgsz}; {escape(facts.spec.file)}</p>',
        table(("split", "images", "unusable", "without labels", "boxes"), summary(facts)),
        _contents(findings),
    ]
    sections = [_section(facts, number, finding, room) for number, finding in enumerate(findings)]
    return page(f"Doctor: {name}", "\n".join([*head, *sections, _classes(facts)]), STYLE)


def _contents(findings: Sequence[Finding]) -> str:
    items = [
        f'<li><span class="tag {finding.severity}">{finding.severity}</span>'
        f'<a href="#f{number}">{escape(heading(finding))}</a></li>'
        for number, finding in enumerate(findings)
    ]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>No check has found anything.</p>"


def _section(facts: Facts, number: int, finding: Finding, room: _Room) -> str:
    figures = list(_figures(facts, finding, room))
    lines = [
        f"<li><code>{escape(facts.place(example))}</code> {escape(shorten(example.text, 200))}</li>"
        for example in finding.examples[:LISTED]
    ]
    if lines and finding.count > len(lines):
        lines.append(f"<li>… and {finding.count - len(lines)} more</li>")
    listed = f"<details{'' if figures else ' open'}><summary>Files</summary><ul>{''.join(lines)}</ul></details>"
    return (
        f'<section id="f{number}"><h2><span class="tag {finding.severity}">{finding.severity}</span>'
        f"{escape(heading(finding))}</h2>\n<p><b>Fix:</b> {escape(finding.fix)}</p>\n"
        f'<p class="soft">check <code>{escape(finding.check)}</code>, see docs/doctor.md</p>\n'
        f'<div class="pictures">{"".join(figures)}</div>\n{listed if lines else ""}</section>'
    )


def _figures(facts: Facts, finding: Finding, room: _Room) -> Iterator[str]:
    """Yield pictures of the first examples that have one, each picture once, until the room is used up."""
    seen: set[tuple] = set()
    for example in finding.examples:
        key = example.picture, example.rows, example.found
        if example.picture is None or key in seen:
            continue
        if len(seen) == PICTURES[finding.severity] or room.left <= 0:
            return
        seen.add(key)
        twin = (
            None if example.twin is None else (facts.at_labels if example.rows else facts.at_picture)(example.twin, "")
        )
        images = [_drawn(facts, one) for one in (example, twin) if one]
        shown = "".join(picture(image, facts.place(example), QUALITY) for image in images if image is not None)
        if not shown:
            continue
        caption = f"<code>{escape(facts.place(example))}</code><br>{escape(shorten(example.text, 120))}"
        figure = f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
        room.left -= len(figure)
        yield figure


def _drawn(facts: Facts, example: Example) -> np.ndarray | None:
    """Return the picture of an example with its boxes; None where it has become unreadable."""
    try:
        _, image = read_pixels(facts.pictures[example.picture].path, facts.spec.pixels)
    except (ImageError, OSError):
        return None
    rows = facts.rows_of(example.picture)
    others = [row for row in rows if row not in example.rows]
    marked = [(facts.corners[row], int(facts.classes[row]), facts.name_of(facts.classes[row])) for row in example.rows]
    if example.found:
        marked.append((np.array(example.found), len(facts.spec.names), "?"))
    focus = np.stack([box for box, _, _ in marked]) if marked else None
    image, window = _zoomed(image, focus)
    boxes = np.array([facts.corners[row] for row in others] + [box for box, _, _ in marked]).reshape(-1, 4)
    boxes = (boxes - np.tile(window[:2], 2)) / np.tile(window[2:] - window[:2], 2) * np.tile(image.shape[1::-1], 2)
    texts = [""] * len(others) + [shorten(name, 16) for _, _, name in marked]
    colors = [GREY] * len(others) + [color_of(class_id) for _, class_id, _ in marked]
    return draw_boxes(image, boxes.clip(-SIDE, 2 * SIDE), texts, colors, line_width=2)


def _zoomed(image: np.ndarray, focus: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture at the size of the page, around small boxes only, and its part [x1, y1, x2, y2], 0–1."""
    window = np.array([0.0, 0.0, 1.0, 1.0])
    size = np.array(image.shape[1::-1], float)
    if focus is not None:
        low, high = focus[:, :2].min(axis=0), focus[:, 2:].max(axis=0)
        longest = ((high - low) * size).max()
        if longest < ZOOM_BELOW * size.max():
            half = max(ZOOM_OUT * longest, ZOOM_MIN) / 2
            centre = np.clip((low + high) / 2 * size, 0, size)
            x1, y1 = np.maximum(centre - half, 0).astype(int)
            x2, y2 = np.minimum(centre + half, size).astype(int)
            image = image[y1:y2, x1:x2]
            window = np.array([x1, y1, x2, y2]) / np.tile(size, 2)
    scale = SIDE / max(image.shape[:2])
    shape = [max(round(side * scale), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST), window


def _classes(facts: Facts) -> str:
    counts = class_counts(facts)
    ids = sorted(facts.spec.names, key=lambda i: -sum(int(numbers[i]) for numbers in counts.values()))
    rows = [
        (i, shorten(facts.name_of(i), 60), *(int(numbers[i]) for numbers in counts.values())) for i in ids[:CLASSES]
    ]
    more = f"<p>… and {len(ids) - CLASSES} classes with fewer boxes</p>" if len(ids) > CLASSES else ""
    return f"<section><h2>Boxes of each class</h2>{table(('id', 'class', *counts), rows)}{more}</section>"
