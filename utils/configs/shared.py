"""Facts of flags that several commands have: help, other names, ranges."""

from utils.imgsz import MAX_IMGSZ

IMGSZ = {"aliases": ("--img", "--img-size"), "low": 32, "high": MAX_IMGSZ}  # pixels
AUTO = -1  # batch size: measured, see ``utils.training.autobatch``
BATCH_SIZE = {"aliases": ("--batch",), "low": 1}
WORKERS = {"help": "processes that load images, at most one per core", "low": 0}
SEED = {"help": "seed of every random draw", "low": 0, "high": 2**32 - 1}
DEVICE = {"help": "cpu, mps or the index of a GPU; empty = the first GPU, else the CPU"}
WEIGHTS_HELP = (
    "checkpoint (ours, also as .safetensors, or an official .pt of YOLOv5, YOLOv8 or YOLO11) or .onnx; without it the "
    "newest runs/train/*/weights/best.pt"
)
BACKBONE_HELP = "file.py:builder, for a checkpoint that was trained with a backbone from your own file"
LAYOUT_HELP = (
    "output of an .onnx file that does not tell: BN5C, (B, N, 5 + classes) of YOLOv5, or B4CN, (B, 4 + classes, N) of "
    "YOLOv8"
)
AUGMENT_HELP = "look at each image in three sizes, once mirrored: slower, and finds a little more; .pt files"
HALF_HELP = "compute in float16, on a GPU; .pt files"
DNN_HELP = "run an .onnx file of one size in OpenCV, on the CPU"
NAME_HELP = "folder of this run; a number is added where it is taken"
SHARE = {"low": 0, "high": 1}
CLASSES_HELP = "keep only these classes, by name or id, in this order; vehicle=car,truck makes one of several"
