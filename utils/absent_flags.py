"""Flags and values of YOLOv5's commands that are not here, each with its answer; docs/migrate.md lists the flags."""

import re
from collections.abc import Mapping, Sequence

from utils.errors import ConfigError

_NO_DATA_SENT = "no logger here takes the data set; --logger mlflow and wandb get the figures and pictures of a run"

FLAGS: Mapping[str, Mapping[str, str]] = {  # command → flag → what to do
    "train": {
        "--evolve_population": "leave it out: --evolve starts from the values of --hyp alone",
        "--resume_evolve": "give --resume and the folder of the search, as --resume runs/evolve/exp",
        "--entity": "leave it out, and set the variable WANDB_ENTITY, which --logger wandb goes by",
        "--upload_dataset": f"leave it out: {_NO_DATA_SENT}",
        "--bbox_interval": "leave it out: boxes are drawn once, in val_batch*_pred.jpg of the run, at its end",
        "--artifact_alias": f"leave it out: it names a version of a data set, and {_NO_DATA_SENT}",
        "--bucket": "leave it out: results stay in the folder of the run; copy that to a bucket once the run is over",
    },
    "detect": {
        "--update": "leave it out: no file of yours is rewritten; python -m utils.checkpoint convert FILE --to pt "
        "--half writes a small copy without optimizer",
    },
    "export": {
        "--keras": "leave it out: --include saved_model writes operations of TensorFlow, no layers of Keras",
        "--mlmodel": "leave it out: --include coreml writes an .mlpackage, the newer format of CoreML",
        "--per-tensor": "leave it out: it is for integers in .tflite files, which are written in float32",
        "--cache": "leave it out: it would keep the timings of TensorRT, whose engines are built anew each time",
        "--optimize": "leave it out: it is for PyTorch on phones, which has another successor, ExecuTorch",
        "--inplace": "leave it out: it changes nothing in a file",
        "--verbose": "leave it out: what matters of an export is printed",
        "--topk-per-class": "leave it out: --topk-all limits the detections of an image",
    },
    "benchmark": {
        "--test": "leave it out: export.py --include torchscript onnx … writes the formats, compares them with "
        "PyTorch and lists them, without measuring",
        "--pt-only": "give --formats pytorch, which measures PyTorch alone",
    },
}

THEIR_NAMES = {"benchmark": "benchmarks"}  # of scripts that are called otherwise there

VALUES: Sequence[tuple[str, str, str, str]] = (  # option, pattern of a value, what it would be, what to do
    (
        "freeze",
        r"(?!backbone$|\d+$).*",
        "no rows go by this name",
        "give 'backbone', a count N (the first N), or row numbers, with spaces between them; python models/yolo.py "
        "--cfg … lists the rows",
    ),
    ("save_period", "0", "no epoch comes every 0 epochs", "give 1 or more, or -1 for never"),
    (
        "weights",
        r".*\.(pb|mlmodel)|.*_edgetpu\.tflite|.*_(web|paddle)_model/?",
        "this format is not read",
        "give the .pt it was made from, or an .onnx",
    ),
    ("weights", "https?://.*", "nothing is downloaded by itself", "download it, and give the path of the file"),
)


def check_flag(command: str, given: str) -> None:
    """Raises: ConfigError where ``given`` is a flag of YOLOv5's command that this one lacks, in full or its start."""
    flag = given.split("=")[0]
    absent = FLAGS.get(command, {})
    found = [name for name in absent if _dashes(name) == _dashes(flag)]
    found = found or [name for name in absent if len(flag) > 3 and _dashes(name).startswith(_dashes(flag))]
    if found:
        script = THEIR_NAMES.get(command, command)
        raise ConfigError(f"{found[0]} of YOLOv5's {script}.py is not an option here", absent[found[0]])


def is_left_out(command: str, name: str, value: object) -> bool:
    """Return whether an option is a flag of YOLOv5's command that this one lacks, and its value says not to use it."""
    off = value is None or value is False or value == ""
    return off and _dashes(f"--{name}") in map(_dashes, FLAGS.get(command, ()))


def check_value(name: str, value: object) -> None:
    """Raises: ConfigError for a value that YOLOv5 takes for this option, and this repository does not."""
    for option, pattern, what, fix in VALUES:
        if option == name and re.fullmatch(pattern, str(value), re.IGNORECASE):
            raise ConfigError(f"--{_dashes(name)} {value}: {what}", fix)


def _dashes(name: str) -> str:
    return name.replace("_", "-")
