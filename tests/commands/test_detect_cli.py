"""detect.py on small pictures: what it writes, what it says, how it ends."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

import detect
from utils.command import run_command
from utils.config import parse_config
from utils.configs.detect import DetectConfig
from utils.errors import CheckpointError, ConfigError, DataError
from utils.runs import ROOT


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A working folder with two pictures and one file that is none."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (48, 96, 3), dtype=np.uint8))
    (tmp_path / "c.jpg").write_text("not an image")
    return tmp_path


def run(*flags):
    detect.main(parse_config(DetectConfig, [str(flag) for flag in flags], prog="detect.py"))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_detected_and_what_cannot_be_read_is_reported(tiny_weights, pictures, caplog):
    caplog.set_level("INFO")

    run("--weights", tiny_weights, "--source", ".", "--max-det", 3, "--save-txt", "--save-csv", "--save-crop")

    found = files(pictures / "runs/detect/exp")
    assert {"a.jpg", "b.png", "labels/a.txt", "labels/b.txt", "predictions.csv"} <= set(found)
    assert len([name for name in found if name.startswith("crops/")]) == 6
    assert "image 1/3 a.jpg: 3 " in caplog.text
    assert "1 of 3 files skipped" in caplog.text
    assert "imgsz: 64 (that of the training)" in caplog.text
    assert f"results in {pictures / 'runs/detect/exp'}" in caplog.text


def test_boxes_lie_inside_the_picture(tiny_weights, pictures):
    run("--weights", tiny_weights, "--source", "a.jpg", "--img", 64, "--save-txt", "--nosave", "--save-format", 1)

    rows = np.loadtxt(pictures / "runs/detect/exp/labels/a.txt", ndmin=2)
    assert files(pictures / "runs/detect/exp") == ["labels/a.txt"]
    assert len(rows) > 3
    assert rows[:, 1:].min() >= 0
    assert rows[:, 1:].max() <= 1
    assert (rows[:, 3:] >= rows[:, 1:3]).all()


def test_an_exported_file_is_used_like_a_checkpoint(onnx_weights, pictures, caplog):
    caplog.set_level("INFO")

    run("--weights", onnx_weights, "--source", "a.jpg", "--save-txt", "--save-conf")

    # 96×48 becomes 64×32 with 16 px of border above: the box (16, 24)–(48, 40) is (24, 12)–(72, 36) in the picture
    assert (pictures / "runs/detect/exp/labels/a.txt").read_text() == "1 0.5 0.5 0.5 0.5 0.9\n"
    assert "image 1/1 a.jpg: 1 dog, " in caplog.text


def test_classes_and_confidence_choose_what_is_kept(tiny_weights, pictures):
    for flags in (["--classes", 1], ["--conf-thres", 1.0]):
        run("--weights", tiny_weights, "--source", "a.jpg", "--img", 64, "--save-txt", "--nosave", *flags)

    rows = np.loadtxt(pictures / "runs/detect/exp/labels/a.txt", ndmin=2)
    assert set(rows[:, 0]) == {1}
    assert files(pictures / "runs/detect/exp2") == []


def test_a_video_becomes_a_video(tiny_weights, pictures):
    video = cv2.VideoWriter(str(pictures / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (96, 64))
    for level in (0, 80, 160, 240):
        video.write(np.full((64, 96, 3), level, np.uint8))
    video.release()

    run("--weights", tiny_weights, "--source", "walk.avi", "--img", 64, "--vid-stride", 2)

    written = cv2.VideoCapture(str(pictures / "runs/detect/exp/walk.mp4"))
    assert [written.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)] == [2, 10]


def test_without_weights_the_newest_run_is_taken(tiny_weights, pictures, monkeypatch, caplog):
    monkeypatch.setattr(detect, "newest_weights", lambda: tiny_weights)

    run("--source", "a.jpg", "--img", 64)

    assert files(pictures / "runs/detect/exp") == ["a.jpg"]


def test_a_second_run_gets_a_folder_of_its_own_unless_told_otherwise(tiny_weights, pictures):
    flags = ("--weights", tiny_weights, "--source", "a.jpg", "--img", 64, "--project", "out", "--name", "x")
    for _ in range(2):
        run(*flags)
    run(*flags, "--exist-ok")

    assert files(pictures / "out") == ["x/a.jpg", "x2/a.jpg"]


@pytest.mark.parametrize(
    ("flags", "error", "text"),
    [
        (["--source", "c.jpg"], DataError, "c.jpg"),
        (["--source", "missing.jpg"], DataError, "missing.jpg"),
        (["--source", "a.jpg", "--imgsz", "0"], ConfigError, "--imgsz 0"),
        (["--source", "a.jpg", "--conf-thres", "7"], ConfigError, "--conf-thres 7.0 is out of range"),
        (["--source", "a.jpg", "--device", "99"], ConfigError, "99"),
        (["--source", "a.jpg", "--weights", "none.pt"], CheckpointError, "none.pt"),
        (["--source", "a.jpg", "--weights", "c.jpg"], ConfigError, "c.jpg"),
        (["--source", "a.jpg", "--update"], ConfigError, "--update of YOLOv5's detect.py is not an option"),
        (["--source", "a.jpg", "--classes", "0,1"], ConfigError, "put spaces between them"),
        (["--source", "a.jpg", "--classes", "-1"], ConfigError, "give names, or ids from 0 to 1"),
        (["--source", "a.jpg", "--classes", "dogg"], ConfigError, "did you mean dog?"),
        (["--source", "a.jpg", "--class-conf", "dog=2"], ConfigError, "write it as person=0.5"),
        (["--source", "a.jpg", "--class-conf", "dog=0.5", "1=0.6"], ConfigError, "two thresholds"),
        (["--source", "cams.streams"], DataError, "cams.streams: no such file"),
        (["--source", "screen 1 2"], ConfigError, "not a part of a screen"),
        (["--source", "rtsp://127.0.0.1:9/x"], DataError, "rtsp://127.0.0.1:9/x: cannot be opened"),
        (["--source", "http://127.0.0.1:9/x.jpg"], DataError, "cannot be downloaded"),
        (["--source", "a.jpg", "--hide-lable"], ConfigError, "did you mean --hide-labels"),
    ],
)
def test_a_mistake_is_named(tiny_weights, pictures, flags, error, text):
    with pytest.raises(error) as caught:
        run("--weights", tiny_weights, "--img", 64, *flags)

    assert text in str(caught.value)


def test_the_command_ends_with_code_2_and_one_sentence(pictures, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["detect.py", "--weights", "none.pt", "--source", "a.jpg"])

    with pytest.raises(SystemExit) as end:
        run_command(detect.main, DetectConfig)

    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: none.pt")
    assert not (pictures / "runs").exists(), "a failed start leaves no empty run folder"


def test_help_is_there_before_pytorch_is_imported(tmp_path):
    probe = (
        "import runpy, sys\n"
        "sys.argv = ['detect.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'detect.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules and 'cv2' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert "--vid-stride" in result.stdout
