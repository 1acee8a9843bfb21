"""Which of the kinds of several trainings is asked for, and in which folder it goes on; imports nothing heavy."""

import importlib.metadata
import shlex
from pathlib import Path

from utils.configs.train import TrainConfig
from utils.dist import world
from utils.errors import ConfigError
from utils.runs import newest

EVOLVE, SEEDS = "evolve", "seeds"
KINDS = {EVOLVE: "runs/evolve", SEEDS: "runs/train"}  # option → where the newest is looked for; NAME.yaml is its note
OPTUNA = (5, 0)  # the oldest that will do
INSTALL = 'pip install "optuna>=5"'


def note_of(kind: str) -> str:
    """Return the name of the file by which a folder is known as that of a search, or of several seeds."""
    return f"{kind}.yaml"


def kind_of(cfg: TrainConfig) -> str:
    """Return ``evolve`` or ``seeds``, empty for a single training.

    Raises: ConfigError where options exclude each other, and where Optuna is needed and not installed.
    """
    if cfg.evolve is not None and cfg.seeds is not None:
        raise ConfigError("--evolve searches with one seed, --seeds trains with several", "leave one of them out")
    kind = EVOLVE if cfg.evolve is not None else SEEDS if cfg.seeds is not None else ""
    if cfg.resume and not kind:
        kind = next((name for name in KINDS if Path(cfg.resume, note_of(name)).is_file()), "")
    if kind != EVOLVE:
        for name in ("evolve_space", "storage", "study"):
            if getattr(cfg, name):
                raise ConfigError(f"--{name.replace('_', '-')} belongs to a search", "add --evolve, or leave it out")
    if kind:
        _check(cfg, kind)
    return kind


def folder_of(cfg: TrainConfig, kind: str) -> Path | None:
    """Return the folder of --resume, without a value the newest; None without --resume. Raises: ConfigError."""
    if cfg.resume is None:
        return None
    note, places = note_of(kind), KINDS[kind]
    if not cfg.resume:
        found = newest(f"{places}/*/{note}", Path.cwd())
        if found is None:
            raise ConfigError(f"nothing to go on with: there is no {Path.cwd() / places}/*/{note}", "--resume FOLDER")
        return found.parent
    folder = Path(cfg.resume).absolute()
    if not (folder / note).is_file():
        what = f"{folder}: holds no {note}, which a run of --{kind} has"
        raise ConfigError(what, f"leave out --{kind}, or give its folder, as --resume {places}/exp")
    return folder


def go_on(folder: Path) -> str:
    """Return what is typed to go on in a folder."""
    return f"python train.py --resume {shlex.quote(str(folder))}"


def train_with(hyp: Path) -> str:
    """Return what is typed to train with the hyper-parameters that a search has found, and its other options."""
    options = shlex.quote(str(hyp.with_name("opt.yaml")))
    return f"python train.py --config {options} --hyp {shlex.quote(str(hyp))} --project runs/train"


def _check(cfg: TrainConfig, kind: str) -> None:
    for name in ("print_config", "dry_run", "show_aug"):
        if getattr(cfg, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} tells of one training, --{kind} does several", "leave one of them out")
    if world() > 1:
        what = f"--{kind} starts its trainings itself, and torchrun has started {world()} processes"
        raise ConfigError(what, "start it without torchrun")
    if kind == EVOLVE:
        if "," in cfg.device:
            what = f"--device {cfg.device}: a training of a search has one device"
            raise ConfigError(what, "start the search on the first, and in the same way with --resume on each other")
        _check_optuna()


def _check_optuna() -> None:
    """Raises: ConfigError where Optuna is missing, or too old."""
    try:
        version = importlib.metadata.version("optuna")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("--evolve needs the package optuna, which is not installed", INSTALL) from None
    if tuple(map(int, version.split(".")[:2])) < OPTUNA:
        raise ConfigError(f"--evolve needs optuna 5 or later, and {version} is installed", INSTALL)
