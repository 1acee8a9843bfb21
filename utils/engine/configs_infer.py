"""The options of ``val.py`` and ``detect.py``."""

from dataclasses import dataclass

from utils.config import option
from utils.engine.configs import BATCH_SIZE, DEVICE, IMGSZ, WORKERS

WEIGHTS_HELP = (
    "checkpoint (ours or an official YOLOv5 .pt) or .onnx; without it the newest runs/train/*/weights/best.pt"
)
BACKBONE_HELP = "file.py:builder, for a checkpoint that was trained with a backbone from your own file"
NAME_HELP = "folder of this run; a number is added where it is taken"
SHARE = {"low": 0, "high": 1}


@dataclass(frozen=True)
class ValConfig:
    """Every flag of ``python val.py``."""

    weights: str = option("", help=WEIGHTS_HELP)
    backbone: str = option("", help=BACKBONE_HELP)
    data: str = option("", help="data-set YAML; without it the one of the training, else data/shapes.yaml")
    task: str = option("val", help="images to use", choices=("train", "val", "test"))
    batch_size: int = option(32, help="images per batch", **BATCH_SIZE)
    imgsz: int | None = option(
        None, help="longer side of the images, in pixels; without it that of the training or export", **IMGSZ
    )
    conf_thres: float = option(
        0.001, help="least confidence; above 0.001 the mAP can be far too high, and COCO's is given too", **SHARE
    )
    iou_thres: float = option(0.6, help="overlap from which the less confident of two boxes is dropped", **SHARE)
    max_det: int = option(300, help="detections per image", low=1)
    device: str = option("", **DEVICE)
    workers: int = option(8, **WORKERS)
    single_cls: bool = option(False, help="treat all classes as one")
    verbose: bool = option(False, help="a row for every class, however many there are")
    save_txt: bool = option(False, help="save detections as label files")
    save_conf: bool = option(False, help="with --save-txt: add the confidence to each line")
    save_json: bool = option(False, help="save detections in COCO's JSON format; on COCO, also its own scores")
    plots: bool = option(True, help="draw curves, confusion matrix and pictures", off_aliases=("--noplots",))
    project: str = option("runs/val", help="folder of the runs")
    name: str = option("exp", help=NAME_HELP)
    exist_ok: bool = option(False, help="write into the folder even if it exists")


@dataclass(frozen=True)
class DetectConfig:
    """Every flag of ``python detect.py``."""

    weights: str = option("", help=WEIGHTS_HELP)
    backbone: str = option("", help=BACKBONE_HELP)
    source: str = option(
        "", help="image, video, folder, glob in quotes, or .txt list of these; without it data/images of the clone"
    )
    imgsz: tuple[int] | tuple[int, int] | None = option(
        None, help="height width, or one number for both; without it that of the training or export", **IMGSZ
    )
    conf_thres: float = option(0.25, help="least confidence", **SHARE)
    iou_thres: float = option(0.45, help="overlap from which the less confident of two boxes is dropped", **SHARE)
    max_det: int = option(1000, help="detections per image", low=1)
    classes: tuple[int, ...] | None = option(None, help="keep only these class ids", low=0)
    agnostic_nms: bool = option(False, help="boxes of different classes suppress each other")
    device: str = option("", **DEVICE)
    vid_stride: int = option(1, help="use every n-th frame of a video", low=1)
    save: bool = option(True, help="save drawn images and videos", off_aliases=("--nosave",))
    save_txt: bool = option(False, help="save label files: class and box in 0–1")
    save_format: int = option(0, help="with --save-txt: box as 0 = centre and size, 1 = corners", choices=(0, 1))
    save_conf: bool = option(False, help="with --save-txt: add the confidence to each line")
    save_csv: bool = option(False, help="save a table, predictions.csv")
    save_crop: bool = option(False, help="save what is inside each box")
    line_thickness: int = option(0, help="width of box lines, in pixels; 0 = what suits the image", low=0, high=1000)
    hide_labels: bool = option(False, help="draw boxes without labels")
    hide_conf: bool = option(False, help="draw labels without confidence")
    project: str = option("runs/detect", help="folder of the runs")
    name: str = option("exp", help=NAME_HELP)
    exist_ok: bool = option(False, help="write into the folder even if it exists")
