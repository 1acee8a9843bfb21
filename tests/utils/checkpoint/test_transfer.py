"""A model for other classes keeps what a trained one knows of boxes and of the classes of the same names."""

import pytest
import torch

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.swap import swap_head
from utils.checkpoint.native import save_checkpoint
from utils.checkpoint.transfer import same_classes
from utils.configs.train import TrainConfig
from utils.training.start import build_model, plan_model
from utils.yaml_file import write_yaml

OLD = {0: "cat", 1: "dog", 2: "eel", 3: "fox"}
NEW = {0: "Fox ", 1: "ant", 2: "dog"}


def tiny(head, names):
    data = read_model_yaml("yolov8n.yaml")[0] | {"scales": {"n": [0.1, 0.05, 256]}, "nc": len(names)}
    model = DetectionModel(swap_head(data, head))
    model.names = dict(names)
    return model


def class_rows(model):
    """Return what the head's last convolutions have for boxes (and objectness) and for each class, by level."""
    head = model.head
    if model.yaml.get("anchors"):
        parts = [conv.weight.view(head.na, head.no, -1) for conv in head.m]
        return [part[:, :5] for part in parts], [part[:, 5:].transpose(0, 1) for part in parts]
    return [branch[-1].weight for branch in head.cv2], [branch[-1].weight for branch in head.cv3]


@pytest.mark.parametrize("head", ["anchor", "anchor-free"])
def test_classes_are_carried_over_by_their_names(tmp_path, head, caplog):
    caplog.set_level("INFO")
    torch.manual_seed(0)
    old = tiny(head, OLD)
    save_checkpoint(tmp_path / "old.pt", old, epoch=0, fitness=0.0, training={})

    new = build_model(plan_model(TrainConfig(weights=str(tmp_path / "old.pt"))), NEW, anchors=None)

    (old_boxes, old_classes), (boxes, classes) = class_rows(old), class_rows(new)
    for before, after in zip(old_boxes, boxes, strict=True):
        assert torch.equal(before, after)
    for before, after in zip(old_classes, classes, strict=True):
        assert torch.equal(after[0], before[3])  # fox
        assert torch.equal(after[2], before[1])  # dog
        assert not any(torch.equal(after[1], row) for row in before)
    assert "by name: 2 of 3: Fox , dog" in caplog.text
    assert "not all of row 22 Detect" in caplog.text


@pytest.mark.parametrize("head", ["anchor", "anchor-free"])
def test_classes_in_another_order_are_not_mistaken_for_each_other(tmp_path, head):
    old = tiny(head, OLD)
    save_checkpoint(tmp_path / "old.pt", old, epoch=0, fitness=0.0, training={})
    turned = dict(enumerate(reversed(OLD.values())))

    new = build_model(plan_model(TrainConfig(weights=str(tmp_path / "old.pt"))), turned, anchors=None)

    for before, after in zip(class_rows(old)[1], class_rows(new)[1], strict=True):
        assert torch.equal(after, before.flip(0))


def test_the_class_branch_of_the_anchor_free_head_keeps_its_width(tmp_path):
    names = {index: f"c{index}" for index in range(40)}  # wider than the first level, so that nc sets the width
    old = tiny("anchor-free", names)
    save_checkpoint(tmp_path / "old.pt", old, epoch=0, fitness=0.0, training={})

    new = build_model(plan_model(TrainConfig(weights=str(tmp_path / "old.pt"))), NEW, anchors=None)

    for key, value in old.head.cv3.state_dict().items():
        if key.split(".")[1] != "2":
            assert torch.equal(new.head.cv3.state_dict()[key], value), key
    assert DetectionModel(new.yaml).state_dict().keys() == new.state_dict().keys()
    assert new.yaml["class_width"] == 40


def test_a_larger_model_keeps_the_width_of_its_own(tmp_path):
    small = tiny("anchor-free", {index: f"c{index}" for index in range(40)})
    save_checkpoint(tmp_path / "old.pt", small, epoch=0, fitness=0.0, training={})
    large = tiny("anchor-free", NEW).yaml | {"scales": {"n": [0.1, 0.2, 256]}}
    write_yaml(tmp_path / "large.yaml", {key: value for key, value in large.items() if key != "names"})

    plan = plan_model(TrainConfig(cfg=str(tmp_path / "large.yaml"), weights=str(tmp_path / "old.pt")))
    new = build_model(plan, NEW, anchors=None)

    assert "class_width" not in new.yaml
    assert new.head.class_width == 56  # of the first level, ⌈256 · 0.2⌉ to a multiple of 8


def test_numbers_are_no_names():
    assert same_classes({0: "0", 1: "dog"}, {0: "0", 1: "Dog"}) == [(1, 1)]
    assert same_classes({0: "dog", 1: "dog"}, {0: "dog"}) == [(0, 0)]


def test_names_of_one_class_are_written_in_several_ways():
    assert same_classes({0: "dog", 1: "traffic light"}, {0: "Traffic-Light", 1: "DOG"}) == [(1, 0), (0, 1)]
