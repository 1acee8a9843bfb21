"""A checkpoint in another format is the same detector; what YOLOv5 gets has the layout of its own files."""

import json
import pickletools
import zipfile
from pathlib import Path

import pytest
import torch
from official_layout import save_official
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_detector import tiny_model
from torch import nn

from models.detector import DetectionModel
from models.layers.conv import Conv
from utils.checkpoint.archive import Archive
from utils.checkpoint.convert import convert
from utils.checkpoint.info import info_lines
from utils.checkpoint.load import load_checkpoint, load_model, load_weights
from utils.checkpoint.module_tree import walk_modules
from utils.checkpoint.native import save_checkpoint
from utils.checkpoint.tables import Node, TensorRecord
from utils.errors import CheckpointError, ConfigError
from utils.runs import ROOT
from utils.yaml_file import read_yaml

GOLDEN = Path(__file__).parents[2] / "golden"
OFFICIAL = GOLDEN / "official_format.pt"
SLOW = pytest.mark.slow
NUMPY = {"numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode"}  # of a best_fitness


def saved_model(path, model):
    save_checkpoint(path, model, epoch=3, fitness=0.25, training={"opt": {"data": "pets.yaml"}, "hyp": {"lr0": 0.01}})
    return path


def named_globals(path):
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    return [argument for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"]


def instructions(path):
    """Return the pickle without what numbers its memo; equal ones build the same objects."""
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    return [
        (opcode.name.replace("LONG_BIN", "BIN"), None if "PUT" in opcode.name or "GET" in opcode.name else argument)
        for opcode, argument, _ in pickletools.genops(pickled)
    ]


def attributes(path):
    """Return every order of attributes that the instances of each class have."""
    found = {}
    for node in walk_modules(Archive(path).root["model"]).values():
        found.setdefault(str(node.kind), set()).add(tuple(node.state))
    return found


def contents(value):
    """Return a value of a pickle with all its instances, and with tensors as what they are without their storage."""
    if isinstance(value, Node):
        return str(value.kind), contents(value.state)
    if isinstance(value, TensorRecord):
        return value.shape, value.stride, value.storage.dtype
    if isinstance(value, dict):
        return {key: contents(item) for key, item in value.items()}
    return [contents(item) for item in value] if isinstance(value, list) else value


def same_state(first, second):
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_official_file_comes_back_instruction_by_instruction(tmp_path):
    written = convert(OFFICIAL, "official", half=True, out=tmp_path / "x.pt")

    theirs, ours = instructions(OFFICIAL), instructions(written)
    start = ours.index(("BINUNICODE", "model"))  # in front of it, theirs has the best fitness, as an array
    theirs = theirs[theirs.index(("BINUNICODE", "model")) :]
    differing = {(a, b) for a, b in zip(theirs, ours[start:], strict=True) if a != b}
    assert differing == {(("NEWTRUE", None), ("NEWFALSE", None))}  # requires_grad, which YOLOv5's strip switches off
    assert [name for name in named_globals(OFFICIAL) if name not in NUMPY] == named_globals(written)
    assert attributes(OFFICIAL) == attributes(written)
    same_state(load_checkpoint(OFFICIAL).state, load_checkpoint(written).state)
    theirs, ours = Archive(OFFICIAL), Archive(written)
    assert contents(theirs.root["model"]) == contents(ours.root["model"])
    heads = [walk_modules(archive.root["model"])["model.24"].state for archive in (theirs, ours)]
    for key in ("grid", "anchor_grid"):
        for a, b in zip(heads[0][key], heads[1][key], strict=True):
            assert torch.equal(theirs.tensor(a), ours.tensor(b))
    assert torch.equal(theirs.tensor(heads[0]["stride"]), ours.tensor(heads[1]["stride"]))


@pytest.mark.parametrize(
    ("yaml", "width", "levels"),
    [
        ("yolov5n.yaml", 0.25, 3),
        pytest.param("hub/yolov5n6.yaml", 0.25, 4, marks=SLOW),
        ("hub/yolov5n6.yaml", 0.0625, 4),
    ],
)
def test_a_model_of_ours_gets_the_layout_of_the_official_file(tmp_path, yaml, width, levels):
    model = DetectionModel({**read_yaml(ROOT / "models" / yaml), "width_multiple": width})
    path = saved_model(tmp_path / "best.pt", model)

    written = convert(path, "official", half=True)

    assert written == tmp_path / "best_yolov5.pt"
    assert [name for name in named_globals(OFFICIAL) if name not in NUMPY] == named_globals(written)
    assert attributes(OFFICIAL) == attributes(written)
    loaded = load_checkpoint(written)
    same_state(
        {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}, loaded.state
    )
    assert loaded.yaml == model.yaml
    assert loaded.names == model.names
    assert len(loaded.stride) == levels


def test_without_half_every_number_stays(tmp_path):
    model = tiny_model()

    written = convert(saved_model(tmp_path / "best.pt", model), "official")

    same_state(model.state_dict(), load_checkpoint(written).state)
    assert "torch HalfStorage" not in named_globals(written)
    assert Archive(written).root["opt"] == {"data": "pets.yaml"}
    assert Archive(written).root["model"].state["hyp"] == {"lr0": 0.01}


@pytest.mark.parametrize(
    "name",
    [
        "hub/yolov5s-ghost.yaml",
        *(pytest.param(f"hub/{name}.yaml", marks=SLOW) for name in ("yolov3-tiny", "yolov3-spp")),
    ],
)
def test_other_layers_of_yolov5_are_written_too(tmp_path, name):
    model = DetectionModel(
        {**read_yaml(ROOT / "models" / name), "nc": 3, "width_multiple": 0.0625, "depth_multiple": 0.1}
    )

    written = convert(saved_model(tmp_path / "best.pt", model), "official")

    same_state(model.state_dict(), load_checkpoint(written).state)


def test_activations_of_another_kind_are_written_as_they_are(tmp_path):
    model = tiny_model(activation="nn.LeakyReLU(0.1)")

    written = convert(saved_model(tmp_path / "best.pt", model), "official")

    assert repr(load_model(written).model[0].act) == "LeakyReLU(negative_slope=0.1)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backbone": [[-1, 1, "fasternet_t0", [False]]], "head": [[[2, 3], 1, "Detect", ["nc", "anchors"]]]},
            "row 0 .*'fasternet_t0",
        ),
        ({"normalize": {"mean": [0.5] * 3, "std": [0.2] * 3}}, "normalises images"),
        ({"bits": 16}, "16 bits"),
    ],
)
def test_a_model_with_parts_that_yolov5_lacks_is_refused_in_one_sentence(tmp_path, changes, words):
    path = saved_model(tmp_path / "best.pt", tiny_model(**changes))

    with pytest.raises(CheckpointError, match=f"{words}.*, which a YOLOv5 checkpoint cannot hold") as error:
        convert(path, "official")
    assert "safetensors" in error.value.fix
    assert [file.name for file in tmp_path.iterdir()] == ["best.pt"]


