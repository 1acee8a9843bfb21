"""The options of ``train.py`` and ``export.py``."""

from dataclasses import dataclass

from utils.config import option
from utils.imgsz import MAX_IMGSZ

IMGSZ = {"aliases": ("--img", "--img-size"), "low": 32, "high": MAX_IMGSZ}  # pixels
BATCH_SIZE = {"aliases": ("--batch",), "low": 1}
WORKERS = {"help": "processes that load images, at most one per core", "low": 0}
SEED = {"help": "seed of every random draw", "low": 0, "high": 2**32 - 1}
DEVICE = {"help": "cpu, mps or the index of a GPU; empty = the first GPU, else the CPU"}


@dataclass(frozen=True)
class TrainConfig:
    """Every flag of ``python train.py``."""

    cfg: str = option("", help="model YAML; without it the model of --weights, or models/yolov5s-emo.yaml")
    weights: str = option("", help="checkpoint to start from (ours or an official YOLOv5 .pt); empty = from scratch")
    backbone: str = option(
        "", help="put this backbone into the model: a registered name, timm/NAME, torchvision/NAME or file.py:builder"
    )
    backbone_weights: str = option("none", help="pretrained weights of --backbone: auto, none, a path or a URL")
    data: str = option("data/shapes.yaml", help="data-set YAML")
    hyp: str = option("", help="hyper-parameter YAML; without it the data set's own, or hyp.scratch-low.yaml")
    recipe: bool = option(True, help="take the training defaults of the model YAML, or of the family of --backbone")
    epochs: int = option(100, help="passes over the training images", low=1)
    batch_size: int = option(16, help="images per batch", **BATCH_SIZE)
    imgsz: int = option(640, help="longer side of the images, in pixels", **IMGSZ)
    device: str = option("", **DEVICE)
    optimizer: str | None = option(
        None, help="optimizer; without it that of the model's recipe, or SGD", choices=("SGD", "Adam", "AdamW")
    )
    backbone_lr: float | None = option(
        None,
        help="learning rate of the backbone as a multiple of the rest's; without it the recipe's, or 1",
        low=1e-6,
        high=1000,
    )
    freeze: tuple[str, ...] = option((), help="rows to freeze: 'backbone', a count N (the first N), or several indices")
    cos_lr: bool | None = option(
        None, help="cosine instead of linear learning-rate schedule; without it as the recipe has it, or linear"
    )
    patience: int = option(100, help="epochs without improvement before training stops; 0 = never", low=0)
    workers: int = option(8, **WORKERS)
    cache: str | None = option(
        None, help="keep decoded images in memory (ram) or on disk", const="ram", choices=("ram", "disk")
    )
    seed: int = option(0, **SEED)
    amp: bool = option(True, help="mixed precision where the hardware has it (bfloat16, or float16 on older GPUs)")
    autoanchor: bool = option(
        True, help="fit the anchors to the data if they are poor", off_aliases=("--noautoanchor",)
    )
    val: bool = option(True, help="validate after every epoch, not only the last", off_aliases=("--noval",))
    save: bool = option(True, help="save after every epoch, not only the last", off_aliases=("--nosave",))
    plots: bool = option(True, help="draw plots and pictures", off_aliases=("--noplots",))
    project: str = option("runs/train", help="folder of the runs")
    name: str = option("exp", help="folder of this run; a number is added where it is taken")
    exist_ok: bool = option(False, help="write into the folder even if it exists")


@dataclass(frozen=True)
class ExportConfig:
    """Every flag of ``python export.py``."""

    weights: str = option("", help="checkpoint; without it the newest runs/train/*/weights/best.pt")
    backbone: str = option(
        "", help="file.py:builder, for a checkpoint that was trained with a backbone from your own file"
    )
    include: tuple[str, ...] = option(("onnx",), help="formats to write", choices=("onnx",))
    imgsz: tuple[int] | tuple[int, int] | None = option(
        None, help="height width, or one number for both; without it that of the training", **IMGSZ
    )
    batch_size: int = option(1, help="images per call", **BATCH_SIZE)
    dynamic: bool = option(False, help="leave batch, height and width open")
    opset: int = option(
        18, help="ONNX operator set; 18 and newer by torch.export, 9 to 17 by the TorchScript exporter", low=9, high=99
    )
