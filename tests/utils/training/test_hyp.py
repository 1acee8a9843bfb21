"""Hyper-parameter files are read whole and checked key by key."""

import math
from dataclasses import dataclass

import pytest
import torch
from tiny_detector import tiny_model

from utils.errors import ConfigError
from utils.hyper import hyper
from utils.losses import LOSSES, build_loss
from utils.losses._contract import register_loss
from utils.runs import ROOT
from utils.training.hyp import known_hyper, load_hyp
from utils.yaml_file import read_yaml, write_yaml

SHIPPED = sorted((ROOT / "data/hyps").glob("*.yaml"))
LOSS = LOSSES.get("Detect")
LOW = ROOT / "data/hyps/hyp.scratch-low.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path):
    hyp = load_hyp(path, LOSS)
    assert hyp["lr0"] == read_yaml(path)["lr0"]
    assert hyp["nominal_batch"] == read_yaml(path).get("nominal_batch", 64)


@pytest.mark.parametrize("head", sorted(LOSSES))
def test_the_file_of_a_head_has_every_key_that_is_not_0_by_default(head):
    """The report, which imports no PyTorch, takes the defaults from there."""
    loss = LOSSES.get(head)
    optional = {key: item.default for key, item in known_hyper(loss).items() if item.metadata["optional"]}

    assert {key for key, default in optional.items() if default} <= read_yaml(ROOT / "data/hyps" / loss.file).keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr00: 0.1", "unknown key 'lr00'"),
        ("mosaic: 5.0", "mosaic: 5.0 is not a number from 0 to 1"),
        ("momentum: 1.5", "momentum: 1.5"),
        ("box: .nan", "box: nan"),
        ("lr0: fast", "lr0: 'fast'"),
        ("fliplr: true", "fliplr: True"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, change, message):
    key = change.split(":")[0]
    lines = [line for line in LOW.read_text().splitlines() if not line.startswith(f"{key}:")]
    (tmp_path / "hyp.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(ConfigError, match=r"hyp\.yaml") as caught:
        load_hyp(tmp_path / "hyp.yaml", LOSS)
    assert message in caught.value.what


def test_all_missing_keys_are_listed_at_once(tmp_path):
    (tmp_path / "hyp.yaml").write_text("lr0: 1e-3\n")
    with pytest.raises(ConfigError, match=r"lrf, momentum, .*copy_paste"):
        load_hyp(tmp_path / "hyp.yaml", LOSS)


def test_a_number_in_exponent_form_is_a_number(tmp_path):
    text = LOW.read_text().replace("lr0: 0.01", "lr0: 1e-3")
    (tmp_path / "hyp.yaml").write_text(text)
    assert load_hyp(tmp_path / "hyp.yaml", LOSS)["lr0"] == 0.001


TOY = "Toy"


@dataclass(frozen=True)
class ToyGains:
    blob: float = hyper(2.5, 0, 10)
    box: float = hyper(7.0, 0, 10)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))
    register_loss(TOY, ToyGains)(None)
    return LOSSES.get(TOY)


def test_gains_of_another_head_are_left_out_and_the_own_ones_said(toy, caplog):
    caplog.set_level("INFO")

    hyp = load_hyp(LOW, toy)

    assert (hyp["blob"], hyp["box"]) == (2.5, 7.0)  # box of the file is for another loss
    assert hyp["lr0"] == 0.01
    assert "anchor_t" not in hyp
    assert "blob 2.5, box 7" in caplog.text


def test_gains_of_the_head_in_the_file_are_taken(toy, tmp_path):
    (tmp_path / "hyp.yaml").write_text(LOW.read_text() + "blob: 4\n")

    hyp = load_hyp(tmp_path / "hyp.yaml", toy)

    assert (hyp["blob"], hyp["box"]) == (4, 0.05)


def test_a_file_with_a_part_of_the_gains_is_refused(toy, tmp_path):
    lines = [line for line in LOW.read_text().splitlines() if not line.startswith("obj:")]
    (tmp_path / "hyp.yaml").write_text("\n".join(lines))

    with pytest.raises(ConfigError, match="obj"):
        load_hyp(tmp_path / "hyp.yaml", LOSS)


def test_a_key_that_only_the_loss_of_another_head_has_is_told_not_to_be_used(tmp_path, caplog):
    caplog.set_level("INFO")
    file = tmp_path / "hyp.yaml"
    file.write_text((ROOT / "data/hyps/hyp.yolov8.yaml").read_text() + "\nanchors: 4\n")

    hyp = load_hyp(file, LOSSES.get("AnchorFreeDetect"))

    assert "anchors" not in hyp
    assert [record.getMessage() for record in caplog.records] == ["hyp.yaml: not used with this head: anchors"]


@pytest.mark.parametrize("base", ["hyp.scratch-low", "hyp.yolov8"])
@pytest.mark.parametrize(("key", "value"), [("fl_gamma", 1.5), ("label_smoothing", 0.1)])
def test_what_the_loss_of_the_head_does_not_have_cannot_be_switched_on(tmp_path, base, key, value):
    file = tmp_path / "hyp.yaml"
    write_yaml(file, read_yaml(ROOT / f"data/hyps/{base}.yaml") | {key: value})

    with pytest.raises(ConfigError, match=f"{key}: {value}: the loss of this head has no such thing") as error:
        load_hyp(file, LOSSES.get("AnchorFreeDetect"))
    assert error.value.fix == f"set {key} to 0"
    if base == "hyp.scratch-low":
        assert load_hyp(file, LOSS)[key] == value
    write_yaml(file, read_yaml(file) | {key: 0})
    assert key not in load_hyp(file, LOSSES.get("AnchorFreeDetect"))


@pytest.mark.parametrize(("gamma", "factor"), [(0.0, 1.0), (2.0, 0.25 * 0.25)])
def test_the_focal_exponent_reaches_the_loss_of_the_anchor_head(tmp_path, gamma, factor):
    """A class logit of 0 costs log 2; focal, times alpha 0.25 of a positive times (1 - 0.5)^2."""
    file = tmp_path / "hyp.yaml"
    write_yaml(file, read_yaml(LOW) | {"fl_gamma": gamma, "obj": 0, "box": 0, "cls": 1, "label_smoothing": 0})
    model = tiny_model()
    loss = build_loss(model.head, load_hyp(file, LOSS), 640)
    maps = [torch.zeros(1, 2, size, size, 8) for size in (8, 4)]
    for level in maps:
        level[..., 5 + 1 :] = -40.0  # the other classes are right, and cost nothing
    targets = torch.tensor([[0, 0, 0.5, 0.5, 0.3, 0.3]])

    _, terms = loss(maps, targets)

    # gain 1 · 3/2 levels · 3/80 classes, mean over three classes of which one counts; both levels match
    assert terms[2].item() / factor == pytest.approx(2 * 1.5 * 3 / 80 * math.log(2) / 3, rel=1e-5)
