"""``--config``, ``--local_rank``, and the groups of ``--help``."""

import argparse

import pytest

from utils.config import make_config, option_values, parse_config, parser_of
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.launch import typed
from utils.yaml_file import write_yaml


@pytest.fixture
def file(tmp_path):
    """Write a file of options, and return its path."""

    def write(text):
        path = tmp_path / "opt.yaml"
        path.write_text(text)
        return str(path)

    return write


def parsed(*argv):
    return parse_config(TrainConfig, argv, prog="t")


def test_flags_go_before_the_file_and_the_file_before_the_defaults(file):
    path = file("epochs: 7\nbatch_size: 2\nname: 007\ncos_lr: on\nnoplots: true\nfreeze: [0, 1]\ncache: true\n")

    cfg = parsed("--config", path, "--epochs", "9", "--no-cos-lr")

    assert (cfg.epochs, cfg.batch_size, cfg.name, cfg.plots, cfg.freeze) == (9, 2, "007", False, ("0", "1"))
    assert (cfg.cos_lr, cfg.cache, cfg.imgsz) == (False, "ram", 640)
    assert cfg.given == {"config", "epochs", "batch_size", "name", "cos_lr", "plots", "freeze", "cache"}
    assert cfg.from_file == {"batch_size", "name", "plots", "freeze", "cache"}


def test_the_options_of_a_run_come_back(tmp_path):
    cfg = parsed("--imgsz", "480", "640", "--freeze", "0", "3", "--name", "1e3", "--backbone-lr", "0.1", "--no-amp")
    write_yaml(tmp_path / "opt.yaml", option_values(cfg))

    again = parsed("--config", str(tmp_path / "opt.yaml"))

    assert option_values(again) == option_values(cfg)
    assert make_config(TrainConfig, {"config": tmp_path / "opt.yaml"}) == again


def test_options_of_a_single_call_are_neither_written_nor_read(file):
    text = "resume: false\nlocal_rank: -1\nprint_config: maybe\ndry-run: true\nconfig: other.yaml\nepochs: 2\n"

    cfg = parsed("--config", file(text.replace("dry-run", "dry_run")))

    assert (cfg.resume, cfg.print_config, cfg.dry_run, cfg.given) == (None, False, False, {"config", "epochs"})
    assert not {"resume", "config", "print_config", "dry_run", "local_rank"} & option_values(cfg).keys()


def test_null_is_no_value_where_that_is_the_default_and_an_error_elsewhere(file):
    assert "head" not in parsed("--config", file("head: null\ncache:\n")).given

    with pytest.raises(ConfigError, match=r"opt.yaml: epochs has no value"):
        parsed("--config", file("epochs:\n"))


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("epocs: 3", "unknown option 'epocs'", "did you mean epochs"),
        ("lr0: 0.1", "unknown option 'lr0'", ""),
        ("3: 4", "unknown option '3'", ""),
        ("epochs: ten", "epochs is 'ten'", "int"),
        ("epochs: 2.5", "epochs is 2.5", "int"),
        ("epochs: true", "epochs is True", "int"),
        ("epochs: 0", "--epochs 0 is out of range", "1 or more"),
        ("imgsz: [64, 64, 64]", "--imgsz 64 64 64: 3 values", "1 or 2"),
        ("plots: perhaps", "plots is 'perhaps'", "bool"),
        ("optimizer: LBFGS", "--optimizer LBFGS is out of range", "SGD or Adam"),
        ("plots: true\nnoplots: true", "noplots is given twice", "one of them"),
        ("evolve: 300", "evolve: is for the command line alone", "give --evolve"),
        ("resume_evolve: x", "--resume_evolve of YOLOv5's train.py is not an option here", "give --resume"),
        ("[epochs, 3]", "holds no options", "epochs: 100"),
        ("", "holds no options", "epochs: 100"),
        ("epochs: 3\nepochs: 4", "2:1: key 'epochs' stands twice", "remove"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_file_and_key(file, text, what, fix):
    with pytest.raises(ConfigError) as error:
        parsed("--config", file(text))

    assert error.value.what.startswith(str(file(text)) + ":")
    assert what in error.value.what
    assert fix in error.value.fix
    assert "\n" not in error.value.what


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"gone.yaml: no such file"):
        parsed("--config", "gone.yaml")


@pytest.mark.parametrize("flag", ["--local_rank=1", "--local-rank=0"])
def test_local_rank_means_nothing(flag):
    assert option_values(parsed(flag)) == option_values(parsed())


def test_help_shows_every_option_in_one_group_and_the_groups_in_order():
    parser = parser_of(TrainConfig, "t")

    groups = [group for group in parser._action_groups if group._group_actions]
    titles = [group.title for group in groups]
    assert titles[1:3] == ["what to train", "how long and how large"]
    assert titles[-1] == "rarely"
    assert len(titles) == len(set(titles)) == 10
    assert [action.dest for action in groups[0]._group_actions] == ["help"]
    shown = [line.rstrip(":") for line in parser.format_help().splitlines() if line.rstrip(":") in titles]
    assert shown == titles
    assert isinstance(parser, argparse.ArgumentParser)


def test_a_process_that_is_launched_takes_flags_before_the_file_too(file):
    cfg = parsed("--config", file("epochs: 7\nbatch_size: 2\n"), "--epochs", "100", "--device", "0,1")

    assert option_values(parsed(*typed(cfg))) == option_values(cfg)
