"""What is wrong with a command line is one sentence that says how to mend it, whatever argparse would say."""

import pytest

from utils.config import parse_config
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.configs.val import ValConfig
from utils.errors import ConfigError

CONFIGS = {"train": TrainConfig, "val": ValConfig, "detect": DetectConfig, "export": ExportConfig}


def refusal(command: str) -> ConfigError:
    name, *argv = command.split()
    with pytest.raises(ConfigError) as error:
        parse_config(CONFIGS[name], argv, prog="x")
    return error.value


@pytest.mark.parametrize(
    ("command", "what", "fix"),
    [
        ("train --noplots --plots", "--noplots and --plots contradict each other", "give one of them"),
        ("train --plots --no-plots", "--plots and --no-plots contradict each other", "give one of them"),
        ("train --nosave --epochs 3 --save", "--nosave and --save contradict each other", "give one of them"),
        ("train --cos-lr --no-cos-lr", "--cos-lr and --no-cos-lr contradict each other", "give one of them"),
        ("train --exist-ok True", "--exist-ok takes no value, and 'True' is one", "--no-exist-ok for the opposite"),
        ("train --noplots False", "--noplots takes no value, and 'False' is one", "--plots for the opposite"),
        ("detect --hide-labels=False", "--hide-labels takes no value", "--no-hide-labels for the opposite"),
        ("train --weights", "--weights has no value", "write it behind --weights, or leave the flag out"),
        ("train --weights --cfg x.yaml", "--weights has no value", "write it behind --weights"),
        ("train --epochs=", "--epochs has no value", "write it behind --epochs"),
        ("export --include", "--include has no value", "write it behind --include"),
        ("train --epochs 3.5", "--epochs 3.5 is not a whole number", "give one whole number"),
        ("val --conf 0,25", "--conf-thres 0,25 is not a number", "write a decimal point: 0.25"),
        ("val --conf 25%", "--conf-thres 25% is not a number", "give one number"),
        ("detect --img 640,480", "--img 640,480 is not a whole number", "nothing else: 640 480"),
        ("val --batch-size 6,4", "--batch-size 6,4 is not a whole number", "give one whole number"),
        ("train --optimizer adamw", "--optimizer adamw is not possible", "give SGD or Adam or AdamW"),
        ("detect --save-format 2", "--save-format 2 is not possible", "give 0 or 1"),
        ("detect --img 640 480 320", "--imgsz 640 480 320: 3 values", "give 1 or 2"),
        ("export --img 64 64 64", "--imgsz 64 64 64: 3 values", "give 1 or 2"),
        ("val --conf 0.3 --batch 3 3", "--batch takes one value, and '3' is one more", "give one number"),
        ("val --batch=64 32", "--batch takes one value, and '32' is one more", "give one number"),
        ("train --img=640 480", "--img=640 is one value, and '480' is one more", "write --img 640 480"),
        ("train --img 640 480 320", "--imgsz 640 480 320: 3 values", "give 1 or 2"),
        ("train --img 640 16", "--imgsz 16 is out of range", "give a number from 32"),
        ("train --weights a.pt b.pt", "--weights takes one value, and 'b.pt' is one more", "give one file"),
        ("detect --source a.jpg b.jpg", "--source takes one value, and 'b.jpg' is one more", "in quotes"),
        ("train epochs=3", "unexpected argument 'epochs=3'", "write it as --epochs 3"),
        ("train --img 320 epochs=3", "unexpected argument 'epochs=3'", "write it as --epochs 3"),
        ("train –epochs 3", "unexpected argument '–epochs'", "type two plain hyphens: --epochs"),
        ("train -epochs 3", "unknown argument '-epochs'", "did you mean --epochs?"),
        ("train --batch-size 0", "--batch-size 0 is out of range", "give 1 or more or auto"),
        ("train --batch-size many", "--batch-size many is not a whole number", "give one whole number or auto"),
        ("val --batch-size -1", "--batch-size -1 is out of range", "give 1 or more"),
        ("train --batch_sise 3", "unknown argument '--batch_sise'", "did you mean --batch-size"),
        ("train --nval", "unknown argument '--nval'", "did you mean --noval or --val or --no-val?"),
        ("val --source 0", "unknown argument '--source'", "see --help"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_what_and_how_to_mend_it(command, what, fix):
    error = refusal(command)

    assert error.what == what
    assert fix in error.fix


@pytest.mark.parametrize(
    ("command", "what", "fix"),
    [
        ("train --save-period 0", "--save-period 0: no epoch comes every 0 epochs", "give 1 or more, or -1"),
        ("train --freeze 0,1,2", "--freeze 0,1,2: no rows go by this name", "with spaces between them"),
        ("detect --update", "--update of YOLOv5's detect.py", "python -m utils.checkpoint convert"),
        ("detect --weights x_web_model", "--weights x_web_model: this format is not read", ".onnx"),
        ("val --weights https://a.org/x.pt", "--weights https://a.org/x.pt: nothing is downloaded", "download it"),
    ],
)
def test_a_value_of_yolov5_that_is_not_taken_gets_its_own_answer(command, what, fix):
    error = refusal(command)

    assert error.what.startswith(what)
    assert fix in error.fix


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("train --epochs 3 --epochs 5", {"epochs": 5}),  # the last one counts, as in YOLOv5
        ("train --noplots --noplots", {"plots": False}),
        ("train --img 640 --img-size 320 --batch 4", {"imgsz": 320, "batch_size": 4}),
        ("train --freeze backbone", {"freeze": ("backbone",)}),
        ("train --freeze 0 1 2", {"freeze": ("0", "1", "2")}),
        ("train --cache --noval --nosave", {"cache": "ram", "val": False, "save": False}),
        ("train --save-period -1 --cache val", {"save_period": -1, "cache": "val"}),
        ("train --multi-scale --single-cls --image-weights", {"multi_scale": True, "single_cls": True}),
        ("train --label-smoothing 0.1 --image_weights", {"label_smoothing": 0.1, "image_weights": True}),
        ("val --conf 0.25 --iou 0.5 --task test", {"conf_thres": 0.25, "iou_thres": 0.5, "task": "test"}),
        ("detect --img 640 480 --classes 0 2 --nosave", {"imgsz": (640, 480), "classes": ("0", "2"), "save": False}),
        ("detect --img 640 --source screenshots", {"imgsz": (640,), "source": "screenshots"}),
        ("detect --view-img --visualize --source 0", {"view_img": True, "visualize": True, "source": "0"}),
        ("export --include onnx --img 320 416 --batch 2", {"imgsz": (320, 416), "batch_size": 2}),
    ],
)
def test_what_users_of_yolov5_type_by_habit_is_taken(command, expected):
    name, *argv = command.split()

    cfg = parse_config(CONFIGS[name], argv, prog="x")

    assert {key: getattr(cfg, key) for key in expected} == expected
