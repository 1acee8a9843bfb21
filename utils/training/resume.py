"""Go on with a run exactly where it was: what last.pt holds for that, and how it is taken up again.

``training.resume`` of last.pt, see ``capture``: place, table, weights, optimizer, gradients not used yet, early
stopping, random generators, what the data were, and what the numbers depend on besides. The batches need nothing: each
is a function of seed, epoch and number.
"""

import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.detector import DetectionModel
from utils.checkpoint.content import Checkpoint
from utils.checkpoint.load import build_model, load_checkpoint
from utils.collective import gather, mean
from utils.config import SINGLE_CALL, make_config
from utils.configs.shared import AUTO
from utils.configs.train import TrainConfig
from utils.data.scan.spec import find_data_yaml
from utils.device import cpu_name
from utils.dist import rank, world
from utils.errors import CheckpointError, ConfigError
from utils.runs import newest, remove_leftovers
from utils.training.fingerprint import differences
from utils.training.generators import generator_states, set_generators
from utils.training.time_budget import follow
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)

LAST, PREVIOUS, DAMAGED = "last.pt", "last.prev.pt", "last.damaged.pt"
PLACES = "runs/train/*/weights/last*.pt"  # a run may have been killed when it had last.prev.pt alone
# options that may differ from those of the run: how long, how often, where and with what to look on
MAY_CHANGE = {
    "epochs",
    "time",
    "patience",
    "device",
    "workers",
    "cache",
    "checkpointing",
    "compile",
    "data",
    "val",
    "save",
    "save_steps",
    "save_period",
    "on_nonfinite",
    "plots",
    "report",
    "logger",
    "log_weights",
}


@dataclass(frozen=True)
class Resumed:
    """A run to go on with: its folder, the file that holds it, and its options with those that were given now."""

    run_dir: Path
    checkpoint: Checkpoint
    cfg: TrainConfig
    damaged: bool  # last.pt was, and ``checkpoint`` is the one before

    @property
    def state(self) -> dict[str, Any]:
        return self.checkpoint.facts["training"]["resume"]

    @property
    def hyp(self) -> dict[str, Any]:
        return self.checkpoint.facts["training"]["hyp"]

    def model(self) -> DetectionModel:
        """Return the model with the weights of its last step, not their average."""
        model = build_model(self.checkpoint)
        model.load_state_dict(self.state["model"])
        return model

    @property
    def epoch(self) -> int:
        """The epoch that it goes on in."""
        return self.state["epoch"]

    def rows(self) -> list[dict[str, float]]:
        """Return the rows of results.csv."""
        return [dict(zip(self.state["headings"], row, strict=True)) for row in self.state["rows"].tolist()]

    def check_data(self, now: Mapping[str, Any]) -> None:
        """Raises: ConfigError listing what differs from the data of the run, by their fingerprints."""
        if found := differences(self.state["data"], now):
            raise _changed(self.checkpoint.path, "the data have changed", found)


def find_resumed(cfg: TrainConfig) -> Resumed | None:
    """Return the run of --resume, None without it. Raises: CheckpointError, ConfigError."""
    if cfg.resume is None:
        return None
    path = _find(cfg.resume)
    if path.parent.name != "weights":
        fix = "put the file back into the folder weights of its run, or start a new run from it with --weights"
        raise ConfigError(f"{path}: is not in the folder 'weights' of a run", fix)
    checkpoint, damaged = read_last(path)
    if "resume" not in (checkpoint.facts.get("training") or {}):
        fix = f"--resume {shlex.quote(str(path.with_name(LAST)))}, or start a new run from its weights with --weights"
        raise CheckpointError(f"{checkpoint.path}: holds weights, but no state of a run to go on with", fix)
    return Resumed(path.parent.parent.absolute(), checkpoint, _options(checkpoint, cfg), damaged)


def device_of_run(cfg: TrainConfig) -> str:
    """Return the option --device of the run of --resume, as its folder notes it; empty where there is none."""
    if cfg.resume is None:
        return ""
    options = _find(cfg.resume).absolute().parents[1] / "opt.yaml"
    return str(read_yaml(options).get("device", "")) if options.is_file() else ""


def _find(given: str) -> Path:
    """Return the last.pt of a run folder, of its folder weights, of the newest run, or the file itself."""
    if not given:
        path = newest(PLACES, Path.cwd())
        if path is None:
            raise ConfigError(f"no run to go on with: there is no {Path.cwd() / PLACES}", "--resume RUN_FOLDER")
        return path.with_name(LAST)
    path = Path(given)
    if path.is_dir():
        path = (path / "weights" if (path / "weights").is_dir() else path) / LAST
    if not path.exists() and not path.with_name(PREVIOUS).exists():
        raise ConfigError(f"{path}: does not exist", "--resume RUN_FOLDER, as runs/train/exp, or its weights/last.pt")
    return path


