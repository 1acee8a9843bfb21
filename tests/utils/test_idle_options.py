"""Whoever gives an option that does nothing beside others is told, or refused where a result would be missing."""

from types import SimpleNamespace

import pytest
import torch

from utils.checkpoint.facts import TrainingFacts
from utils.config import make_config, parse_config
from utils.configs.detect import DetectConfig
from utils.configs.export import ExportConfig
from utils.configs.train import TrainConfig
from utils.configs.val import ValConfig
from utils.detection.predict import build_predictor
from utils.errors import ConfigError
from utils.predictions import BN6

CONFIGS = {"train": TrainConfig, "val": ValConfig, "detect": DetectConfig, "export": ExportConfig}
TOLD = {
    "val --task speed --conf-thres 0.4": "--conf-thres means nothing with --task speed, which has those of detect.py",
    "val --task study --verbose": "--verbose means nothing with --task speed or study",
    "val --save-conf": "--save-conf means nothing without --save-txt",
    "detect --save-conf --save-format 1": "--save-conf and --save-format mean nothing without --save-txt",
    "detect --overlap 0.3": "--overlap means nothing without --tile",
    "detect --nosave --hide-conf": "--hide-conf means nothing with --nosave, unless there is --view-img",
    "export --topk-all 5": "--max-det means nothing without --nms",
    "export --max-drop 0.1": "--max-drop means nothing without --int8",
    "export --simplify": "--simplify means nothing here: the ONNX graph is always simplified",
    "train --save-period 2 --nosave": "--save-period means nothing with --nosave",
    "train --patience 5 --noval": "--patience means nothing with --noval, as improvement is seen by validation",
    "train --epochs 5 --time 2": "--epochs means nothing with --time, but as a first guess",
    "train --freeze backbone --backbone-lr 0.1": "--backbone-lr means nothing with --freeze backbone",
    "train --evolve 3 --on-nonfinite rollback": "--on-nonfinite means nothing with --evolve",
}
REFUSED = {
    "val --task speed --save-json": "--save-json means nothing with --task speed or study",
    "val --task study --ci --errors": "--errors and --ci mean nothing with --task speed or study",
    "train --evolve 3 --save-steps 5": "--save-steps means nothing with --evolve",
    "train --nosave --on-nonfinite rollback": "--on-nonfinite means nothing as rollback with --nosave",
}
HEEDED = (
    *("val --task study --conf-thres 0.4 --iou-thres 0.5", "val --save-hybrid --save-conf", "val --errors --ci"),
    *("detect --nosave --view-img --hide-labels", "detect --tile 64 --overlap 0.3", "detect --save-txt --save-conf"),
    *("export --nms --conf-thres 0.4", "export --int8 --max-drop 0.1"),
    *("train --freeze backbone --unfreeze-epoch 2 --layer-decay 0.7", "train --freeze 3 --backbone-lr 0.1"),
    *("train --nosave --save-steps 5 --on-nonfinite rollback", "train --evolve 3 --patience 5"),
)


def read(line):
    command, *flags = line.split()
    return parse_config(CONFIGS[command], flags, "test")


@pytest.mark.parametrize("line", TOLD)
def test_an_option_that_does_nothing_is_told(caplog, line):
    read(line)

    assert [record.getMessage().startswith(TOLD[line]) for record in caplog.records] == [True], caplog.text


@pytest.mark.parametrize("line", REFUSED)
def test_a_result_that_would_be_missing_is_refused_at_once(line):
    with pytest.raises(ConfigError) as caught:
        read(line)
    assert caught.value.what.startswith(REFUSED[line])


@pytest.mark.parametrize("line", HEEDED)
def test_an_option_that_does_something_is_not_told(caplog, line):
    read(line)

    assert not caplog.text


def test_every_row_of_every_table_has_its_line_here():
    said = [(line.split()[0], text) for line, text in (TOLD | REFUSED).items()]
    rows = [(command, rule.where) for command, config in CONFIGS.items() for rule in config.IDLE]

    assert [row for row in rows if not any(row[0] == command and row[1] in text for command, text in said)] == []


def test_a_file_of_options_and_what_a_program_switches_off_are_not_told(tmp_path, caplog):
    (tmp_path / "opt.yaml").write_text("patience: 100\nval: false\nsave_period: -1\n")

    parse_config(TrainConfig, ["--config", str(tmp_path / "opt.yaml")], "test")
    make_config(DetectConfig, {"save_conf": False, "save_format": 0})

    assert not caplog.text


@pytest.mark.parametrize(("options", "is_told"), [({}, True), ({"tile": 64}, False)])
def test_the_overlap_of_boxes_means_nothing_to_a_file_that_suppresses_by_itself(caplog, options, is_told):
    backend = SimpleNamespace(layout=BN6, names={0: "cat"}, stride=32, fixed_size=None, trained=TrainingFacts())

    build_predictor(make_config(DetectConfig, {"iou_thres": 0.5} | options), backend, torch.device("cpu"))

    said = "--iou-thres means nothing with a file that suppresses by itself"
    assert (said in caplog.text) == is_told
