"""Which options and hyper-parameters of a run are not the defaults, and how the run is started again."""

import shlex
from collections.abc import Mapping
from typing import Any

from utils.config import SINGLE_CALL, option_fields, typed_option
from utils.configs.train import WITHOUT_RECIPE, TrainConfig
from utils.report.folder import RunFolder
from utils.runs import ROOT
from utils.text import safe_text
from utils.yaml_file import read_yaml

HYPS = ("hyp.scratch-low.yaml", "hyp.yolov8.yaml")  # defaults of the two heads; a key of the second alone is ``dfl``
ASIDE = {"project", "name", "exist_ok", "save_dir"}  # where a run lies: they make no other run
Values = dict[str, Any]


def default_options() -> Values:
    """Return the options of a run for which none was given."""
    fields = option_fields(TrainConfig)
    return {field.name: WITHOUT_RECIPE.get(field.name, field.default) for field in fields}


def default_hyp(hyp: Mapping[str, Any]) -> Values:
    """Return the hyper-parameters that the head of a run has by default, but for those that are 0 or none."""
    return read_yaml(ROOT / "data/hyps" / HYPS["dfl" in hyp])


def changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Values:
    """Return what differs from the defaults; of what has none here, as options of YOLOv5's own, what is switched on."""
    return {
        key: value
        for key, value in values.items()
        if key not in ASIDE and (_plain(value) != _plain(defaults[key]) if key in defaults else bool(value))
    }


def shown(value: Any) -> str:
    """Return a value as it is read."""
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value)) or "–"
    return "–" if value is None or value == "" else safe_text(value)


def restart(run: RunFolder) -> str:
    """Return the command that starts the same run again."""
    folder, known = shlex.quote(safe_text(run.path)), default_options()
    if run.hyp and run.options and set(run.options) <= set(known):
        return f"python train.py --config {folder}/opt.yaml --hyp {folder}/hyp.yaml"
    own = {key: value for key, value in run.options.items() if key in known and key not in SINGLE_CALL}
    parts = ["python", "train.py"]
    for key, value in changed(own, known).items():
        parts += typed_option(key, tuple(value) if isinstance(value, list) else value)
    return " ".join(shlex.quote(safe_text(part)) for part in parts)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
