"""The options of ``benchmark.py``."""

from dataclasses import dataclass

from utils.config import option
from utils.configs.shared import BATCH_SIZE, DEVICE, IMGSZ, SEED, WORKERS
from utils.head_names import HEADS

OWN = "own"  # what stands for the model as its YAML has it


@dataclass(frozen=True)
class BenchmarkConfig:
    """Every flag of ``python benchmark.py``; the schedule suits the embedded data set on two CPU cores."""

    backbones: tuple[str, ...] = option(
        (OWN, "repvit_m0_9", "emo_1m", "fasternet_t0", "repvgg_a0", "timm/mobilenetv4_conv_small"),
        help="registered names, timm/NAME, torchvision/NAME, file.py:builder, or 'own' for the model as it is",
    )
    heads: tuple[str, ...] = option(
        (), help="put each of these heads on each model, a row for each; without it the head of --cfg", choices=HEADS
    )
    reparam: tuple[str, ...] = option(
        (), help="compare the training form of these backbones with the deployed one instead, over --batches"
    )
    batches: tuple[int, ...] = option(
        (1, 2, 4, 8, 16, 32, 64, 128), help="batch sizes of --reparam, up to the last that fits the memory", low=1
    )
    backbone_weights: str = option("none", help="start the backbones from published weights", choices=("none", "auto"))
    cfg: str = option("models/yolov5n.yaml", help="model YAML that every backbone is put under")
    data: str = option("data/shapes.yaml", help="data-set YAML")
    hyp: str = option(
        "",
        help="hyper-parameter YAML; without it that of the data set, with the recipe of --cfg or else AdamW at 0.002",
    )
    epochs: int = option(30, help="passes over the training images; 0 = sizes and speeds only", low=0)
    batch_size: int = option(8, help="images per training batch", **BATCH_SIZE)
    imgsz: int = option(256, help="side of the images in training and timing, in pixels", **IMGSZ)
    device: str = option("", **DEVICE)
    workers: int = option(8, **WORKERS)
    seed: int = option(0, **SEED)
    project: str = option("runs/benchmark", help="folder of the benchmarks")
    name: str = option(
        "exp", help="folder of this one; a number is added where the folder holds results of other settings"
    )
