"""MLflow: where ``MLFLOW_TRACKING_URI`` leads, else into ``mlflow.db`` and ``mlartifacts`` beside the runs."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.loggers._contract import LOGGERS, Run
from utils.loggers._tracked import Tracked

EXPERIMENT = "yolo-backbones"  # where MLFLOW_EXPERIMENT_NAME names none
LONGEST = 500  # characters of a parameter that every version of MLflow takes


@LOGGERS.register("mlflow")
class MlflowLogger:
    """Gives settings, figures by epoch, pictures and files to a run that --resume goes on with."""

    def start(self, run: Run) -> None:
        from mlflow.tracking import MlflowClient  # optional and slow to import: only when a run starts

        project = run.folder.parent
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(project / 'mlflow.db').as_posix()}"
        self.client, self.tracked = MlflowClient(tracking_uri=uri), Tracked(run, "mlflow")
        if self.tracked.id is None:
            experiment = self._experiment(project / "mlartifacts" if uri.startswith("sqlite:") else None)
            self.tracked.begin(self.client.create_run(experiment, run_name=run.folder.name).info.run_id)
            for name, value in run.settings.items():
                self.client.log_param(self.id, name, str(value)[:LONGEST])
        else:
            self.client.update_run(self.id, status="RUNNING")
        for row in self.tracked.missing():
            self.epoch(row)

    @property
    def id(self) -> str:
        return self.tracked.id

    def _experiment(self, artifacts: Path | None) -> Any:
        """Return the id of the experiment, made if it is not there; ``artifacts`` is the folder of its files."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        return self.client.create_experiment(name, artifact_location=artifacts and artifacts.as_uri())

    def epoch(self, row: Mapping[str, float]) -> None:
        if not self.tracked.is_new(row):
            return
        for heading, value in row.items():
            if heading != "epoch" and math.isfinite(value):
                self.client.log_metric(self.id, heading.replace(":", "-"), value, step=int(row["epoch"]))
        self.tracked.note(row)

    def image(self, name: str, path: Path) -> None:
        self.client.log_artifact(self.id, str(path), "pictures")

    def file(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def finish(self, completed: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if completed else "KILLED")
