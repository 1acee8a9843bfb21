"""The table of backbones, ordered by mAP."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.benchmark.board import Board, Kind, number, open_board, pair
from utils.plots.pareto import Candidate, plot_pareto
from utils.text import markdown_cell


@dataclass(frozen=True)
class Row:
    """What was measured of one backbone; None = not measured. The fields are the headings of leaderboard.csv."""

    backbone: str
    head: str = ""  # of --heads; empty where the model has its own
    map50: float | None = None
    map: float | None = None  # mAP@0.5:0.95
    parameters: int | None = None
    parameters_fused: int | None = None
    gflops: float | None = None
    gflops_fused: float | None = None
    unfused_p50_ms: float | None = None
    unfused_p95_ms: float | None = None
    fused_p50_ms: float | None = None
    fused_p95_ms: float | None = None
    onnx_p50_ms: float | None = None
    onnx_p95_ms: float | None = None
    training_images_per_s: float | None = None
    peak_memory_gb: float | None = None
    remark: str = ""  # why something could not be measured
    source: str = ""  # fingerprint of the user's own file that the backbone is in
    finished: bool = False  # False: interrupted or failed, to be measured again

    @property
    def key(self) -> tuple[str, str]:
        return self.backbone, self.head

    @property
    def order(self) -> tuple:
        """Sort key: the best mAP first, then those without by latency, then the rest."""
        return (self.map is None, -(self.map or 0.0), self.fused_p50_ms is None, self.fused_p50_ms or 0.0)


COLUMNS: dict[str, Callable[[Row], str]] = {  # heading of the Markdown table → cell
    "backbone": lambda row: markdown_cell(row.backbone),
    "head": lambda row: row.head,
    "mAP50": number("map50", ".3f"),
    "mAP50-95": number("map", ".3f"),
    "parameters, training / fused (M)": pair("parameters", "parameters_fused", ".2f", 1e6),
    "GFLOPs, training / fused": pair("gflops", "gflops_fused", ".2f"),
    "unfused p50 / p95 (ms)": pair("unfused_p50_ms", "unfused_p95_ms", ".1f"),
    "fused p50 / p95 (ms)": pair("fused_p50_ms", "fused_p95_ms", ".1f"),
    "ONNX p50 / p95 (ms)": pair("onnx_p50_ms", "onnx_p95_ms", ".1f"),
    "training (images/s)": number("training_images_per_s", ".1f"),
    "peak memory (GB)": number("peak_memory_gb", ".2f"),
    "remark": lambda row: markdown_cell(row.remark),
}


def _draw(board: Board) -> None:
    """Draw pareto.png once a row has both figures."""
    shown = [row for row in board.ordered() if row.map is not None and row.fused_p50_ms is not None]
    candidates = [Candidate(" ".join(filter(None, row.key)), row.fused_p50_ms, row.map) for row in shown]
    if candidates:
        plot_pareto(candidates, board.folder / "pareto.png", board.notes)


LEADERBOARD = Kind("leaderboard", Row, COLUMNS, {"head": "head", "remark": "remark"}, _draw)


def open_leaderboard(project: str | Path, name: str, settings: dict[str, Any], notes: list[str]) -> Board:
    """Return the leaderboard that was begun with these settings, or an empty one, see ``board.open_board``."""
    return open_board(LEADERBOARD, project, name, settings, notes)
