"""Find what is wrong with a data set before hours are spent on it; the files of the data set are only read.

python -m utils.doctor --data my.yaml                   # findings, and a page with pictures in runs/doctor/exp
python -m utils.doctor --data my.yaml --model best.pt   # also where the model and the labels disagree
"""

import logging
from pathlib import Path

from utils.command import run_command
from utils.configs.doctor import DoctorConfig
from utils.errors import ConfigError, StorageError, UnfitError
from utils.runs import new_run_dir, write_text

log = logging.getLogger("utils.doctor")

PROJECT, NAME, PAGE = "runs/doctor", "exp", "doctor.html"


def main(cfg: DoctorConfig) -> None:
    """Look through the data set. Raises: UnfitError, after the page has been written, where a training would stop."""
    if cfg.backbone and not cfg.model:
        raise ConfigError("--backbone belongs to the weights file of --model", "give both, or leave it out")
    if cfg.out and Path(cfg.out).is_file():
        raise ConfigError(f"--out {cfg.out}: is a file", "name a folder")

    # here, because PyTorch takes seconds to import and --help should not
    from dataclasses import replace

    from utils.backends.choose import load_backend
    from utils.data.scan.spec import load_data_spec
    from utils.device import select_device
    from utils.doctor.detections import check_classes, default_anchors, model_anchors, with_detections
    from utils.doctor.examine import examine, told, verdict
    from utils.doctor.facts import ERROR
    from utils.doctor.gather import gather_facts
    from utils.doctor.page import render

    device = select_device(cfg.device)
    spec = load_data_spec(cfg.data)
    backend = load_backend(cfg.model, device, cfg.backbone) if cfg.model else None
    classes = check_classes(backend, spec.names, cfg.model) if backend else None
    facts = gather_facts(spec, cfg.imgsz)
    facts = replace(facts, anchors=model_anchors(backend) if backend else default_anchors())
    facts = with_detections(facts, backend, device, classes) if backend else facts

    findings = examine(facts)
    run_dir = _folder(cfg.out)
    write_text(run_dir / PAGE, render(facts, findings))
    log.info(told(facts, findings))
    log.info("page: %s", run_dir / PAGE)
    if any(finding.severity == ERROR for finding in findings):
        raise UnfitError(f"{spec.file}: {verdict(findings)}", "correct the errors above, then look again")


def _folder(out: str) -> Path:
    """Return (and make) the folder of the page."""
    if not out:
        return new_run_dir(PROJECT, NAME)
    folder = Path(out).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"--out {out}: cannot make this folder ({error.strerror})", "choose another folder"
        ) from error
    return folder


if __name__ == "__main__":
    run_command(main, DoctorConfig)
