"""Reading, looking and writing at once: the results of one after another, and an orderly end of each kind."""

import base64
import copy
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_detector import tiny_model

from utils.backends.pt import PyTorchBackend
from utils.checkpoint.facts import TrainingFacts
from utils.configs.detect import DetectConfig
from utils.data.open_source import open_source
from utils.detection import window as windows
from utils.detection.predict import build_predictor
from utils.detection.run import detect_all, open_window
from utils.detection.writers import TxtWriter
from utils.errors import ConfigError, StorageError

NAMES = {0: "cat", 1: "dog", 2: "eel"}


@pytest.fixture(scope="module")
def backend():
    model = tiny_model()
    model.names = dict(NAMES)
    for layer in model.head.m:
        layer.bias.data.view(model.head.na, -1)[:, 4:] = 2.0
    return PyTorchBackend(model, TrainingFacts(None, (64, 64)), torch.device("cpu"))


@pytest.fixture
def pictures(tmp_path):
    """Five pictures of two shapes, and a video."""
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(48, 64), (64, 48), (48, 64), (48, 64), (64, 48)]):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (*shape, 3), dtype=np.uint8))
    video = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (64, 48))
    for _ in range(4):
        video.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    video.release()
    return folder


def detect(backend, source, run_dir, window=None, **options):
    cfg = DetectConfig(**{"max_det": 4, "save_txt": True, "save_conf": True, **options})
    run_dir.mkdir(exist_ok=True)
    predict = build_predictor(cfg, backend, torch.device("cpu"))
    with open_source(source) as frames:
        detect_all(cfg, frames, predict, backend.names, run_dir, window)
    return run_dir


def labels(run_dir):
    return {path.name: np.loadtxt(path, ndmin=2) for path in sorted((run_dir / "labels").iterdir())}


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_the_results_do_not_depend_on_the_batch(backend, pictures, tmp_path, batch):
    single = labels(detect(backend, pictures, tmp_path / "single"))
    several = labels(detect(backend, pictures, tmp_path / "several", batch=batch))

    assert list(single) == list(several) == [f"{n}.txt" for n in range(5)] + [f"walk_{n}.txt" for n in (1, 2, 3, 4)]
    for name, rows in single.items():
        np.testing.assert_allclose(several[name], rows, atol=2e-5, err_msg=name)


def test_the_log_and_the_files_keep_the_order(backend, pictures, tmp_path, caplog):
    caplog.set_level("INFO")

    detect(backend, pictures, tmp_path / "run", batch=2)

    told = [record.getMessage().split(":")[0] for record in caplog.records if record.name == "detect"]
    assert [line.split()[1] for line in told] == [f"{n}/6" for n in (1, 2, 3, 4, 5, 6, 6, 6, 6)]


def test_the_disk_takes_what_streams_have_shown(backend, pictures, tmp_path, monkeypatch):
    """Nobody can look at it again; files can, and are not waited for."""
    taken = []
    monkeypatch.setattr("utils.detection.run.sync_all", lambda: taken.append(len(labels(run_dir))))
    (tmp_path / "cams.streams").write_text(f"{pictures / 'walk.avi'}\n")
    for source, expected in ((pictures, []), (tmp_path / "cams.streams", [4])):
        run_dir = tmp_path / Path(source).name.replace(".", "_")
        detect(backend, source, run_dir)
        assert taken == expected, "after all is written"


def test_an_error_of_a_writer_ends_the_run_as_itself(backend, pictures, tmp_path, monkeypatch):
    written = []

    def full(self, frame, detections):
        written.append(threading.current_thread().name)
        raise StorageError("a.txt: cannot be written", "free some space")

    monkeypatch.setattr(TxtWriter, "write", full)

    with pytest.raises(StorageError, match="cannot be written"):
        detect(backend, pictures, tmp_path / "run")
    assert len(written) <= 4, "what waited is dropped"
    assert not written[0].startswith("Main")


