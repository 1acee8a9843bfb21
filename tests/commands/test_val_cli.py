"""val.py on four small pictures: what it writes, what it says, how it ends."""

import csv
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

import val
from utils.checkpoint.native import save_checkpoint
from utils.config import parse_config
from utils.configs.val import ValConfig
from utils.errors import ConfigError
from utils.evaluation.sweep import STUDY_SIZES
from utils.runs import ROOT
from utils.terminal import LineFormatter
from utils.yaml_file import read_yaml, write_yaml


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A working folder with a data set: four pictures, three of them with one label."""
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        image = rng.integers(0, 255, (48, 96 - 16 * index, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"set/images/{index}.png"), image)
        if index:
            (tmp_path / f"set/labels/{index}.txt").write_text(f"{index % 2} 0.5 0.5 0.4 0.4\n")
    spec = {"path": "set", "train": "images", "val": "images", "names": ["cat", "dog"]}
    write_yaml(tmp_path / "pets.yaml", spec)
    return tmp_path


@pytest.fixture
def weights(data, tiny_model):
    training = {"opt": {"data": str(data / "pets.yaml")}}
    save_checkpoint(data / "tiny.pt", tiny_model, epoch=0, fitness=0.0, training=training, imgsz=64)
    return data / "tiny.pt"


def run(*flags):
    val.main(parse_config(ValConfig, [str(flag) for flag in flags], prog="val.py"))


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_data_set_and_the_size_of_the_training_are_used(weights, data, caplog):
    caplog.set_level("INFO")

    run("--weights", weights, "--batch", 3, "--workers", 0)

    assert "imgsz: 64 (that of the training)" in caplog.text
    assert f"data: {data / 'pets.yaml'} (that of the training)" in caplog.text
    rows = [
        record.getMessage().splitlines()
        for record in caplog.records
        if record.name in ("val", "utils.evaluation.evaluate")
    ]
    table = [line.split() for lines in rows for line in lines if len(line) == 76]
    assert [row[:3] for row in table] == [
        ["Class", "Images", "Instances"],
        ["all", "4", "3"],
        ["cat", "4", "1"],
        ["dog", "4", "2"],
    ]
    assert "ms inference" in caplog.text
    assert files(data / "runs/val/exp") == [
        *("F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png", "confusion_matrix.csv", "confusion_matrix.png"),
        *("metrics.csv", "metrics.json"),
        *(f"val_batch{i}_{what}.jpg" for i in (0, 1) for what in ("labels", "pred")),
    ]


def test_label_files_and_json_are_written_on_request(weights, data):
    run("--weights", weights, "--img", 64, "--workers", 0, "--noplots", "--save-txt", "--save-conf", "--save-json")

    run_dir = data / "runs/val/exp"
    assert files(run_dir) == [
        *("0.txt", "1.txt", "2.txt", "3.txt", "metrics.csv", "metrics.json", "tiny_predictions.json"),
    ]
    rows = np.loadtxt(run_dir / "labels/2.txt")
    assert rows.shape[1] == 6
    assert rows[:, 1:].max() <= 1
    entries = json.loads((run_dir / "tiny_predictions.json").read_text())
    assert {entry["image_id"] for entry in entries} == {0, 1, 2, 3}


def test_an_exported_file_is_measured_like_a_checkpoint(onnx_weights, data, caplog):
    caplog.set_level("INFO")
    for index in range(4):  # 96×48 becomes 64×32 with 16 px of border above: the dog fills the middle of the picture
        (data / f"set/labels/{index}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
        if index:
            shutil.copy(data / "set/images/0.png", data / f"set/images/{index}.png")

    run("--weights", onnx_weights, "--data", "pets.yaml", "--workers", 0, "--batch", 4, "--noplots")

    _, row = [record.getMessage().split() for record in caplog.records if record.name == "utils.evaluation.evaluate"]
    assert row == ["all", "4", "4", "1", "1", "0.995", "0.995"]


def test_one_class_has_one_row(weights, data, caplog):
    caplog.set_level("INFO")

    run("--weights", weights, "--img", 64, "--workers", 0, "--noplots", "--single-cls", "--verbose")

    rows = [record.getMessage().split() for record in caplog.records if record.name == "val"]
    assert [row[:3] for row in rows if row[0] == "item"] == [["item", "4", "3"]]


def test_the_metrics_do_not_depend_on_the_batch(weights, data, caplog):
    caplog.set_level("INFO")

    for batch in (1, 4):
        run("--weights", weights, "--img", 64, "--workers", 0, "--noplots", "--batch", batch, "--data", "pets.yaml")

    rows = [record.getMessage() for record in caplog.records if record.name == "utils.evaluation.evaluate"]
    assert len(rows) == 4, "a header and a row of each"
    assert all(row.split()[:3] == ["all", "4", "3"] for row in rows[1::2])


@pytest.mark.parametrize(
    ("change", "flags", "text"),
    [
        ({"names": ["cat", "dog", "eel"]}, [], "3 classes, but the model finds 2: cat, dog"),
        ({}, ["--task", "test"], "key 'test' is missing"),
        ({}, ["--imgsz", "64", "96"], "--imgsz 64 96: several"),
        ({}, ["--task", "speed", "--imgsz", "64", "96"], "--imgsz 64 96: several"),
        ({}, ["--ci", "-1"], "--ci -1 is out of range"),
        ({}, ["--iou-thres", "-1"], "--iou-thres -1.0 is out of range"),
    ],
)
def test_a_mistake_is_named(weights, data, change, flags, text):
    write_yaml(data / "pets.yaml", read_yaml(data / "pets.yaml") | change)

    with pytest.raises(ConfigError) as caught:
        run("--weights", weights, "--img", 64, "--workers", 0, *flags)

    assert text in str(caught.value)


def test_a_high_confidence_threshold_is_warned_of(weights, data, caplog):
    caplog.set_level("INFO")

    run("--weights", weights, "--img", 64, "--workers", 0, "--noplots", "--conf-thres", 0.25)

    assert "--conf-thres 0.25 can leave out what the curves need" in caplog.text
    assert "by COCO's own rule" in caplog.text
    assert r"\n" not in "".join(map(LineFormatter().format, caplog.records)), "lines of our own stay lines"


def test_images_of_one_name_have_ids_and_label_files_of_their_own_whatever_the_batch(weights, data):
    for number, folder in enumerate(("cam_a", "cam_b", "cam_b/x", "cam_a")):
        (data / "set/images" / folder).mkdir(parents=True, exist_ok=True)
        name = "0001.png" if number < 3 else "0007.png"
        (data / f"set/images/{number}.png").rename(data / "set/images" / folder / name)
    (data / "set/labels/cam_a").mkdir()
    (data / "set/labels/cam_a/0001.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    written = []
    for batch in (1, 4):
        flags = ("--workers", 0, "--batch", batch, "--noplots", "--save-json", "--save-txt", "--conf-thres", 0.5)
        run("--weights", weights, "--img", 64, "--name", f"b{batch}", *flags)
        folder = data / f"runs/val/b{batch}"
        rows = json.loads((folder / "tiny_predictions.json").read_text())
        written.append(({row["image_id"] for row in rows}, files(folder / "labels")))

    assert written[0] == written[1]
    assert written[0][0] == {"cam_a/0001", "cam_b/0001", "cam_b/x/0001", 7}
    assert written[0][1] == ["0007.txt", "cam_a_0001.txt", "cam_b_0001.txt", "cam_b_x_0001.txt"]


def test_label_files_of_an_earlier_run_into_the_same_folder_go_where_nothing_is_found(weights, data):
    folder = data / "runs/val/exp/labels"
    run("--weights", weights, *COMMON, "--save-txt", "--conf", 0.0001)
    assert list(folder.glob("*.txt"))
    run("--weights", weights, *COMMON, "--save-txt", "--conf", 1, "--exist-ok")
    assert not list(folder.glob("*.txt"))


def test_help_is_there_before_pytorch_is_imported():
    probe = (
        "import runpy, sys\n"
        "sys.argv = ['val.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'val.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules and 'cv2' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert "--single-cls" in result.stdout


COMMON = ("--img", 64, "--workers", 0, "--noplots")


def test_both_sets_of_figures_are_written_for_all_classes_and_for_each(weights, data, caplog):
    caplog.set_level("INFO")

    run("--weights", weights, *COMMON)

    table = list(csv.DictReader((data / "runs/val/exp/metrics.csv").open()))
    facts = json.loads((data / "runs/val/exp/metrics.json").read_text())
    assert [row["class"] for row in table] == ["all", "cat", "dog"]
    assert [row["instances"] for row in table] == ["3", "1", "2"]
    assert {"mAP50-95", "best_confidence", "coco_AP", "coco_APs", "coco_AR100"} <= set(table[0])
    assert table[0]["coco_APl"] == "", "no label is that large"
    assert facts["all"]["coco_APl"] is None
    assert float(table[1]["mAP50"]) == pytest.approx(facts["classes"][0]["mAP50"], rel=1e-5)
    assert facts["settings"]["imgsz"] == 64
    assert (facts["errors"], facts["interval"]) == (None, None)
    shown = "\n".join(map(LineFormatter("%(message)s").format, caplog.records)).split("\n")
    why = shown.index("COCO's AP differs from the mAP above, because")
    assert shown[why + 1].startswith("* beyond the recall")
    assert not [line for line in shown if "\\n" in line], "a line end that is shown as one of a name would be"


def test_intervals_and_errors_are_given_on_request(weights, data, caplog):
    caplog.set_level("INFO")
    for flag in ([], ["--ci"]):
        run("--weights", weights, *COMMON, "--errors", "--conf-thres", 0.3, *flag)

    facts = json.loads((data / "runs/val/exp2/metrics.json").read_text())
    page = (data / "runs/val/exp2/errors.html").read_text()
    assert facts["interval"]["resamples"] == 1000
    assert facts["interval"]["map50"][0] <= facts["all"]["mAP50"] <= facts["interval"]["map50"][1]
    counts = facts["errors"]["counts"]
    assert sum(counts.values()) > counts["missed"]
    assert "95 % interval over 1000 resamples" in caplog.text
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/jpeg") >= 3
    assert len(page) < 5_000_000
    assert not (data / "runs/val/exp/errors.html").read_text().count("<script")


def test_hybrid_files_hold_the_labels_and_what_they_do_not_suppress(weights, data):
    run("--weights", weights, *COMMON, "--save-hybrid", "--save-conf", "--conf-thres", 0.3)

    rows = np.loadtxt(data / "runs/val/exp/labels/2.txt", ndmin=2)
    np.testing.assert_allclose(rows[0], [0, 0.5, 0.5, 0.4, 0.4, 1], atol=1e-4)
    assert (rows[1:, 5] < 1).all()


def test_speed_measures_several_models(weights, data, caplog):
    caplog.set_level("INFO")
    (data / "b").mkdir()
    shutil.copy(weights, data / "b/tiny.pt")

    run("--weights", weights, data / "b/tiny.pt", "--workers", 0, "--batch", 2, "--task", "speed")

    rows = list(csv.DictReader((data / "runs/val/exp/speed.csv").open()))
    assert [row["weights"] for row in rows] == [str(weights), str(data / "b/tiny.pt")]
    assert {row["imgsz"] for row in rows} == {"64"}
    assert all(float(row["inference_ms"]) > 0 for row in rows)
    assert "can leave out" not in caplog.text, "nobody compares these figures"
    assert files(data / "runs/val/exp") == ["speed.csv"]


def test_a_study_has_a_file_of_yolov5s_columns_for_each_model_a_table_and_a_chart(weights, data, onnx_weights):
    (data / "b").mkdir()
    shutil.copy(weights, data / "b/tiny.pt")
    flags = ("--data", "pets.yaml", "--workers", 0, "--task", "study", "--imgsz", 64, 90, 96)

    run("--weights", weights, data / "b/tiny.pt", onnx_weights, *flags)

    folder = data / "runs/val/exp"
    texts = sorted((path.name for path in folder.glob("study_pets_*.txt")), key=lambda name: "tiny" not in name)
    assert len(texts) == 3
    rows = list(csv.DictReader((folder / "study.csv").open()))
    assert [row["imgsz"] for row in rows if row["weights"] == str(weights)] == ["64", "96"]
    lines = (folder / texts[0]).read_text().splitlines()
    assert [len(line.split()) for line in lines] == [10, 10]
    assert len(lines[0]) == 10 * 10 + 9
    assert (folder / "study.png").stat().st_size > 5000
    assert texts[-1] == f"study_pets_{onnx_weights.stem}.txt"
    assert len((folder / texts[-1]).read_text().splitlines()) == 1, "the file takes one size"


def test_without_sizes_a_study_takes_those_of_yolov5():
    assert STUDY_SIZES == (256, 384, 512, 640, 768, 896, 1024, 1152, 1280, 1408, 1536)
