"""The flags of ``detect.py``."""

from dataclasses import dataclass
from typing import ClassVar

from utils.config import option
from utils.configs.inference import InferenceOptions
from utils.configs.shared import BATCH_SIZE, IMGSZ, NAME_HELP, SHARE
from utils.idle_options import Idle

SUPPRESSED = (  # with a weights file of export.py --nms
    Idle(
        "iou_thres agnostic_nms",
        "with a file that suppresses by itself, unless there is --tile",
        lambda cfg: not cfg.tile,
    ),
)


@dataclass(frozen=True)
class DetectConfig(InferenceOptions):
    """Every flag of ``python detect.py``."""

    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle("save_conf save_format", "without --save-txt", lambda cfg: not cfg.save_txt),
        Idle("overlap", "without --tile", lambda cfg: cfg.tile is None),
        Idle(
            "line_thickness hide_labels hide_conf",
            "with --nosave, unless there is --view-img",
            lambda cfg: not (cfg.save or cfg.view_img),
        ),
    )

    data: str = option("", help="data-set YAML whose class names are shown in place of those of the weights file")
    source: str = option(
        "",
        help="image, video, folder, glob in quotes, or .txt list of these; URL of an image, video or stream; number of "
        "a camera; 'screen [n] [left top width height]'; .streams list of several; without it data/images of the clone",
    )
    imgsz: tuple[int] | tuple[int, int] | None = option(
        None, help="height width, or one number for both; without it that of the training or export", **IMGSZ
    )
    conf_thres: float = option(0.25, help="least confidence", **SHARE)
    iou_thres: float | None = option(
        None,
        help="overlap from which the less confident of two boxes is dropped; without it 0.45, or 0.7 after an "
        "anchor-free head",
        **SHARE,
    )
    max_det: int = option(1000, help="detections per image", low=1)
    classes: tuple[str, ...] | None = option(None, help="keep only these classes, by name or id")
    class_conf: tuple[str, ...] | None = option(
        None, help="least confidence of single classes in place of --conf-thres, as person=0.5 2=0.1"
    )
    agnostic_nms: bool = option(False, help="boxes of different classes suppress each other")
    batch: int = option(1, help="images that the model is given at once; the results are the same", **BATCH_SIZE)
    tile: int | None = option(
        None, help="for small objects: look also at tiles of so many pixels a side, each at --imgsz", low=32
    )
    overlap: float = option(0.2, help="with --tile: share of a side that tiles have in common", low=0, high=0.9)
    vid_stride: int = option(1, help="use every n-th frame of a video", low=1)
    view_img: bool = option(False, help="show what is found in a window; q ends, any key goes on from an image")
    save: bool = option(True, help="save drawn images and videos", aliases=("--nosave",))
    save_txt: bool = option(False, help="save label files: class and box in 0–1")
    save_format: int = option(0, help="with --save-txt: box as 0 = centre and size, 1 = corners", choices=(0, 1))
    save_conf: bool = option(False, help="with --save-txt: add the confidence to each line")
    save_csv: bool = option(False, help="save a table, predictions.csv")
    save_crop: bool = option(False, help="save what is inside each box")
    save_json: bool = option(False, help="save COCO's JSON of results, predictions.json; category ids are class ids")
    save_labelme: bool = option(False, help="save a labelme file for each image")
    visualize: bool = option(False, help="save what each row of the model makes of an image, as pictures and arrays")
    line_thickness: int = option(0, help="width of box lines, in pixels; 0 = what suits the image", low=0, high=1000)
    hide_labels: bool = option(False, help="draw boxes without labels")
    hide_conf: bool = option(False, help="draw labels without confidence")
    project: str = option("runs/detect", help="folder of the runs")
    name: str = option("exp", help=NAME_HELP)
    exist_ok: bool = option(False, help="write into the folder even if it exists")
