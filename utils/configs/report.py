"""The flags of ``python -m utils.report``."""

from dataclasses import dataclass

from utils.config import arguments, option


@dataclass(frozen=True)
class ReportConfig:
    """Every option of ``python -m utils.report``."""

    runs: tuple[str, ...] = arguments(help="folders of runs; one alone gets its report, several stand side by side")
    output: str = option(
        "",
        help="the HTML file; without it report.html in the folder of the run, or of several runs in a new folder below "
        "runs/report",
    )
