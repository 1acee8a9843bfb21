"""What val.py and detect.py choose where the user says nothing, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from utils.checkpoint.facts import TrainingFacts
from utils.configs.detect import DetectConfig
from utils.configs.val import ValConfig
from utils.data.scan.spec import DataSpec
from utils.detection.predict import build_predictor
from utils.errors import ConfigError
from utils.evaluation import inputs as val_inputs
from utils.evaluation.coco import COCO_IDS, CocoTruth
from utils.evaluation.inputs import (
    agreed_names,
    build_loader,
    build_observers,
    chosen_classes,
    kept_of_model,
    truth_for,
)
from utils.predictions import BN5C

FACTS = TrainingFacts(imgsz=(256, 256))
FLEXIBLE = SimpleNamespace(layout=BN5C, names={0: "cat"}, stride=32, fixed_size=None, trained=FACTS)
OBLONG = SimpleNamespace(
    layout=BN5C, names={0: "cat"}, stride=32, fixed_size=None, trained=TrainingFacts(imgsz=(96, 160))
)
FIXED = SimpleNamespace(layout=BN5C, names={0: "cat"}, stride=32, fixed_size=(192, 192), trained=FACTS)
DATA = DataSpec(
    file=Path("pets.yaml"), root=Path("/d"), train=[], val=[Path("/d/v")], test=[], names={0: "cat", 1: "dog"}
)


@pytest.mark.parametrize(
    ("cfg", "backend", "size"),
    [
        (DetectConfig(), FLEXIBLE, (256, 256)),
        (DetectConfig(imgsz=(320, 64)), FLEXIBLE, (320, 64)),
        (DetectConfig(), OBLONG, (96, 160)),
        (DetectConfig(), FIXED, (192, 192)),
        (DetectConfig(imgsz=(640,)), FIXED, (192, 192)),
    ],
)
def test_detection_uses_the_size_asked_for_or_that_of_the_training(cfg, backend, size):
    predict = build_predictor(cfg, backend, torch.device("cpu"))

    assert predict.size == size


def test_a_class_that_the_model_does_not_know_cannot_be_chosen():
    cfg = DetectConfig(classes=("0", "99"))

    with pytest.raises(ConfigError, match="--classes 99: the model knows 1 classes"):
        build_predictor(cfg, FLEXIBLE, torch.device("cpu"))


@pytest.fixture
def loader_arguments(monkeypatch):
    """What ``build_val_loader`` is called with."""
    calls = []
    monkeypatch.setattr(val_inputs, "scan_split", lambda data, sources: (sources, data.names))
    monkeypatch.setattr(val_inputs, "build_val_loader", lambda *args, **options: calls.append((args[1:], options)))
    return calls


@pytest.mark.parametrize(
    ("cfg", "backend", "expected"),
    [
        (ValConfig(), FLEXIBLE, ((256, 32, 32), {"workers": 8})),
        (ValConfig(), OBLONG, ((160, 32, 32), {"workers": 8})),
        (ValConfig(imgsz=300, batch_size=4, workers=0), FLEXIBLE, ((320, 4, 32), {"workers": 0})),
        (ValConfig(), FIXED, ((192, 32, 32), {"workers": 8, "rect": False})),
    ],
)
def test_validation_images_suit_the_backend(loader_arguments, cfg, backend, expected):
    build_loader(cfg, DATA, backend)

    assert loader_arguments == [expected]


def test_a_size_that_the_model_does_not_take_is_not_blamed_on_an_export(loader_arguments, caplog):
    caplog.set_level("INFO")

    build_loader(ValConfig(weights="fixed.pt", imgsz=160), DATA, FIXED)
    build_predictor(DetectConfig(weights="fixed.pt", imgsz=(160,)), FIXED, torch.device("cpu"))

    assert [record.getMessage() for record in caplog.records] == ["the model takes images of 192×192 pixels only"] * 2


def test_an_exported_rectangle_is_refused(loader_arguments):
    backend = SimpleNamespace(names={0: "cat"}, stride=32, fixed_size=(192, 320), trained=FACTS)

    with pytest.raises(ConfigError, match="320×192 pixels only"):
        build_loader(ValConfig(weights="a.onnx"), DATA, backend)


def test_an_impossible_size_is_refused(loader_arguments):
    with pytest.raises(ConfigError, match="--imgsz 0"):
        build_loader(ValConfig(imgsz=0), DATA, FLEXIBLE)


def test_model_and_data_must_have_as_many_classes():
    assert agreed_names({0: "Katze", 1: "Hund"}, DATA, single_cls=False) == DATA.names
    assert agreed_names({0: "thing"}, DATA, single_cls=True) == {0: "item"}
    with pytest.raises(ConfigError, match=r"pets.yaml: 2 classes, but the model finds 1: thing"):
        agreed_names({0: "thing"}, DATA, single_cls=False)


@pytest.mark.parametrize(
    ("model", "trained", "wanted", "names", "classes"),
    [
        ("cat dog cow", "", "", "cat dog cow", None),
        ("cow cat dog", "cow cat dog", "", "cow cat dog", None),  # as many as the data has, in the order of a training
        ("cow cat dog", "2 0 1", "", "cow cat dog", None),
        ("cow cat dog", "cow cat dog", "dog cat", "dog cat", [-1, 1, 0]),
        ("Cow cat dog", "", "", "cat dog cow", [2, 0, 1]),  # trained on other data, of the same names
        ("cow cat dog", "", "x=cow,dog", "x", [0, -1, 0]),
        ("cat dog cow", "", "cow cat", "cow cat", [1, -1, 0]),
        ("dog cat", "dog cat", "cat dog", "cat dog", [1, 0]),
        ("Katze Hund Kuh", "", "", "cat dog cow", None),
    ],
)
def test_classes_of_a_model_are_those_of_the_data_by_name(model, trained, wanted, names, classes):
    data = replace(DATA, names=dict(enumerate(("cat", "dog", "cow"))))
    own = dict(enumerate(model.split()))

    selection = chosen_classes(ValConfig(classes=wanted.split()), own, TrainingFacts(classes=trained.split()), data)
    table = kept_of_model(own, data, selection)

    assert list((selection or data).names.values()) == names.split()
    assert (table if table is None else table.tolist()) == classes


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("dog", "cat"),
            "2 classes are called otherwise than in the weights file, the first is dog there and cat",
        ),
        (("cat", "bird"), "1 class is called otherwise than in the weights file, the first is bird there"),
        (("Cat", "dog"), ""),
        (("c-a_t", "D og"), ""),  # as ClassMatcher has it
        (("0", "1"), ""),
    ],
)
def test_a_model_whose_classes_are_called_otherwise_is_told(caplog, names, said):
    """In another order they give figures that are wrong, and look like those of a bad model."""
    agreed_names(dict(enumerate(names)), DATA, single_cls=False)
    assert bool(caplog.records) == bool(said)
    assert said in caplog.text


@pytest.mark.parametrize(("split", "root"), [("/d/coco/val2017.txt", Path("/d")), ("/d/images/val", None)])
def test_the_file_of_coco_is_for_its_own_images_only(tmp_path, caplog, split, root):
    data = SimpleNamespace(root=Path("/d"), val=[Path(split)])

    cfg = ValConfig(weights="w/s.pt", plots=False, save_json=True)
    truth = truth_for(cfg, data)
    [json_file] = build_observers(cfg, tmp_path, {}, truth)

    assert json_file.path == tmp_path / "s_predictions.json"
    assert json_file.truth == truth == (root and CocoTruth(root / "annotations/instances_val2017.json", COCO_IDS))
    assert ("instances_val2017.json does not exist" in caplog.text) == bool(root)


def test_a_data_set_called_coco_saves_json_as_in_yolov5(tmp_path):
    for data, saved in (("data/coco.yaml", 1), ("data/coco128.yaml", 0)):
        assert len(build_observers(ValConfig(weights="s.pt", data=data, plots=False), tmp_path, {})) == saved
