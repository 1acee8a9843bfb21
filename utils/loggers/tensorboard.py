"""TensorBoard event files in the folder of the run: ``tensorboard --logdir runs``."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from utils.loggers._contract import LOGGERS, Run


@LOGGERS.register("tensorboard")
class TensorBoardLogger:
    """Writes a curve per column of results.csv, and the pictures."""

    def start(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter  # optional and slow to import: only when a run starts

        self.last_epoch = len(run.rows)
        self.writer = SummaryWriter(str(run.folder), purge_step=len(run.rows) or None)

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

    def file(self, path: Path) -> None:
        """Event files have no place for others."""

    def finish(self, completed: bool) -> None:
        self.writer.close()
