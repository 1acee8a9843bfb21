"""The table of one weights file in several formats, PyTorch first, then as ``utils.formats`` lists them."""

from dataclasses import dataclass

from utils.benchmark.board import NOTHING, Board, Kind, number, pair
from utils.benchmark.mode import INT8, PYTORCH
from utils.formats import NAMES
from utils.plots.formats import Bar, plot_formats
from utils.text import markdown_cell

ORDER = (PYTORCH, *(name + end for name in NAMES for end in ("", INT8)))


@dataclass(frozen=True)
class Row:
    """What was measured of one format; None = not measured. The fields are the headings of formats.csv."""

    format: str
    megabytes: float | None = None
    map: float | None = None  # mAP@0.5:0.95
    map50: float | None = None
    images: int | None = None  # of the validation
    p50_ms: float | None = None  # of one image
    p95_ms: float | None = None
    passes: int | None = None  # behind both
    images_per_s: float | None = None
    batch: int | None = None  # of images_per_s
    box_px: float | None = None  # largest differences from PyTorch
    score: float | None = None
    remark: str = ""  # why something could not be measured, or how it was
    source: str = ""  # versions of the packages that the format needs, and what integers are calibrated with
    finished: bool = False  # False: refused, interrupted or failed, to be measured again

    @property
    def key(self) -> tuple[str]:
        return (self.format,)

    @property
    def order(self) -> int:
        return ORDER.index(self.format)


def _difference(row: Row) -> str:
    return NOTHING if row.box_px is None else f"{row.box_px:.0e} px, {row.score:.0e}"


def formats_table(batch: int) -> Kind:
    """Return what the table is like with images/s in batches of ``batch``."""
    columns = {
        "format": lambda row: row.format,
        "size (MB)": number("megabytes", ".1f"),
        "mAP50-95": number("map", ".4f"),
        "mAP50": number("map50", ".4f"),
        "one image p50 / p95 (ms)": pair("p50_ms", "p95_ms", ".1f"),
        f"images/s, batch {batch}": number("images_per_s", ".1f"),
        "difference, box and score": _difference,
        "remark": lambda row: markdown_cell(row.remark),
    }
    return Kind("formats", Row, columns, {"remark": "remark"}, _draw)


def _draw(board: Board) -> None:
    """Draw formats.png once a format has been timed."""
    bars = [Bar(row.format, row.p50_ms, row.p95_ms, row.map) for row in board.ordered() if row.p50_ms is not None]
    if bars:
        plot_formats(bars, board.folder / "formats.png", board.notes)