def test_an_interruption_leaves_whole_files_and_no_thread(backend, pictures, tmp_path):
    class Interrupting:
        count = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def show(self, frame, detections):
            self.count += 1
            if self.count == 8:
                raise KeyboardInterrupt
            return True

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        detect(backend, pictures, tmp_path / "run", window=Interrupting())

    assert threading.active_count() == before
    assert [path for path in (tmp_path / "run").rglob("*") if path.name.startswith(".")] == []
    assert all(cv2.imread(str(tmp_path / "run" / f"{n}.png")) is not None for n in range(5))
    assert 1 <= cv2.VideoCapture(str(tmp_path / "run/walk.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) <= 3


def test_a_window_that_is_closed_ends_the_run(backend, pictures, tmp_path, monkeypatch):
    keys = iter([ord("n"), ord("q")])
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("namedWindow", "resizeWindow", "destroyAllWindows"):
        monkeypatch.setattr(windows.cv2, name, lambda *_: None)
    monkeypatch.setattr(windows.cv2, "getBuildInformation", lambda: "GUI: QT5")
    monkeypatch.setattr(windows.cv2, "imshow", lambda title, image: shown.append((title, image.shape)))
    monkeypatch.setattr(windows.cv2, "waitKey", lambda _: next(keys))

    detect(backend, pictures, tmp_path / "run", window=open_window(DetectConfig(view_img=True), NAMES))

    assert shown == [("0.png", (48, 64, 3)), ("1.png", (64, 48, 3))]
    assert set(labels(tmp_path / "run")) == {"0.txt", "1.txt"}


@pytest.mark.parametrize(
    ("gui", "message"), [("GUI:           NONE", "can open no windows"), ("GUI:  QT5", "there is no display here")]
)
def test_a_window_that_cannot_be_opened_is_one_sentence(monkeypatch, gui, message):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(windows.cv2, "getBuildInformation", lambda: gui)
    monkeypatch.setattr(windows.sys, "platform", "linux")

    with pytest.raises(ConfigError, match=message):
        open_window(DetectConfig(view_img=True), NAMES)


def test_what_the_rows_make_of_an_image_is_kept_for_each_image(backend, pictures, tmp_path):
    run_dir = detect(copy.deepcopy(backend), pictures, tmp_path / "run", visualize=True, save=False, batch=4)

    folders = sorted(path.name for path in (run_dir / "features").iterdir())
    assert folders == [*"01234", "walk_1", "walk_2", "walk_3", "walk_4"]
    maps = {path.stem: np.load(path) for path in (run_dir / "features/1").glob("*.npy")}
    assert len(maps) == len(backend.model.model) - 1, "all rows but the head"
    first = maps["row0_Conv"]
    image = cv2.imread(str(pictures / "1.png"))[..., ::-1].copy()  # (64, 48), which fits without a border
    with torch.no_grad():
        expected = backend.model.model[0](torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0].numpy()
    np.testing.assert_allclose(first, expected, atol=1e-5)
    picture = cv2.imread(str(run_dir / "features/1/row0_Conv.png"))
    assert picture.shape[0] > 48
    assert picture.std() > 10


def test_features_of_an_exported_file_are_refused(backend):
    class Exported:
        names, stride, fixed_size, layout, trained = NAMES, 32, None, backend.layout, backend.trained

    with pytest.raises(ConfigError, match="does not show"):
        build_predictor(DetectConfig(visualize=True), Exported(), torch.device("cpu"))


def test_pycocotools_loads_the_json_of_results(backend, pictures, tmp_path):
    from pycocotools.coco import COCO

    run_dir = detect(backend, pictures, tmp_path / "run", save_json=True)

    rows = json.loads((run_dir / "predictions.json").read_text())
    truth = COCO()
    truth.dataset = {"images": [{"id": key} for key in {row["image_id"] for row in rows}], "annotations": []}
    truth.dataset["categories"] = [{"id": class_id} for class_id in NAMES]
    truth.createIndex()
    assert len(truth.loadRes(rows).anns) == len(rows) == 9 * 4
    assert {row["image_id"] for row in rows} == {0, 1, 2, 3, 4, "walk_1", "walk_2", "walk_3", "walk_4"}
    x, y, width, height = next(row["bbox"] for row in rows if row["image_id"] == 2)
    _, cx, cy, w, h, _ = labels(run_dir)["2.txt"][0]
    np.testing.assert_allclose(
        [x + width / 2, y + height / 2, width, height], [cx * 64, cy * 48, w * 64, h * 48], atol=1e-2
    )


def test_a_labelme_file_leads_to_its_image_or_has_it_inside(backend, pictures, tmp_path):
    run_dir = detect(backend, pictures, tmp_path / "run", save_labelme=True, save=False)

    of_image = json.loads((run_dir / "labelme/3.json").read_text())
    of_frame = json.loads((run_dir / "labelme/walk_2.json").read_text())
    assert (run_dir / "labelme" / of_image["imagePath"]).resolve() == (pictures / "3.png").resolve()
    assert of_image["imageData"] is None
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(of_frame["imageData"]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (of_frame["imageHeight"], of_frame["imageWidth"], 3) == (48, 64, 3)
    rows = labels(run_dir)["3.txt"]
    for shape, row in zip(of_image["shapes"], rows, strict=True):
        (x1, y1), (x2, y2) = shape["points"]
        assert shape["label"] == NAMES[int(row[0])]
        np.testing.assert_allclose([(x1 + x2) / 128, (y1 + y2) / 96], row[1:3], atol=1e-3)


def test_streams_at_the_same_time_get_a_video_each(backend, pictures, tmp_path):
    Path(tmp_path / "two.streams").write_text("set/walk.avi\nset/walk.avi\n")

    run_dir = detect(backend, tmp_path / "two.streams", tmp_path / "run", batch=2)

    for name in ("walk", "walk-2"):
        video = cv2.VideoCapture(str(run_dir / f"{name}.mp4"))
        assert [video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)] == [4, 12]
    assert len(labels(run_dir)) == 8
