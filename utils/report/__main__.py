"""Write a page about a training run, or about several side by side.

python -m utils.report runs/train/exp                    # report.html in that folder
python -m utils.report runs/train/exp runs/train/exp2    # both on one page, and a table on the terminal
"""

import logging
from pathlib import Path

from utils.command import run_command
from utils.configs.report import ReportConfig

log = logging.getLogger(__name__)

MADE_BY_US = "training report</title>", "training runs side by side</title>"


def main(cfg: ReportConfig) -> Path:
    # here, because OpenCV and NumPy take their time to import, and --help should not
    from utils.errors import ConfigError
    from utils.report.folder import read_folder
    from utils.report.one import run_page
    from utils.report.several import comparison_page, comparison_text
    from utils.runs import new_run_dir, write_text

    if not cfg.runs:
        raise ConfigError("no run is named", "give its folder: python -m utils.report runs/train/exp")
    runs = [read_folder(Path(path)) for path in cfg.runs]
    twice = [
        run.path for place, run in enumerate(runs) if run.path.resolve() in {r.path.resolve() for r in runs[:place]}
    ]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice", "name each run once")
    output = _checked(Path(cfg.output)) if cfg.output else None
    if len(runs) == 1:
        output = output or runs[0].path / "report.html"
        write_text(output, run_page(runs[0]))
    else:
        document = comparison_page(runs)
        output = output or new_run_dir("runs/report", "exp") / "report.html"
        write_text(output, document)
        log.info(comparison_text(runs))
    log.info("report: %s", output.absolute())
    return output


def _checked(path: Path) -> Path:
    """Return the file to write. Raises: ConfigError where that would cost the user another file."""
    from utils.errors import ConfigError

    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {path}: the report is a page", "give a name that ends in .html")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}", "make it, or give another name")
    if path.exists() and not (path.is_file() and any(mark in _start(path) for mark in MADE_BY_US)):
        raise ConfigError(f"--output {path}: exists, and is no report of ours", "give another name")
    return path


def _start(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(2000)


if __name__ == "__main__":
    run_command(main, ReportConfig)
