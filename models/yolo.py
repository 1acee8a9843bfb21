"""Build a detector from a model YAML, and say what it is; ``models/detector.py`` is the detector itself.

python models/yolo.py --cfg yolov5s.yaml                  # its rows, parameters and FLOPs
python models/yolo.py --cfg yolov5s.yaml --backbone NAME  # the same with another backbone
python models/yolo.py --cfg yolov5s --head anchor-free    # or with the head of YOLOv8
python models/yolo.py --list-backbones emo                # names, channels, strides, parameters
python models/yolo.py --test                              # build every model YAML
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script finds modules beside itself; ours are found from the clone
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from models.detector import DetectionModel, Model, parse_model
from models.parse import at, read_model_yaml
from models.report import build_all, fuse_check, list_backbones
from models.scales import model_names
from models.summary import fused_line, layer_times, summary_table
from models.swap import swap_backbone, swap_head
from utils.command import run_command
from utils.config import option
from utils.device import select_device
from utils.head_names import HEAD_HELP, HEADS
from utils.imgsz import fit_imgsz

__all__ = ["DetectionModel", "Model", "parse_model"]  # users import them from here

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SummaryConfig:
    """What ``python models/yolo.py`` can be asked for."""

    cfg: str = option("yolov5s.yaml", help="model YAML: a path, or a name below models/")
    backbone: str = option("", help="put this backbone under its neck: a name, timm/NAME, torchvision/NAME, file.py:f")
    head: str | None = option(None, help=HEAD_HELP, choices=HEADS)
    imgsz: int = option(640, help="side of the image that FLOPs and times are for, pixels", aliases=("--img",), low=32)
    batch_size: int = option(1, help="images in the batch that is timed", low=1)
    device: str = option("", help="cpu or a GPU index; empty = the first GPU, else the CPU")
    profile: bool = option(False, help="time every row", aliases=("--line-profile",))
    fuse_check: bool = option(False, help="compare predictions before and after fusing instead")
    list_backbones: str | None = option(None, help="list backbones whose name contains this instead", const="")
    test: bool = option(False, help="build every model YAML instead")


def main(cfg: SummaryConfig) -> None:
    """Print the table of a model and what fusing leaves of it."""
    if cfg.test:
        logging.getLogger("models.scales").setLevel(logging.WARNING)  # each name says its scale
        build_all([name for name, _ in model_names()], partial(DetectionModel, load_backbone=False))
        return
    if cfg.list_backbones is not None:
        log.info("\n".join(list_backbones(cfg.list_backbones)))
        return
    model = DetectionModel(described(cfg), load_backbone=False).eval()
    if cfg.fuse_check:
        log.info("\n".join(fuse_check(model)))
        return
    model = model.to(select_device(cfg.device))
    imgsz = fit_imgsz(cfg.imgsz, model.size_multiple)
    images = torch.rand(cfg.batch_size, model.yaml["ch"], imgsz, imgsz, device=model.stride.device)
    log.info(summary_table(model, imgsz, layer_times(model, images) if cfg.profile else None))
    log.info("fused: %s", fused_line(model.fuse(), imgsz))
    if cfg.profile:
        log.info("fused: %.1f ms per batch of %d", sum(layer_times(model, images)), cfg.batch_size)


def described(cfg: SummaryConfig) -> dict[str, Any] | str:
    """Return the model YAML, or its content with the backbone and the head that were asked for."""
    if not cfg.backbone and not cfg.head:
        return cfg.cfg
    data, source = read_model_yaml(cfg.cfg)
    with at(source):
        data = swap_head(data, cfg.head) if cfg.head else data
        return swap_backbone(data, cfg.backbone, imgsz=(cfg.imgsz, cfg.imgsz)) if cfg.backbone else data


if __name__ == "__main__":
    run_command(main, SummaryConfig)
