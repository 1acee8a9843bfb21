"""Weights & Biases: ``WANDB_MODE``, ``WANDB_PROJECT``, ``WANDB_ENTITY`` and its other variables are read by itself."""

import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from utils.loggers._contract import LOGGERS, Run
from utils.loggers._tracked import Tracked

PROJECT = "yolo-backbones"  # where WANDB_PROJECT names none


@LOGGERS.register("wandb")
class WandbLogger:
    """Gives settings, figures by epoch, pictures and files to a run that --resume goes on with.

    What the terminal shows and the code are not among them.
    """

    def start(self, run: Run) -> None:
        import wandb  # optional and slow to import: only when a run starts

        self.wandb, self.folder, self.tracked = wandb, run.folder, Tracked(run, "wandb")
        if self.tracked.id is None:
            self.tracked.begin(secrets.token_hex(4))
        self.run = wandb.init(
            id=self.tracked.id,
            name=run.folder.name,
            project=None if os.environ.get("WANDB_PROJECT") else PROJECT,
            dir=str(run.folder),
            config=dict(run.settings),
            resume="allow",
            allow_val_change=True,  # --resume may have another --epochs
            settings=wandb.Settings(console="off", save_code=False),
        )
        self.run.define_metric("*", step_metric="epoch")
        for row in self.tracked.missing():
            self.epoch(row)

    def epoch(self, row: Mapping[str, float]) -> None:
        if self.tracked.is_new(row):
            self.run.log({heading: value for heading, value in row.items() if math.isfinite(value)})
            self.tracked.note(row)

    def image(self, name: str, path: Path) -> None:
        self.run.log({name: self.wandb.Image(str(path))})

    def file(self, path: Path) -> None:
        self.run.save(str(path), base_path=str(self.folder), policy="now")

    def finish(self, completed: bool) -> None:
        self.run.finish(exit_code=0 if completed else 1)
