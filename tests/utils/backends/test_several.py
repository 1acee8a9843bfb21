"""Several weights files are one detector; the ways in which it can run are taken or refused, never ignored."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from tiny_detector import TINY, tiny_model

from models.detector import DetectionModel
from models.tta import predict_augmented
from utils.backends.choose import load_backend
from utils.backends.several import load_backends
from utils.checkpoint.convert import convert
from utils.checkpoint.native import save_checkpoint
from utils.errors import CheckpointError, ConfigError, UserError
from utils.export.onnx import export_onnx
from utils.hub.detector import load
from utils.predictions import BN6

CPU = torch.device("cpu")


def saved(path, model):
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two detectors of the same classes, ``a`` of strides 4 and 8, ``b`` of 16, and exports."""
    folder = tmp_path_factory.mktemp("several")
    model = tiny_model()
    saved(folder / "a.pt", model)
    head = [[[-1], 1, "Detect", ["nc", "anchors"]]]
    saved(
        folder / "b.pt",
        tiny_model(head=head, anchors=[[10, 13, 16, 30]], backbone=[*TINY["backbone"], [-1, 1, "Conv", [64, 3, 2]]]),
    )
    export_onnx(model, folder / "fixed.onnx", (64, 96))
    export_onnx(model, folder / "dynamic.onnx", (64, 96), dynamic=True)
    export_onnx(model, folder / "small.onnx", (64, 64))
    return folder


def images(count=1, height=64, width=96):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_an_ensemble_finds_what_its_members_find_one_after_the_other(folder):
    paths = [folder / "a.pt", folder / "b.pt"]
    members = [load_backend(path) for path in paths]

    ensemble = load_backends(paths, CPU)

    assert [member.stride for member in members] == [16, 32]
    assert ensemble.stride == 32
    expected = torch.cat([member(images(2)).output for member in members], dim=1)
    assert torch.equal(ensemble(images(2)).output, expected)
    assert ensemble.names == members[0].names


def test_formats_may_be_mixed_and_the_size_of_one_holds_for_all(folder):
    ensemble = load_backends([folder / "a.pt", folder / "fixed.onnx"], CPU)

    assert ensemble.fixed_size == (64, 96)
    found = ensemble(images()).output
    half = found.shape[1] // 2
    torch.testing.assert_close(found[:, :half], found[:, half:], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nc": 2}, "other classes: 3, and 2"),
        ({"names": ["class 0", "dog", "class 2"]}, "other classes: 1 is 'class 1', and 1 is 'dog'"),
        ({"ch": 1}, "other channels of images: 3, and 1"),
        ({"bits": 16}, "other bits of images: 8, and 16"),
    ],
)
def test_members_that_do_not_fit_together_are_refused(folder, tmp_path, changes, words):
    model = tiny_model(**changes)
    if "names" in changes:
        model.names = dict(enumerate(changes["names"]))
    other = saved(tmp_path / "other.pt", model)

    with pytest.raises(ConfigError, match=words):
        load_backends([folder / "a.pt", other], CPU)


def test_members_may_write_the_names_of_their_classes_in_other_ways(folder, tmp_path):
    model = tiny_model()
    model.names = {0: "Class_0", 1: "class-1", 2: "CLASS 2"}

    ensemble = load_backends([folder / "a.pt", saved(tmp_path / "other.pt", model)], CPU)

    assert ensemble.names == tiny_model().names


def test_heads_of_two_kinds_and_exports_of_two_sizes_are_refused(folder, tmp_path):
    yaml = {key: value for key, value in TINY.items() if key != "anchors"}
    model = DetectionModel({**yaml, "head": [*TINY["head"][:-1], [[-1, 5], 1, "Detect", ["nc"]]]})
    model.names = tiny_model().names
    other = saved(tmp_path / "other.pt", model)

    with pytest.raises(ConfigError, match="other layouts of predictions: BN5C, and B4CN"):
        load_backends([folder / "a.pt", other], CPU)
    with pytest.raises(ConfigError, match=r"takes images of 64×96, .*small\.onnx of 64×64 pixels only"):
        load_backends([folder / "fixed.onnx", folder / "small.onnx"], CPU)


