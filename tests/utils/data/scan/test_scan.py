"""Scanning a data set: counts, labels, what is left out, when that is too much, and the cache."""

import hashlib
import logging
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.class_names import numbered_names
from utils.data.scan import check_files
from utils.data.scan import scan as scan_module
from utils.data.scan.scan import scan_dataset
from utils.data.scan.scan_cache import cache_file
from utils.errors import DataError

GOOD = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def dataset(tmp_path):
    """Return a function that adds an image with the text of its label file, and the folder of the images."""
    images, labels = tmp_path / "images" / "train", tmp_path / "labels" / "train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)

    def add(stem, text=GOOD, shape=(24, 32), suffix=".jpg"):
        cv2.imwrite(str(images / (stem + suffix)), np.full((*shape, 3), 90, np.uint8))
        if text is not None:
            (labels / f"{stem}.txt").write_bytes(text.encode() if isinstance(text, str) else text)
        return str(images / (stem + suffix))

    add.images, add.labels = images, labels
    return add


def fill(dataset, count, text=GOOD):
    for number in range(count):
        dataset(f"good{number:03d}", text)


def tree_digest(root):
    digest = hashlib.sha256()
    for path in sorted(Path(root).rglob("*")):
        facts = path.lstat()
        digest.update(f"{path} {facts.st_mtime_ns} {facts.st_size}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def test_images_labels_shapes_and_polygons_lie_side_by_side(dataset):
    first = dataset("a", "1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n", shape=(24, 32))
    second = dataset("b", None)
    third = dataset("c", "\n", shape=(40, 20))

    result = scan_dataset([dataset.images], numbered_names(2))

    assert result.image_paths == [first, second, third]
    np.testing.assert_array_equal(result.shapes, [[24, 32], [24, 32], [40, 20]])
    np.testing.assert_allclose(result.labels[0], [[1, 0.5, 0.5, 0.25, 0.5], [0, 0.2, 0.2, 0.2, 0.2]], rtol=1e-6)
    assert [labels.shape for labels in result.labels] == [(2, 5), (0, 5), (0, 5)]
    assert result.labels[0].dtype == np.float32
    assert [polygon.shape for polygon in result.segments[0]] == [(0, 2), (4, 2)]
    assert [len(segments) for segments in result.segments] == [2, 0, 0]
    assert (result.found, result.missing, result.empty, result.unreadable) == (2, 1, 1, 0)
    assert result.summary() == "3 images, 2 backgrounds, 0 unreadable"


def test_a_byte_order_mark_does_not_cost_the_image(dataset):
    dataset("a", b"\xef\xbb\xbf1 0.5 0.5 0.2 0.2\r\n")

    assert scan_dataset([dataset.images], numbered_names(2)).labels[0][0, 0] == 1


def test_a_bad_row_is_dropped_counted_and_listed_and_the_image_stays(dataset, caplog):
    fill(dataset, 10, "".join(f"0 0.5 0.5 0.2 0.{number}\n" for number in range(10, 22)))
    dataset("z", GOOD + "0 0.5 0.5 -0.2 0.2\n")

    result = scan_dataset([dataset.images], numbered_names(1))

    assert len(result) == 11
    assert len(result.labels[-1]) == 1
    assert result.dropped_rows == 1
    path, line, message = result.problems[0]
    assert (path, line) == (str(dataset.labels / "z.txt"), 2)
    assert "-0.2" in message
    assert f"{path}:2" in caplog.text


def test_a_few_bad_rows_do_not_stop_a_small_data_set_but_many_do(dataset):
    fill(dataset, 10)
    bad = "".join(f"0 0.5 0.{digit} -0.2 0.2\n" for digit in "123456789")
    dataset("y", GOOD + bad)
    assert scan_dataset([dataset.images], numbered_names(1)).dropped_rows == 9

    dataset("z", GOOD + bad)
    with pytest.raises(DataError, match=r"18 of 30 label rows are wrong \(limit 1%\)\n.*y\.txt:2"):
        scan_dataset([dataset.images], numbered_names(1))
    assert scan_dataset([dataset.images], numbered_names(1), max_bad_rows=0.9).dropped_rows == 18


def test_an_unreadable_image_is_left_out_and_listed(dataset):
    fill(dataset, 10)
    (dataset.images / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    result = scan_dataset([dataset.images], numbered_names(1))

    assert len(result) == 10
    assert result.unreadable == 1
    assert result.problems == [(str(dataset.images / "broken.jpg"), 0, "truncated JPEG (3 bytes)")]


def test_too_many_unreadable_images_stop_with_the_list(dataset):
    fill(dataset, 6)
    for number in range(6):
        (dataset.images / f"{number}.jpg").write_bytes(b"")

    with pytest.raises(DataError, match=r"6 of 12 images cannot be used \(limit 10%\)\n.*0\.jpg: empty file"):
        scan_dataset([dataset.images], numbered_names(1))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"0\x000\x00", "not UTF-8"), (None, "not a regular file")], ids=["utf-16", "folder"]
)
def test_an_image_with_an_unreadable_label_file_is_left_out(dataset, content, reason):
    fill(dataset, 10)
    dataset("z", b"\xff\xfe" + content if content else None)
    if content is None:
        (dataset.labels / "z.txt").mkdir()

    result = scan_dataset([dataset.images], numbered_names(1))

    assert len(result) == 10
    assert result.problems[0][:2] == (str(dataset.labels / "z.txt"), 0)
    assert reason in result.problems[0].message


