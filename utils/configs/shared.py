"""Facts of flags that several commands have: help, other names, ranges."""

from utils.imgsz import MAX_IMGSZ

IMGSZ = {"aliases": ("--img", "--img-size"), "low": 32, "high": MAX_IMGSZ}  # pixels
AUTO = -1  # batch size: measured, see ``utils.training.autobatch``
BATCH_SIZE = {"aliases": ("--batch",), "low": 1}
WORKERS = {"help": "processes that load images, at most one per core", "low": 0}
SEED = {"help": "seed of every random draw", "low": 0, "high": 2**32 - 1}
DEVICE = {"help": "cpu, mps or the index of a GPU; empty = the first GPU, else the CPU"}
WEIGHTS_HELP = (
    "checkpoint (ours, also as .safetensors, or an official .pt of YOLOv5, YOLOv8 or YOLO11) or what export.py wrote; "
    "without it the newest runs/train/*/weights/best.pt"
)
BACKBONE_HELP = "file.py:builder, for a checkpoint that was trained with a backbone from your own file"
NAME_HELP = "folder of this run; a number is added where it is taken"
SHARE = {"low": 0, "high": 1}
CLASSES_HELP = "keep only these classes, by name or id, in this order; vehicle=car,truck makes one of several"
