"""Tell the layout of an exported file's output: by what its metadata say, else by its sizes."""

from collections.abc import Sequence

from utils.checkpoint.export_facts import ExportFacts
from utils.errors import ConfigError
from utils.predictions import B4CN, BN5C, BN6, EXPORTED_LAYOUTS, LAYOUTS, Layout

Shape = Sequence[int | str | None]  # an open size has a name or none
NMS_COLUMNS = 6  # of a file that suppresses itself: box, confidence, class


def possible_layouts(facts: ExportFacts, asked: str = "") -> list[Layout]:
    """Return what an output can be before its sizes are known; ``asked`` is the user's word for it, which counts most.

    Our own files name their layout; other programs name a task since YOLOv8.
    """
    if asked:
        return [LAYOUTS[asked]]
    if facts.layout:
        return [EXPORTED_LAYOUTS[facts.layout]]
    return [B4CN] if facts.task else [BN5C, B4CN]


def fitting(layouts: Sequence[Layout], shape: Shape, nc: int) -> list[Layout]:
    """Return those ``layouts`` that an output of ``shape`` can have; an open size may be any."""
    if len(shape) != 3:
        return []
    sizes = [(layout, shape[layout.channel_axis]) for layout in layouts]
    return [layout for layout, size in sizes if size == layout.channels(nc) or not isinstance(size, int)]


def holds_nms(shape: Shape, nc: int, facts: ExportFacts) -> bool:
    """Return whether an output looks like what suppression leaves, and the file like one that suppresses."""
    if facts.layout == BN6.name:  # ours, which says so
        return False
    rows = shape[1] if len(shape) == 3 else 0
    is_other = bool(facts.task or facts.suppresses) or BN5C.channels(nc) != NMS_COLUMNS
    return len(shape) == 3 and shape[2] == NMS_COLUMNS and is_other and rows != B4CN.channels(nc)


def other_layout(shape: Shape, nc: int, facts: ExportFacts) -> str:
    """Return how a shape is called that no known layout has."""
    if len(shape) != 3:
        return f"{len(shape)} dimensions instead of 3"
    if holds_nms(shape, nc, facts):
        return "the layout (B, N, 6) of files that hold NMS already"
    _, rows, columns = shape
    if rows == BN5C.channels(nc) or columns == B4CN.channels(nc):
        return "rows and columns of YOLOv5's or YOLOv8's layout exchanged"
    return f"neither (B, N, 5 + {nc}), YOLOv5's, nor (B, 4 + {nc}, N), YOLOv8's"


def ambiguous(path: str, shape: Shape, nc: int) -> ConfigError:
    """Return the error for an output that may be either."""
    shown = " × ".join(map(str, shape))
    what = f"{path}: its output {shown} can be (B, N, 5 + {nc}), YOLOv5's, or (B, 4 + {nc}, N), YOLOv8's"
    return ConfigError(what, f"say which: --layout {BN5C.name} or --layout {B4CN.name}; in Python, layout=")
