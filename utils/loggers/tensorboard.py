"""TensorBoard event files: ``tensorboard --logdir runs``."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from utils.loggers._contract import LOGGERS


@LOGGERS.register("tensorboard")
def tensorboard() -> "TensorBoardLogger | None":
    """Return the logger where the package is installed."""
    return TensorBoardLogger() if importlib.util.find_spec("tensorboard") else None


class TensorBoardLogger:
    """Writes a curve per column of results.csv, and the pictures."""

    def start(self, run_dir: Path, rows: Sequence[Mapping[str, float]] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter  # optional and slow to import: only when a run starts

        self.last_epoch = len(rows)
        self.writer = SummaryWriter(str(run_dir), purge_step=len(rows) or None)

    def epoch(self, row: Mapping[str, float]) -> None:
        self.last_epoch = int(row["epoch"])
        for heading, value in row.items():
            if heading != "epoch":
                self.writer.add_scalar(heading, value, self.last_epoch)
        self.writer.flush()

    def image(self, name: str, path: Path) -> None:
        with Image.open(path) as picture:  # OpenCV opens no path with umlauts on Windows
            pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(name, pixels, self.last_epoch, dataformats="HWC")

    def finish(self) -> None:
        self.writer.close()
