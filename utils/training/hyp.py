"""Read a hyper-parameter file: the keys of schedule, augmentation and loss, each checked against its own range."""

import logging
from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.transforms._contract import transform_keys
from utils.data.mosaic.transforms._listed import LIST, REPLACED, build_listed
from utils.errors import ConfigError
from utils.hyper import checked, hyper, hyper_fields
from utils.losses._contract import LOSSES, LossEntry
from utils.registry import suggest
from utils.training.schedule import ScheduleHyp
from utils.yaml_file import read_yaml

log = logging.getLogger(__name__)


def known_hyper(loss: LossEntry) -> dict[str, Field]:
    """Return every hyper-parameter of a training with this loss; those of extra transforms are shares."""
    known = hyper_fields(ScheduleHyp, *loss.hyper, AugmentConfig)
    return known | {key: hyper(0.0, 0, 1, optional=True) for key in transform_keys() if key not in known}


def hyper_of_other_losses(loss: LossEntry) -> set[str]:
    """Return the keys that a file may have for the losses of other heads."""
    others = (hyper_fields(*LOSSES.get(head).hyper) for head in LOSSES)
    return set().union(*others) - set(known_hyper(loss))


def load_hyp(path: str | Path, loss: LossEntry) -> dict[str, Any]:
    """Return the checked hyper-parameters of a YAML file, optional keys filled in; ``transforms`` only if it has them.

    A file with the gains of another head's loss is taken without them: the loss's own defaults stand in, as is logged.
    Raises: ConfigError that lists every missing key, or names an unknown key, a value out of range, or one that another
    head's loss alone would heed.
    """
    raw, defaults = _read(path, loss)
    hyp = {key: checked(path, key, (raw | defaults).get(key), item) for key, item in known_hyper(loss).items()}
    return hyp if raw.get(LIST) is None else hyp | {LIST: raw[LIST]}


def hyper_of_file(path: str | Path, loss: LossEntry) -> set[str]:
    """Return the hyper-parameters whose values ``load_hyp`` takes from the file; those of the others are defaults."""
    return {key for key, value in _read(path, loss)[0].items() if value is not None}


def _read(path: str | Path, loss: LossEntry) -> tuple[dict[str, Any], dict[str, float]]:
    """Return what is taken from the file, and the defaults of the loss that stand in for gains of another one's."""
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: not a mapping of hyper-parameters", "start from data/hyps/hyp.scratch-low.yaml")
    known, foreign = known_hyper(loss), hyper_of_other_losses(loss)
    for key in raw:
        if key not in known and key not in foreign and key != LIST:
            raise ConfigError(f"{path}: unknown key {key!r}", suggest(str(key), [*known, LIST]) or "remove it")
    raw = _with_list(path, raw)
    _refuse_switched_on(path, raw, foreign)
    missing = _missing(raw, known)
    own, defaults = hyper_fields(*loss.hyper), {}
    if set(missing) <= own.keys() and _is_for_another_loss(raw, loss):
        raw = {key: value for key, value in raw.items() if key not in own}
        defaults = {key: item.default for key, item in own.items() if not item.metadata["optional"]}
        shown = ", ".join(f"{key} {value:g}" for key, value in defaults.items())
        log.info("%s: its gains are those of another head's loss; taken instead: %s", Path(path).name, shown)
    elif missing:
        raise ConfigError(f"{path}: keys are missing: {', '.join(missing)}", f"copy them from {loss.file}")
    elif unused := [key for key in raw if key in foreign]:
        log.info("%s: not used with this head: %s", Path(path).name, ", ".join(unused))
    return raw, defaults


def _with_list(path: str | Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with 0 for what a list of transforms takes the place of. Raises: ConfigError."""
    if raw.get(LIST) is None:
        return dict(raw)
    build_listed(raw[LIST], str(path))
    if both := [key for key in REPLACED if raw.get(key)]:
        what = f"{path}: {LIST} takes the place of {', '.join(both)}"
        raise ConfigError(what, "write them into the list, and remove these keys, or set them to 0")
    return dict.fromkeys(REPLACED, 0.0) | dict(raw)


def _refuse_switched_on(path: str | Path, raw: Mapping[str, Any], foreign: set[str]) -> None:
    """Raises: ConfigError for a key of another head's loss that is off by default and that the file switches on."""
    others = hyper_fields(*(cls for head in LOSSES for cls in LOSSES.get(head).hyper))
    for key in raw:
        if key in foreign and others[key].default == 0 and raw[key] not in (None, 0):
            raise ConfigError(
                f"{path}: {key}: {raw[key]!r}: the loss of this head has no such thing", f"set {key} to 0"
            )


def with_label_smoothing(hyp: Mapping[str, Any], share: float | None) -> dict[str, Any]:
    """Return the hyper-parameters with the value of --label-smoothing, which goes before that of the file.

    Raises: ConfigError where the loss has no such hyper-parameter, unless the value is 0.
    """
    if share and "label_smoothing" not in hyp:
        raise ConfigError(
            f"--label-smoothing {share:g}: the loss of this head smooths no labels", "leave out --label-smoothing"
        )
    return dict(hyp) if share is None or "label_smoothing" not in hyp else {**hyp, "label_smoothing": share}


def _missing(raw: Mapping[str, Any], known: Mapping[str, Field]) -> list[str]:
    return [key for key, item in known.items() if key not in raw and not item.metadata["optional"]]


def _is_for_another_loss(raw: Mapping[str, Any], loss: LossEntry) -> bool:
    """Return whether a file has all gains of another loss, and of this one none but what both call by one name."""
    own = _required(loss)
    others = [_required(LOSSES.get(head)) for head in LOSSES if LOSSES.get(head) is not loss]
    return any(other <= raw.keys() and not (own - other and own <= raw.keys()) for other in others)


def _required(loss: LossEntry) -> set[str]:
    return {key for key, item in hyper_fields(*loss.hyper).items() if not item.metadata["optional"]}