def test_layers_of_the_yolov8_family_are_none_of_yolov5(tmp_path):
    with pytest.raises(CheckpointError, match="its model description has 'scales', which"):
        convert(GOLDEN / "v8/official_format_v8.pt", "official", out=tmp_path / "x.pt")


def test_a_value_that_float16_cannot_hold_is_named(tmp_path):
    model = tiny_model()
    model.model[0].conv.weight.data[0, 0, 0, 0] = 1e6

    with pytest.raises(CheckpointError, match=r"'model\.0\.conv\.weight' holds values beyond float16"):
        convert(saved_model(tmp_path / "best.pt", model), "official", half=True)
    assert [file.name for file in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize("source", [OFFICIAL, GOLDEN / "v8/official_format_v8.pt"], ids=lambda path: path.stem)
def test_a_checkpoint_goes_through_safetensors_and_ours_and_stays_the_same(tmp_path, source):
    before = load_checkpoint(source)

    first = convert(source, "safetensors", out=tmp_path / "x.safetensors")
    second = convert(first, "pt", out=tmp_path / "y.pt")

    for path in (first, second):
        after = load_checkpoint(path)
        same_state(before.state, after.state)
        assert (after.yaml, after.names, after.stride) == (before.yaml, before.names, before.stride)
        assert after.facts["training"]["opt"] == before.facts["training"]["opt"]


def test_the_safetensors_library_reads_the_file(tmp_path):
    model = tiny_model()

    written = convert(saved_model(tmp_path / "best.pt", model), "safetensors", half=True)

    with safe_open(written, framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        assert file.get_tensor("model.0.conv.weight").dtype == torch.float16
        assert json.loads(file.metadata()["yolo-backbones"])["epoch"] == 3


def test_a_user_s_backbone_goes_through_safetensors(tmp_path):
    yaml = {"backbone": [[-1, 1, "emo_1m", [False]]], "head": [[[2, 3], 1, "Detect", ["nc", "anchors"]]]}
    model = tiny_model(**yaml)

    written = convert(saved_model(tmp_path / "best.pt", model), "safetensors")

    same_state(model.state_dict(), load_checkpoint(written).state)


def test_a_bare_safetensors_file_is_a_state_dict(tmp_path):
    save_file({"a.weight": torch.ones(2, 3)}, tmp_path / "x.safetensors")

    assert torch.equal(load_weights(tmp_path / "x.safetensors")["a.weight"], torch.ones(2, 3))
    assert "without a model description" in info_lines(tmp_path / "x.safetensors")[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x10\0\0\0\0\0\0\0{", "damaged"),
        (b"\xff" * 100, "not a safetensors file"),
        (b"<html>", "HTML page"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path, content, words):
    (tmp_path / "x.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=words):
        load_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("text", ["[" * 100_000, "no JSON", "3", '{"version": 9}', '{"version": 1}'])
def test_a_wrong_entry_of_ours_is_refused(tmp_path, text):
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors", {"yolo-backbones": text})

    with pytest.raises(CheckpointError):
        load_weights(tmp_path / "x.safetensors")


def test_an_official_file_with_settings_that_ours_lacks_is_not_converted(tmp_path):
    model = tiny_model()
    model.model[0].bn.eps = 0.5
    save_official(tmp_path / "x.pt", model)

    with pytest.raises(CheckpointError, match="settings of layers that the new file cannot"):
        convert(tmp_path / "x.pt", "pt", out=tmp_path / "y.pt")
    assert not (tmp_path / "y.pt").exists()
    assert load_model(convert(tmp_path / "x.pt", "official", out=tmp_path / "z.pt")).model[0].bn.eps == 0.5


def test_activations_that_old_code_had_built_in_are_kept(tmp_path):
    model = tiny_model()
    for module in [part for part in model.modules() if isinstance(part, Conv)]:
        module.act = nn.Hardswish()
    save_official(tmp_path / "x.pt", model)

    written = convert(tmp_path / "x.pt", "pt", out=tmp_path / "y.pt")

    assert isinstance(load_model(written).model[0].act, nn.Hardswish)


def test_a_file_that_is_there_is_never_written_over(tmp_path):
    path = saved_model(tmp_path / "best.pt", tiny_model())
    content = path.read_bytes()

    with pytest.raises(ConfigError, match="exists"):
        convert(path, "pt")
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        convert(path, "pt", out=tmp_path / "x.onnx")
    assert path.read_bytes() == content


def test_what_is_told_of_an_official_file():
    lines = info_lines(OFFICIAL)

    assert lines[0] == f"{OFFICIAL}: a checkpoint of YOLOv5, 0.4 MB"
    assert lines[1:] == [
        "  349 tensors of 118,910 numbers",
        "  model: 25 rows, from Conv to Detect, images of 3 channels",
        "  strides: 8 16 32",
        "  6 classes: disc, square, triangle, star, ring, cross",
        "  epoch: not told, as of a training that is over",
        "  best fitness: 0.123",
        "  data: data.yaml",
        "  written: 2026-01-01T00:00:00",
    ]