def read_last(path: Path) -> tuple[Checkpoint, bool]:
    """Return the checkpoint, or where it is damaged the one before it, and whether it is. Raises: CheckpointError."""
    try:
        return load_checkpoint(path), False
    except CheckpointError as error:
        before = path.with_name(PREVIOUS)
        if path.name != LAST or not before.exists():
            raise
        try:
            found = load_checkpoint(before)
        except CheckpointError:
            raise error from None
        log.warning("%s\ngoing on from the state before it, %s", error.what, before.name)
        return found, True


def _options(checkpoint: Checkpoint, cfg: TrainConfig) -> TrainConfig:
    """Return the options of the run with those given now. Raises: ConfigError for one that a run cannot change."""
    training = checkpoint.facts["training"]
    before = make_config(TrainConfig, training["opt"])
    given = {name: getattr(cfg, name) for name in sorted(cfg.given - set(SINGLE_CALL))}
    if cfg.batch_size == AUTO:  # as the run has it
        given.pop("batch_size", None)
    changed = [
        f"--{name.replace('_', '-')} {_shown(value)}, it was {_shown(getattr(before, name))}"
        for name, value in given.items()
        if name not in MAY_CHANGE and value != getattr(before, name)
    ]
    if changed:
        raise _changed(checkpoint.path, "these options belong to the run", changed)
    given.setdefault("data", _data_file(before.data, training["resume"]["data_file"]))
    return replace(before, **given, given=cfg.given, from_file=cfg.from_file)


def _data_file(written: str, absolute: str) -> str:
    """Return the data set as it was written where that still leads to the same file, else its absolute path."""
    try:
        leads_there = str(find_data_yaml(written).absolute()) == absolute
    except ConfigError:  # in another folder than when the run began
        leads_there = False
    return absolute if Path(absolute).is_file() and not leads_there else written


def _shown(value: Any) -> str:
    """Return the value of an option as it would be typed."""
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return "not given" if value is None or not text else text


def _changed(path: Path, what: str, details: list[str]) -> ConfigError:
    fix = f"undo that, or start a new run from the weights: --weights {shlex.quote(str(path))}"
    return ConfigError("\n  ".join([f"{path}: cannot go on with this run: {what}:", *details]), fix)


def capture(session: Any) -> dict[str, Any]:
    """Return the state of a run between two batches, tensors and plain data."""
    s, state = session, session.state
    table = torch.tensor([list(row.values()) for row in state.rows], dtype=torch.float64)
    return {
        "epoch": state.epoch,
        "batch": state.batch,
        "losses": mean(state.losses),
        "headings": list(state.rows[0]) if state.rows else [],
        "rows": table,  # (epochs, headings)
        "model": s.model.state_dict(),
        "stepper": s.stepper.state_dict(),
        "stopper": s.stopper.state_dict(),
        "halvings": state.halvings,
        "time": s.budget.state_dict() if s.budget else None,
        "maps": s.image_weights.maps if s.image_weights else None,
        "generators": gather(generator_states(s.device)),  # of each process
        "data": s.data_facts,
        "data_file": str(s.spec.file),
        "machine": numerics(s.device, s.amp_dtype, s.cfg.compile),
    }


def _tidy(session: Any, is_damaged: bool) -> None:
    """Remove what killed processes have left in the run folder, and put a damaged last.pt aside.

    The next save would keep it in the place of the one that is whole.
    """
    for folder in (session.run_dir, session.weights_dir):
        remove_leftovers(folder)
    if is_damaged and session.last.exists():
        session.last.replace(session.last.with_name(DAMAGED))


def restore(session: Any, resumed: Resumed) -> None:
    """Put everything but the model's weights back, in place, and say what may make the numbers other than they were."""
    s, state = session, resumed.state
    if rank() == 0:
        _tidy(s, resumed.damaged)
    s.ema.ema.load_state_dict(resumed.checkpoint.state)
    s.stepper.load_state_dict(state["stepper"])
    s.stopper.load_state_dict(state["stopper"])
    if s.budget and state.get("time"):
        s.budget.load_state_dict(state["time"], state["epoch"])
        follow(s)
    if s.image_weights:
        s.image_weights.update(np.array(state["maps"]))
    s.state.epoch, s.state.batch = state["epoch"], state["batch"]
    s.state.losses.copy_(state["losses"])
    s.state.rows[:] = resumed.rows()
    s.state.halvings = state.get("halvings", 0)
    s.schedule.scale = 0.5**s.state.halvings
    s.state.saved = state["epoch"], state["batch"]
    before, now = state["machine"], numerics(s.device, s.amp_dtype, s.cfg.compile)
    changed = [f"{key} {now[key]}, it was {value}" for key, value in before.items() if now.get(key) != value]
    if changed:
        log.warning("going on, but not to the same last digit: %s", "; ".join(changed))
    if rank() < len(state["generators"]):
        set_generators(state["generators"][rank()], s.device)


def numerics(device: torch.device, amp_dtype: torch.dtype | None, is_compiled: bool = False) -> dict[str, Any]:
    """Return what the last digits of a training depend on besides its state."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "PyTorch": str(torch.__version__),
        "device": f"{device.type} {kind}",
        "precision": str(amp_dtype or torch.float32).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": world(),
        "code": "compiled" if is_compiled else "as written",
    }