def test_an_icon_is_left_out(dataset):
    fill(dataset, 10)
    dataset("icon", shape=(9, 64))

    assert scan_dataset([dataset.images], numbered_names(1)).problems[0].message == "64×9 pixels; a side must have 10"


def test_every_class_out_of_range_is_listed_up_to_twenty(dataset):
    fill(dataset, 30, GOOD + "7 0.5 0.5 0.1 0.1\n")

    with pytest.raises(DataError, match="30 label rows of a class that does not exist") as caught:
        scan_dataset([dataset.images], numbered_names(2))

    lines = caught.value.what.splitlines()
    place = dataset.labels / "good000.txt"
    assert lines[1].strip() == f"{place}:2 class 7, but the data-set YAML has 2 classes (0-1)"
    assert len(lines) == 22
    assert lines[-1].strip() == "… and 10 more"


@pytest.mark.parametrize(
    ("ids", "nc", "from_one"),
    [
        ((1, 2, 3), 3, True),
        ((1,), 1, True),
        ((1, 3), 3, True),  # a class without a row
        ((0, 1, 2, 3), 3, False),
        ((1, 2, 3, 4), 3, False),
        ((2, 3), 3, False),  # as well what is left of a larger data set
        ((-1, 1, 3), 3, False),
    ],
)
def test_ids_that_seem_to_count_from_one_are_told_how_yolo_counts(dataset, ids, nc, from_one):
    for class_id in ids:
        dataset(f"image{class_id}", f"{class_id} 0.5 0.5 0.2 0.2\n")

    with pytest.raises(DataError, match="of a class that does not exist") as caught:
        scan_dataset([dataset.images], numbered_names(nc))

    assert ("subtract 1 from the class of every row" in caught.value.fix) == from_one
    assert caught.value.fix.endswith("names in the data-set YAML")


def test_two_images_with_one_label_file_are_named(dataset):
    first, second = dataset("a", suffix=".jpg"), dataset("a", suffix=".png")

    with pytest.raises(DataError, match="share the labels") as caught:
        scan_dataset([dataset.images], numbered_names(1))
    assert first in caught.value.what
    assert second in caught.value.what


def test_a_data_set_without_a_label_is_an_error_that_says_where_labels_belong(dataset):
    dataset("a", None)

    with pytest.raises(DataError, match="none of the 1 images has a label") as caught:
        scan_dataset([dataset.images], numbered_names(1))
    assert str(dataset.labels / "a.txt") in caught.value.what


def test_the_data_set_is_not_touched(dataset, tmp_path):
    fill(dataset, 3)
    path = dataset.images / "good000.jpg"
    path.write_bytes(path.read_bytes() + b"\0\0")  # YOLOv5 would write this image anew
    before = tree_digest(tmp_path)

    scan_dataset([dataset.images], numbered_names(1))

    assert tree_digest(tmp_path) == before


