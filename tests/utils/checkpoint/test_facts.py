"""What a weights file says of its training becomes a default; what it cannot mean is answered with a sentence."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from utils.checkpoint.facts import TrainingFacts, checkpoint_facts
from utils.checkpoint.load import load_checkpoint
from utils.errors import CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden"


def facts(imgsz=None, opt=None):
    stored = {"imgsz": imgsz, "training": {"opt": opt}}
    return checkpoint_facts(SimpleNamespace(path=Path("x.pt"), facts=stored))


def test_a_file_that_says_nothing_gets_the_defaults(caplog):
    caplog.set_level("INFO")

    trained = facts()

    assert (trained.default_data(), trained.default_imgsz()) == ("data/shapes.yaml", (640, 640))
    assert "imgsz: 640 (the default)" in caplog.text


def test_an_official_checkpoint_tells_its_data_set():
    assert checkpoint_facts(load_checkpoint(GOLDEN / "official_format.pt")) == TrainingFacts(data="data.yaml")


def test_size_and_data_come_from_the_file_and_the_log_says_so(caplog):
    caplog.set_level("INFO")

    trained = facts(imgsz=96, opt={"data": "pets.yaml"})

    assert (trained.default_data(), trained.default_imgsz()) == ("pets.yaml", (96, 96))
    assert "data: pets.yaml (that of the training)" in caplog.text
    assert "imgsz: 96 (that of the training)" in caplog.text


def test_the_size_of_an_export_is_not_called_that_of_the_training(caplog):
    caplog.set_level("INFO")

    assert TrainingFacts(imgsz=(64, 96), is_export=True).default_imgsz() == (64, 96)
    assert "imgsz: 64 96 (that of the export)" in caplog.text


@pytest.mark.parametrize("imgsz", ["640", 640.0, True, 0, -32, 10**9, [], [64], [64, "96"], {"h": 64}, float("nan")])
def test_an_image_size_that_is_none_is_refused(imgsz):
    with pytest.raises(CheckpointError, match=r"x\.pt: its image size is .* instead of pixels") as error:
        facts(imgsz=imgsz)
    assert error.value.fix


@pytest.mark.parametrize("data", [7, ["a.yaml"], {"path": "a"}, True, "a\0b", "a\nb", "x" * 5000])
def test_a_data_set_that_is_no_path_is_refused(data):
    with pytest.raises(CheckpointError, match=r"x\.pt: its data set is ") as error:
        facts(opt={"data": data})
    assert "\n" not in error.value.what
    assert error.value.fix


@pytest.mark.parametrize("opt", [None, [], "data.yaml", {}, {"data": None}, {"data": ""}])
def test_options_that_name_no_data_set_are_none(opt):
    assert facts(opt=opt).data is None
