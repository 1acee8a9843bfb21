"""The options of ``benchmark.py``."""

from dataclasses import dataclass

from utils.config import Given, option
from utils.configs.shared import BACKBONE_HELP, BATCH_SIZE, DEVICE, IMGSZ, SEED, SHARE, WORKERS
from utils.formats import NAMES
from utils.head_names import HEADS

OWN = "own"  # what stands for the model as its YAML has it
WITH_FORMATS = "with --formats"


@dataclass(frozen=True)
class BenchmarkConfig(Given):
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
    formats: tuple[str, ...] = option(
        (),
        help="measure one weights file in these formats instead, and in PyTorch; alone all that this machine can write",
        const=("all",),
        choices=("all", "pytorch", *NAMES),
        group=WITH_FORMATS,
    )
    weights: str = option("", help="checkpoint; without it the newest runs/train/*/weights/best.pt", group=WITH_FORMATS)
    backbone: str = option("", help=BACKBONE_HELP, group=WITH_FORMATS)
    single_cls: bool = option(False, help="treat all classes as one", group=WITH_FORMATS)
    half: bool = option(
        False, help="weights of the files in float16; on a GPU PyTorch computes in it too", group=WITH_FORMATS
    )
    int8: bool = option(
        False,
        help="also in 8-bit integers, in rows of their own: ONNX and OpenVINO, calibrated on training images of --data",
        group=WITH_FORMATS,
    )
    hard_fail: float | None = option(
        None,
        help="exit code 2 where a format fails, or has a mAP50-95 below this; alone the former",
        const=0.0,
        group=WITH_FORMATS,
        **SHARE,
    )
    backbone_weights: str = option("none", help="start the backbones from published weights", choices=("none", "auto"))
    cfg: str = option("models/yolov5n.yaml", help="model YAML that every backbone is put under")
    data: str = option("data/shapes.yaml", help="data-set YAML; with --formats, without it, that of the training")
    hyp: str = option(
        "",
        help="hyper-parameter YAML; without it that of the data set, with the recipe of --cfg or else AdamW at 0.002",
    )
    epochs: int = option(30, help="passes over the training images; 0 = sizes and speeds only", low=0)
    batch_size: int = option(
        8, help="images per training batch; with --formats those of images/s and of the validation", **BATCH_SIZE
    )
    imgsz: int = option(
        256,
        help="side of the images, in pixels; with --formats, without it, that of the training",
        **IMGSZ,
    )
    device: str = option("", **DEVICE)
    workers: int = option(8, **WORKERS)
    seed: int = option(0, **SEED)
    project: str = option("runs/benchmark", help="folder of the benchmarks")
    name: str = option(
        "exp", help="folder of this one; a number is added where the folder holds results of other settings"
    )