def test_the_second_scan_comes_from_the_cache_and_is_the_same(dataset, caplog):
    caplog.set_level(logging.INFO)
    fill(dataset, 120, "".join(f"0 0.5 0.5 0.2 0.{number}\n" for number in range(10, 20)))
    dataset("z", "0 0.1 0.1 0.3 0.1 0.3 0.3\nword 0 0 0 0\n")

    first, second = (scan_dataset([dataset.images], numbered_names(1)) for _ in range(2))

    assert (first.cached, second.cached) == (False, True)
    assert "121 images, 0 backgrounds, 0 unreadable, 1 bad row (cached)" in caplog.text
    assert second.image_paths == first.image_paths
    assert second.problems == first.problems
    assert (second.found, second.dropped_rows) == (121, 1)
    np.testing.assert_array_equal(second.shapes, first.shapes)
    for ours, theirs in zip(second.labels, first.labels, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(second.segments[-1][0], first.segments[-1][0])


@pytest.mark.parametrize("change", ["label", "image", "new", "gone", "label gone"])
def test_any_change_of_the_data_set_is_noticed(dataset, change):
    fill(dataset, 4)
    scan_dataset([dataset.images], numbered_names(1))

    if change == "label":
        (dataset.labels / "good000.txt").write_text("0 0.5 0.5 0.3 0.2\n")
    elif change == "image":
        dataset("good000", shape=(50, 60))
    elif change == "new":
        dataset("new")
    elif change == "gone":
        (dataset.images / "good003.jpg").unlink()
    else:
        (dataset.labels / "good000.txt").unlink()
    result = scan_dataset([dataset.images], numbered_names(1))

    assert not result.cached
    assert len(result) == {"new": 5, "gone": 3}.get(change, 4)
    assert result.missing == (change == "label gone")
    assert result.shapes[0].tolist() == ([50, 60] if change == "image" else [24, 32])
    assert scan_dataset([dataset.images], numbered_names(1)).cached


def test_the_number_of_classes_is_part_of_the_cache(dataset):
    fill(dataset, 3, "4 0.5 0.5 0.1 0.1")
    scan_dataset([dataset.images], numbered_names(5))

    with pytest.raises(DataError, match="class 4, but the data-set YAML has 3 classes"):
        scan_dataset([dataset.images], numbered_names(3))


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "folder"])
def test_a_damaged_cache_is_not_used(dataset, damage):
    fill(dataset, 3)
    scan_dataset([dataset.images], numbered_names(1))
    file = cache_file([dataset.images])
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes({"cut": content[: len(content) // 2], "text": b"not an archive", "empty": b""}[damage])

    result = scan_dataset([dataset.images], numbered_names(1))

    assert not result.cached
    assert len(result) == 3
    if damage != "folder":
        assert scan_dataset([dataset.images], numbered_names(1)).cached


def test_without_a_cache_folder_everything_else_works(dataset, tmp_path, monkeypatch):
    fill(dataset, 3)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert [scan_dataset([dataset.images], numbered_names(1)).cached for _ in range(2)] == [False, False]


def test_without_a_home_folder_everything_else_works(dataset, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    fill(dataset, 3)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)

    assert [scan_dataset([dataset.images], numbered_names(1)).cached for _ in range(2)] == [False, False]


def test_the_cache_holds_no_pickles(dataset):
    fill(dataset, 3)
    scan_dataset([dataset.images], numbered_names(1))

    with np.load(cache_file([dataset.images]), allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_scans_at_the_same_time_do_not_disturb_each_other(dataset):
    fill(dataset, 40)
    results = []

    def scan():
        results.append(scan_dataset([dataset.images], numbered_names(1)))

    threads = [threading.Thread(target=scan) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(result) for result in results] == [40] * 6
    assert [path.name for path in cache_file([dataset.images]).parent.glob(".*")] == []


def test_one_thread_and_many_find_the_same(dataset, monkeypatch):
    monkeypatch.setattr(scan_module, "load_table", lambda file, digest: None)
    fill(dataset, 300)

    many = scan_dataset([dataset.images], numbered_names(1))
    monkeypatch.setattr(check_files, "THREADS", 1)
    one = scan_dataset([dataset.images], numbered_names(1))

    assert one.image_paths == many.image_paths
    np.testing.assert_array_equal(np.concatenate(one.labels), np.concatenate(many.labels))
