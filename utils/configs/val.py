"""The flags of ``val.py``."""

from dataclasses import dataclass
from typing import ClassVar

from utils.config import option
from utils.configs.inference import InferenceOptions
from utils.configs.shared import BATCH_SIZE, CLASSES_HELP, IMGSZ, NAME_HELP, SHARE, WORKERS
from utils.idle_options import Idle

SWEEPS = ("speed", "study")  # tasks that measure several models or sizes


@dataclass(frozen=True)
class ValConfig(InferenceOptions):
    """Every flag of ``python val.py``."""

    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle(
            "save_txt save_hybrid save_json errors ci",
            "with --task speed or study",
            lambda cfg: cfg.task in SWEEPS,
            "leave it out, or measure with --task val, which writes it",
        ),
        Idle("save_conf verbose", "with --task speed or study", lambda cfg: cfg.task in SWEEPS),
        Idle(
            "conf_thres iou_thres", "with --task speed, which has those of detect.py", lambda cfg: cfg.task == "speed"
        ),
        Idle(
            "save_conf", "without --save-txt", lambda cfg: not (cfg.save_txt or cfg.save_hybrid or cfg.task in SWEEPS)
        ),
    )

    data: str = option("", help="data-set YAML; without it the one of the training, else data/shapes.yaml")
    classes: tuple[str, ...] = option((), help=CLASSES_HELP + "; without it those of the training")
    task: str = option(
        "val",
        help="images to measure; of those of val, speed measures how long they take at the thresholds of detect.py, "
        "and study figures and times over image sizes; several --weights one by one",
        choices=("train", "val", "test", *SWEEPS),
    )
    batch_size: int = option(32, help="images per batch", **BATCH_SIZE)
    imgsz: int | tuple[int, ...] | None = option(
        None,
        help="longer side of the images, in pixels; without it that of the training or export; with --task study "
        "several, without it 256 to 1536",
        **IMGSZ,
    )
    conf_thres: float = option(
        0.001, help="least confidence; above 0.001 the mAP can be far too high, and COCO's is given too", **SHARE
    )
    iou_thres: float | None = option(
        None,
        help="overlap from which the less confident of two boxes is dropped; without it 0.6, or 0.7 after an "
        "anchor-free head",
        **SHARE,
    )
    max_det: int = option(300, help="detections per image", low=1)
    workers: int = option(8, **WORKERS)
    single_cls: bool = option(False, help="treat all classes as one")
    verbose: bool = option(False, help="a row for every class, however many there are")
    save_txt: bool = option(False, help="save detections as label files")
    save_conf: bool = option(False, help="with --save-txt: add the confidence to each line")
    save_hybrid: bool = option(
        False, help="like --save-txt, with the labels, and without detections that these suppress"
    )
    save_json: bool = option(False, help="save detections in COCO's JSON format; a --data that ends in coco.yaml does")
    errors: bool = option(False, help="kinds of errors and what they cost, and errors.html, the worst of them")
    ci: int = option(
        0, help="95 % interval of the mAP over chance in the images, from N resamples, 1000 alone", const=1000, low=0
    )
    plots: bool = option(True, help="draw curves, confusion matrix and pictures", aliases=("--noplots",))
    project: str = option("runs/val", help="folder of the runs")
    name: str = option("exp", help=NAME_HELP)
    exist_ok: bool = option(False, help="write into the folder even if it exists")
