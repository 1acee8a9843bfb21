"""The drawn data set: the same every time, complete or absent, labelled as it looks, no two classes by colour."""

import threading

import numpy as np
import pytest

from utils.class_names import numbered_names
from utils.data.image.read import read_image
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.data.shapes import dataset as shapes
from utils.data.shapes.dataset import draw_picture, draw_shapes_dataset
from utils.data.shapes.scene import CLASSES
from utils.errors import DataError
from utils.runs import ROOT


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", {"train": 6, "val": 2})


@pytest.fixture(scope="module")
def pictures():
    return [draw_picture("train", index) for index in range(120)]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_drawings_have_identical_bytes(few, tmp_path):
    for name in ("a", "b"):
        draw_shapes_dataset(tmp_path / name)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 2 * 8 + 1


def test_what_is_there_is_not_drawn_again(few, tmp_path, monkeypatch):
    draw_shapes_dataset(tmp_path / "set")
    monkeypatch.setattr(shapes, "draw_scene", None)

    draw_shapes_dataset(tmp_path / "set")


def test_an_older_version_is_replaced(few, tmp_path):
    root = tmp_path / "set"
    draw_shapes_dataset(root)
    expected = contents(root)
    (root / "drawn-by.txt").write_text("shapes of old")
    (root / "images" / "train" / "0000.jpg").write_bytes(b"old")
    (root / "images" / "train" / "9999.jpg").write_bytes(b"older")

    draw_shapes_dataset(root)

    assert contents(root) == expected
    assert list(tmp_path.iterdir()) == [root]


def test_a_folder_of_the_user_is_never_replaced(few, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")

    with pytest.raises(DataError, match="exists, but the drawn data set does not lie there"):
        draw_shapes_dataset(tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"precious"}


def test_a_drawing_that_is_broken_off_leaves_nothing(few, tmp_path, monkeypatch):
    def fail(rng):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "draw_scene", fail)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes_dataset(tmp_path / "set")

    assert list(tmp_path.iterdir()) == []


def test_programs_that_start_at_once_all_find_the_whole_set(few, tmp_path):
    root = tmp_path / "set"
    errors = []

    def draw():
        try:
            draw_shapes_dataset(root)
            assert len(contents(root)) == 17
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert list(tmp_path.iterdir()) == [root]


def test_the_set_passes_its_own_scan(few, tmp_path):
    draw_shapes_dataset(tmp_path / "set")

    result = scan_dataset([tmp_path / "set/images/train"], numbered_names(len(CLASSES)))

    assert len(result) == 6
    assert result.found == 6
    assert not result.problems
    assert (result.duplicates, result.rounded) == (0, 0)


def test_names_in_the_yaml_are_the_classes_that_are_drawn(monkeypatch):
    monkeypatch.setattr("utils.data.scan.spec.draw_shapes_dataset", lambda root: None)

    spec = load_data_spec(ROOT / "data/shapes.yaml", required=())

    assert tuple(spec.names.values()) == CLASSES


def test_every_class_occurs_often_and_some_pictures_are_empty(pictures):
    classes = np.concatenate([labels[:, 0] for _, labels in pictures]).astype(int)

    counts = np.bincount(classes, minlength=len(CLASSES))
    assert counts.min() > 0.5 * counts.mean()
    assert sum(len(labels) == 0 for _, labels in pictures) >= 1


def test_boxes_lie_inside_and_most_objects_are_of_middle_size(pictures):
    sides = []
    for image, labels in pictures:
        corners = np.concatenate((labels[:, 1:3] - labels[:, 3:] / 2, labels[:, 1:3] + labels[:, 3:] / 2))
        assert (corners > -1e-6).all()
        assert (corners < 1 + 1e-6).all()
        sides += (labels[:, 3:] * (image.shape[1], image.shape[0])).max(axis=1).tolist()
    assert min(sides) >= 8
    assert max(sides) <= 180
    assert np.mean([30 <= side <= 150 for side in sides]) > 0.7


def test_colour_does_not_tell_the_class(pictures):
    """The mean colour at the centre of a box predicts the class hardly better than chance (nearest class mean)."""
    colours, classes = [], []
    for image, labels in pictures:
        height, width = image.shape[:2]
        for class_id, cx, cy, w, h in labels:
            x1, x2 = int((cx - w / 4) * width), int((cx + w / 4) * width) + 1
            y1, y2 = int((cy - h / 4) * height), int((cy + h / 4) * height) + 1
            colours.append(image[y1:y2, x1:x2].reshape(-1, 3).mean(axis=0))
            classes.append(int(class_id))
    colours, classes = np.array(colours), np.array(classes)
    even = np.arange(len(classes)) % 2 == 0
    means = np.stack([colours[even & (classes == k)].mean(axis=0) for k in range(len(CLASSES))])
    guesses = np.linalg.norm(colours[~even, None] - means, axis=2).argmin(axis=1)

    assert (guesses == classes[~even]).mean() < 2 / len(CLASSES)


def test_the_sample_images_are_small_and_not_in_the_training_set(few, tmp_path):
    draw_shapes_dataset(tmp_path / "set")
    samples = sorted((ROOT / "data/images").iterdir())

    assert len(samples) == 2
    for sample in samples:
        assert sample.stat().st_size < 150_000
        assert read_image(sample).shape[2] == 3
        assert sample.read_bytes() not in contents(tmp_path / "set").values()