def test_augmentation_is_the_one_of_models_tta_for_every_member(folder):
    paths = [folder / "a.pt", folder / "b.pt"]
    expected = [predict_augmented(load_backend(path).model, images()).output for path in paths]

    assert torch.equal(load_backends(paths, CPU, augment=True)(images()).output, torch.cat(expected, dim=1))
    assert torch.equal(load_backends(paths[0], CPU, augment=True)(images()).output, expected[0])


def test_the_python_api_takes_several_files_and_augments_a_single_call(folder):
    array = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    detector = load([folder / "a.pt", folder / "b.pt"], device="cpu", conf=0.0, max_det=5)
    plain = load(folder / "a.pt", device="cpu")

    assert len(detector(array, imgsz=64).xyxy[0]) == 5
    assert plain(images(), augment=True).shape[1] > plain(images()).shape[1]
    assert torch.equal(load(folder / "a.pt", device="cpu", augment=True)(images()), plain(images(), augment=True))
    with pytest.raises(ConfigError, match=r"augmentation is for \.pt files"):
        load(folder / "fixed.onnx", device="cpu")(images(), augment=True)


def test_opencv_finds_what_onnx_runtime_finds(folder):
    expected = load_backends(folder / "fixed.onnx", CPU)(images(3))

    found = load_backends(folder / "fixed.onnx", CPU, dnn=True)(images(3))

    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-2)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "how", "words"),
    [
        ("dynamic.onnx", {"dnn": True}, "takes images of any size or number"),
        ("a.pt", {"dnn": True}, r"OpenCV runs \.onnx files, not"),
        ("fixed.onnx", {"augment": True}, r"augmentation is for \.pt files"),
        ("a.pt", {"half": True}, "float16 is for a GPU, and this runs on the CPU"),
        ("a.pt", {"data": "data/coco128.yaml"}, "80 classes, but the model finds 3: class 0, class 1, class 2"),
    ],
)
def test_a_way_that_a_file_cannot_run_is_refused(folder, file, how, words):
    with pytest.raises(UserError, match=words):
        load_backends(folder / file, CPU, **how)


def test_an_exported_file_has_its_precision(folder):
    with pytest.raises(ConfigError, match="runs in the precision that it was exported in"):
        load_backends(folder / "fixed.onnx", torch.device("meta"), half=True)


def test_a_model_in_float16_gives_float32_predictions_near_those_of_float32(folder):
    backend = load_backend(folder / "a.pt")
    expected = backend(images())

    backend.model.half()  # what --half does, on a GPU
    found = backend(images())

    assert found.output.dtype == torch.float32
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=0.5)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=0.01)


def test_a_safetensors_file_runs_as_its_checkpoint(folder):
    written = convert(folder / "a.pt", "safetensors")

    assert torch.equal(load_backend(written)(images()).output, load_backend(folder / "a.pt")(images()).output)


def test_names_of_a_data_set_stand_for_those_of_the_file(folder, tmp_path):
    (tmp_path / "pets.yaml").write_text("train: images\nval: images\nnames: [cat, dog, eel]\n")

    found = load_backends([folder / "a.pt", folder / "b.pt"], CPU, data=str(tmp_path / "pets.yaml"), augment=True)

    assert found.names == {0: "cat", 1: "dog", 2: "eel"}


def test_a_damaged_network_is_refused_by_opencv_in_one_sentence(folder, tmp_path):
    model = onnx.load(folder / "fixed.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "x.onnx")

    with pytest.raises(CheckpointError, match="OpenCV cannot"):
        load_backends(tmp_path / "x.onnx", CPU, dnn=True)(images())


def test_files_that_suppress_by_themselves_are_no_ensemble(folder, monkeypatch):
    member = SimpleNamespace(layout=BN6, stride=32, names={0: "a"}, channels=3, bits=8, fixed_size=None)
    monkeypatch.setattr("utils.backends.several.load_backend", lambda *args: member)

    with pytest.raises(ConfigError, match="suppresses by itself"):
        load_backends(["a.onnx", "b.onnx"], CPU)
