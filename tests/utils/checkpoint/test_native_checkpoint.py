"""Our checkpoints hold tensors and plain data only, come back exactly, and are written whole or not at all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_detector import TINY, tiny_model

from models.detector import DetectionModel
from utils.checkpoint.load import load_checkpoint, load_model
from utils.checkpoint.native import save_checkpoint
from utils.checkpoint.transfer import transfer
from utils.errors import CheckpointError, DivergedError, StorageError

if sys.platform != "win32":
    import resource


def save(path, model=None, **changes):
    save_checkpoint(path, model or tiny_model(), **{"epoch": 4, "fitness": 0.25, "training": {}, **changes})
    return path


def test_pytorch_reads_it_with_weights_only(tmp_path):
    training = {
        "hyp": {"lr0": 0.01},
        "opt": {"data": Path("data/x.yaml"), "best": np.float64(0.5)},
        "rng": torch.arange(3),
    }

    content = torch.load(save(tmp_path / "x.pt", training=training, imgsz=64), weights_only=True)

    assert content["format"] == "yolo-backbones"
    assert content["names"] == {0: "class 0", 1: "class 1", 2: "class 2"}
    assert (content["nc"], content["stride"], content["imgsz"], content["epoch"]) == (3, [8, 16], 64, 4)
    assert content["training"]["opt"] == {"data": "data/x.yaml", "best": 0.5}
    assert content["training"]["rng"].tolist() == [0, 1, 2]


def test_the_model_comes_back_with_the_same_output(tmp_path):
    model = tiny_model(activation="nn.LeakyReLU(0.1)")
    model.head.anchors.mul_(1.5)  # as AutoAnchor leaves it: not what the YAML says
    images = torch.rand(2, 3, 64, 96)

    loaded = load_model(save(tmp_path / "x.pt", model))

    with torch.inference_mode():
        torch.testing.assert_close(loaded(images)[0], model(images)[0], rtol=0, atol=0)
    assert loaded.names == model.names
    assert not loaded.training


def test_half_stores_weights_in_float16_and_all_else_as_it_is(tmp_path):
    model = tiny_model()
    model.head.anchors.mul_(1.2345)

    full = load_checkpoint(save(tmp_path / "full.pt", model)).state
    half = torch.load(save(tmp_path / "half.pt", model, half=True), weights_only=True)["state"]

    weights = {name for name, parameter in model.named_parameters() if parameter.ndim == 4}
    assert {name for name, value in half.items() if value.dtype == torch.float16} == weights
    for name, value in half.items():
        assert torch.equal(value, full[name].half() if name in weights else full[name])
    loaded = load_checkpoint(tmp_path / "half.pt").state
    assert {value.dtype for value in loaded.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("scale", [1e6, 1e-6], ids=["beyond 65504", "below 6e-5"])
def test_a_weight_that_float16_holds_badly_stays_float32(tmp_path, scale):
    model = tiny_model()
    model.model[0].conv.weight.data.mul_(scale)

    state = torch.load(save(tmp_path / "x.pt", model, half=True), weights_only=True)["state"]

    assert torch.equal(state["model.0.conv.weight"], model.model[0].conv.weight)
    assert state["model.1.conv.weight"].dtype == torch.float16


def test_facts_come_back(tmp_path):
    checkpoint = load_checkpoint(save(tmp_path / "x.pt", training={"hyp": {"lr0": 0.01}, "seeds": (1, 2)}, imgsz=320))

    assert (checkpoint.epoch, checkpoint.stride, checkpoint.facts["best_fitness"]) == (4, (8, 16), 0.25)
    assert checkpoint.facts["training"] == {"hyp": {"lr0": 0.01}, "seeds": (1, 2)}
    assert checkpoint.facts["imgsz"] == 320


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_written(tmp_path, number):
    model = tiny_model()
    path = save(tmp_path / "x.pt", model)
    good = path.read_bytes()
    name, parameter = list(model.named_parameters())[3]
    parameter.data.view(-1)[-1] = number

    with pytest.raises(DivergedError, match=f"{name} is not finite"):
        save(path, model)

    assert [file.read_bytes() for file in tmp_path.iterdir()] == [good]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("limit", [0, 1, 1000, 30_000])
def test_a_disk_that_is_full_at_any_byte_leaves_the_old_file(tmp_path, limit):
    path = save(tmp_path / "x.pt")
    good = path.read_bytes()
    assert len(good) > limit
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageError, match=r"x\.pt: cannot be written") as error:
            save(path, epoch=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert error.value.exit_code == 5 and error.value.fix.startswith("free some space")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [good]


def test_saving_leaves_the_model_as_it_is_and_writes_float32(tmp_path):
    model = tiny_model().half()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    state = load_checkpoint(save(tmp_path / "x.pt", model)).state

    assert all(
        torch.equal(value, before[key]) and value.dtype == before[key].dtype
        for key, value in model.state_dict().items()
    )
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    assert save(tmp_path / "a.pt").read_bytes() == save(tmp_path / "b.pt").read_bytes()


def test_what_is_neither_tensor_nor_plain_data_is_refused_by_its_place(tmp_path):
    save(tmp_path / "x.pt")
    old = (tmp_path / "x.pt").read_bytes()

    with pytest.raises(TypeError, match=r"training\.opt\[1\]: a set"):
        save(tmp_path / "x.pt", training={"opt": [1, {2}]})

    assert (tmp_path / "x.pt").read_bytes() == old
    assert list(tmp_path.iterdir()) == [tmp_path / "x.pt"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    save(tmp_path / "x.pt")
    old = (tmp_path / "x.pt").read_bytes()

    def half_a_file(content, file):
        file.write(b"PK")
        raise RuntimeError("killed")

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(RuntimeError, match="killed"):
        save(tmp_path / "x.pt", epoch=5)

    assert (tmp_path / "x.pt").read_bytes() == old
    assert list(tmp_path.iterdir()) == [tmp_path / "x.pt"]


ODD_SIZES = ("640", 640.0, True, 0, -640, 32768, 2**100, [640], (640, 480), float("nan"))


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("version", 2, "checkpoint version 2; this code reads version 1"),
        ("yaml", "yolov5n.yaml", "its entry 'yaml' is missing or not a mapping"),
        ("epoch", None, "its entry 'epoch'"),
        ("names", {0: "a", 2: "b", 3: "c"}, "3 class names are not numbered 0 to 2"),
        *((("imgsz", value, "its entry 'imgsz' is missing or not a size")) for value in ODD_SIZES),
        *(
            (("stride", value, "its entry 'stride' is"))
            for value in (None, 8, (8, 16), ["8"], [8.0], [True], [0], [-8])
        ),
        *((("epoch", value, "its entry 'epoch' is")) for value in ("4", 4.0, True, -2, [4])),
        *((("best_fitness", value, "its entry 'best_fitness' is")) for value in ("high", None, True, [0.5])),
        *((("training", value, "its entry 'training' is")) for value in (None, [], "opt")),
        *((("training", {"opt": value}, "whose 'opt' is one")) for value in ([], "x", 3, None)),
        *(
            (("training", {"opt": {"data": value}}, "with a text as 'data'"))
            for value in (7, 0.5, ["x.yaml"], {}, True)
        ),
        ("names", {0: "a", 1: ["b"], 2: "c"}, "its class names hold a list instead of a text"),
        ("names", {0: "a", 1: None, 2: "c"}, "its class names hold None instead of a text"),
        ("nc", 4, "3 class names are not numbered 0 to 3"),
        ("yaml", TINY | {"nc": 4}, "nc is 3, but 4 in its model description"),
        ("names", {0: "a"}, "1 class names are not numbered 0 to 2"),
        ("nc", "three", "its class count nc is 'three'"),
        ("state", {"a": 1}, "its entry 'state' is not a table of tensors"),
        ("state", {}, "tensor 'model.0.conv.weight' is missing in the file"),
        ("yaml", {"nc": 3}, "its model description is wrong"),
    ],
)
def test_an_inconsistent_file_is_refused_with_one_sentence(tmp_path, entry, value, words):
    content = torch.load(save(tmp_path / "x.pt"), weights_only=True)
    torch.save(content | {entry: value}, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match=words) as error:
        load_model(tmp_path / "x.pt")
    assert "\n" not in error.value.what


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(tmp_path, bad):
    content = torch.load(save(tmp_path / "x.pt"), weights_only=True)
    content["state"]["model.8.m.1.bias"][3] = bad
    torch.save(content, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match=r"'model\.8\.m\.1\.bias' holds NaN or infinity"):
        load_model(tmp_path / "x.pt")


def test_a_tensor_left_over_or_of_another_shape_is_refused_by_name(tmp_path):
    content = torch.load(save(tmp_path / "x.pt"), weights_only=True)
    torch.save(content | {"state": content["state"] | {"model.9.x": torch.zeros(1)}}, tmp_path / "more.pt")
    torch.save(content | {"state": content["state"] | {"model.0.bn.bias": torch.zeros(5)}}, tmp_path / "shape.pt")

    with pytest.raises(CheckpointError, match=r"'model\.9\.x' is \(1,\) in the file but not part of the model"):
        load_model(tmp_path / "more.pt")
    with pytest.raises(CheckpointError, match=r"'model\.0\.bn\.bias' is \(5,\) in the file but \(8,\) in the model"):
        load_model(tmp_path / "shape.pt")


def test_transfer_copies_what_fits_and_leaves_the_rest():
    source, target = tiny_model(nc=5), tiny_model(nc=3)
    source.model[0].conv.weight.data.fill_(2)
    source.head.anchors.fill_(9)
    head = target.head.m[0].weight.clone()

    copied = transfer(target, source.state_dict(), exclude=("anchor",))

    left = 5  # weight and bias of two levels differ in shape; the anchors are excluded
    assert len(copied) == len(target.state_dict()) - left
    assert (target.model[0].conv.weight == 2).all()
    assert torch.equal(target.head.m[0].weight, head)
    assert not (target.head.anchors == 9).any()


@pytest.mark.parametrize(("nc", "exclude", "expected"), [(80, (), 349), (3, (), 343), (3, ("anchor",), 342)])
def test_transfer_counts_of_yolov5s_are_the_reference_ones(yolov5s_state, nc, exclude, expected):
    target = DetectionModel("yolov5s.yaml", nc=nc)

    assert len(transfer(target, yolov5s_state, exclude)) == expected
    assert len(target.state_dict()) == 349


@pytest.fixture(scope="module")
def yolov5s_state():
    return DetectionModel("yolov5s.yaml").state_dict()
