"""Every format is written and computes what PyTorch computes, or says in a sentence what to do instead."""

import json
from pathlib import Path

import pytest
import torch
from tiny_detector import finding_model

import export
from utils.backends.choose import load_backend
from utils.checkpoint.native import save_checkpoint
from utils.formats import FORMATS, format_of

WRITTEN = [form for form in FORMATS if form.is_written]
FILES = [f"tiny{form.suffix}" for form in WRITTEN]


@pytest.fixture(scope="module")
def model():
    return finding_model()


def checkpoint(folder, model):
    save_checkpoint(folder / "tiny.pt", model, epoch=0, fitness=0.0, training={"opt": {"data": "pets.yaml"}}, imgsz=64)
    return str(folder / "tiny.pt")


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory):
    """Return folders with the files of all formats, for any size and for one."""
    found = {}
    for name, options in {"dynamic": {"dynamic": True}, "fixed": {"imgsz": (64, 96), "batch_size": 2}}.items():
        found[name] = tmp_path_factory.mktemp(name)
        weights = checkpoint(found[name], model)
        files = export.run(weights=weights, include=tuple(form.name for form in WRITTEN), **options)
        assert [file.name for file in files] == FILES
    return found


def test_a_format_is_written_here_or_says_in_one_sentence_what_to_do():
    for form in FORMATS:
        refusal = form.refusal()
        if form.is_written:
            assert refusal is None or refusal[1] == f"pip install {' '.join(form.packages)}"
        else:
            what, fix = refusal
            assert what == f"--include {form.name}: this format is not written here"
            assert fix.startswith("give --include ")
            assert "\n" not in fix


def test_the_end_of_a_name_tells_the_format():
    for form in FORMATS:
        assert format_of(Path(f"runs/best{form.suffix}/")) is form
    assert format_of(Path("best.pt")) is None


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_file_gives_the_predictions_of_the_model(folders, model, kind, file, count):
    size = (96, 32) if kind == "dynamic" else (64, 96)
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)[0]

    backend = load_backend(folders[kind] / file)
    found = backend(images).output

    assert backend.fixed_size == (None if kind == "dynamic" else (64, 96))
    assert (backend.stride, backend.names, backend.trained.data) == (16, model.names, "pets.yaml")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("file", FILES)
def test_a_report_beside_the_file_tells_what_was_measured(folders, file):
    report = json.loads((folders["dynamic"] / f"{file}.json").read_text())

    assert report["file"] == file
    assert report["names"] == {"0": "class 0", "1": "class 1", "2": "class 2"}
    assert report["limits"] == {"box_px": 0.01, "score": 0.001, "same": 0.999, "iou": 0.99}
    shapes = [figures["shape"] for figures in report["verification"]]
    assert shapes == [[2, 3, 48, 64], [1, 3, 64, 64], [2, 3, 64, 64]]
    assert all(figures["box_px"] <= 1e-3 and figures["score"] <= 1e-4 for figures in report["verification"])
    real = report["verification"][-1]
    assert real["detections"] > 20
    assert real["same"] == real["detections"]
    assert "Apache-2.0" in report["license"]
