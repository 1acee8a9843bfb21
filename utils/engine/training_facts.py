"""What a checkpoint says about its training: the defaults of ``val.py`` and ``detect.py``."""

import logging
from dataclasses import dataclass
from pathlib import Path

from utils.checkpoint.load import load_checkpoint

log = logging.getLogger(__name__)

DEFAULT_DATA = "data/shapes.yaml"
DEFAULT_IMGSZ = 640


@dataclass(frozen=True)
class TrainingFacts:
    """Data-set YAML and image size of a training; None where the file does not say."""

    data: str | None = None
    imgsz: int | None = None

    def default_data(self) -> str:
        """Return the data set to evaluate on where the user names none, and log which."""
        return _log_choice("data", self.data, DEFAULT_DATA)

    def default_imgsz(self) -> int:
        """Return the image size to use where the user names none, and log which."""
        return _log_choice("imgsz", self.imgsz, DEFAULT_IMGSZ)


def training_facts(weights: str | Path) -> TrainingFacts:
    """Return what a weights file says; an exported one says nothing."""
    if Path(weights).suffix.lower() != ".pt":
        return TrainingFacts()
    facts = load_checkpoint(weights).facts
    options = (facts.get("training") or {}).get("opt")
    return TrainingFacts(options.get("data") if isinstance(options, dict) else None, facts.get("imgsz"))


def _log_choice(what, own, default):
    log.info("%s: %s (%s)", what, own or default, "that of the training" if own else "the default")
    return own or default
