"""Print what a run would be started with, every option and hyper-parameter, and where each is from."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from utils.config import check_config, option_values
from utils.configs.shared import AUTO
from utils.configs.train import TrainConfig
from utils.data.scan.spec import DataSpec, load_data_spec
from utils.losses import find_loss
from utils.quiet import quiet
from utils.text import safe_text
from utils.training.hyp import hyper_of_file
from utils.training.inputs import check_together, resolve
from utils.training.recipe import used_of
from utils.training.resume import find_resumed
from utils.training.start import plan_model

log = logging.getLogger(__name__)

WIDTH = 40  # of a key and its value, in front of the comment
Sources = Mapping[str, str]  # option or hyper-parameter → where its value is from


def print_config(cfg: TrainConfig) -> None:
    """Log options and hyper-parameters as two YAML texts. Nothing is written, drawn or scanned. Raises: UserError."""
    with quiet(logging.ERROR):  # what reading says is no YAML; the run says it
        check_config(cfg)
        found, hyp, sources, hyper_sources = _resumed(cfg) if cfg.resume is not None else _new(cfg)
        check_together(found)
    lines = ["# options, for a file of --config", *_yaml(option_values(found), sources)]
    log.info("\n".join([*lines, "", "# hyper-parameters, for a file of --hyp", *_yaml(hyp, hyper_sources)]))


def _new(cfg: TrainConfig) -> tuple[TrainConfig, dict[str, Any], Sources, Sources]:
    """Return options and hyper-parameters of a new run, with their sources."""
    plan = plan_model(cfg)
    spec = load_data_spec(cfg.data, required=())
    found, hyp, file = resolve(cfg, spec, plan)
    loss = find_loss(plan.head)
    used = dict.fromkeys(used_of(plan.recipe if cfg.recipe else {}, cfg, loss, plan.source), f"recipe of {plan.source}")
    hyper_sources = dict.fromkeys(hyper_of_file(file, loss), f"{file.name}{_who_names_it(cfg, spec)}") | used
    sources = used | _given(cfg)
    if cfg.label_smoothing is not None:
        hyper_sources["label_smoothing"] = f"--label-smoothing ({sources['label_smoothing']})"
    return found, hyp, sources, hyper_sources


def _who_names_it(cfg: TrainConfig, spec: DataSpec) -> str:
    if cfg.hyp:
        return ", named by --hyp"
    return f", named by the data set {spec.file.name}" if spec.hyp else ", the head's own"


def _resumed(cfg: TrainConfig) -> tuple[TrainConfig, dict[str, Any], Sources, Sources]:
    """Return options and hyper-parameters of the run that goes on, with their sources."""
    run = find_resumed(cfg)
    source = f"run {run.run_dir}"
    return run.cfg, run.hyp, dict.fromkeys(option_values(run.cfg), source) | _given(cfg), dict.fromkeys(run.hyp, source)


def _given(cfg: TrainConfig) -> dict[str, str]:
    given = {name: f"--config {cfg.config}" if name in cfg.from_file else "flag" for name in cfg.given}
    return given | ({"batch_size": f"{given['batch_size']}; chosen when the run starts"} if _is_auto(cfg) else {})


def _is_auto(cfg: TrainConfig) -> bool:
    return cfg.batch_size == AUTO and cfg.resume is None


def _yaml(values: Mapping[str, Any], sources: Sources) -> Iterator[str]:
    """Yield a line of YAML for every value, its source as a comment."""
    for key, value in values.items():
        plain = list(value) if isinstance(value, tuple) else value
        shown = yaml.safe_dump([plain], default_flow_style=True, allow_unicode=True, width=math.inf).strip()[1:-1]
        yield f"{f'{key}: {shown}':<{WIDTH}}  # {safe_text(sources.get(key, 'default'))}"
