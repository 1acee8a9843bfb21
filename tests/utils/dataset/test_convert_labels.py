"""A data set in another format gives the batches that it gave before, and loses nothing in silence."""

import json
import logging
import os

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.annotation_case import NAMES, coco_content, draw, write_coco, write_voc, write_yolo
from tests.utils.data.test_annotation_batches import assert_same_batches, assert_same_labels
from utils.configs.convert import ConvertConfig
from utils.data.scan.scan import scan_dataset, scan_split
from utils.data.scan.spec import load_data_spec
from utils.dataset import convert as command
from utils.dataset.items import flat_names, new_names
from utils.errors import ConfigError, DataError, StorageError


def convert(data, out, to, images="link"):
    return command.main(ConvertConfig(data=str(data), out=str(out), to=to, images=images))


def scan_of(data):
    spec = load_data_spec(data)
    return scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)


def random_yolo(root, polygons):
    """Write the images of ``annotation_case`` with random boxes of all digits, inside, and star-shaped polygons."""
    rng = np.random.default_rng(3)
    yaml = write_yolo(root, polygons=polygons)
    for name in "abd":
        rows = []
        for number in range(40):
            size = rng.uniform(0.01, 0.4, 2)
            values = [*rng.uniform(size / 2, 1 - size / 2), *size]
            if polygons and number % 2:
                angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
                radius = rng.uniform(0.05, 0.2, len(angles))
                values = np.stack([0.5 + radius * np.cos(angles), 0.5 + radius * np.sin(angles)], 1).ravel()
            rows.append(" ".join([str(number % 3), *map(repr, map(float, values))]) + "\n")
        (root / f"labels/{name}.txt").write_text("".join(rows))
    return yaml


@pytest.mark.parametrize("polygons", [False, True], ids=["boxes", "polygons"])
def test_to_coco_and_back_gives_the_same_batches_to_the_last_bit(tmp_path, polygons):
    yolo = random_yolo(tmp_path / "yolo", polygons)
    coco = convert(yolo, tmp_path / "coco", "coco")
    back = convert(coco, tmp_path / "back", "yolo", images="copy")

    first, second, third = map(scan_of, (yolo, coco, back))
    assert sum(map(len, first.labels)) == 120
    assert any(len(each) for each in first.segments[0]) is polygons
    for other in (second, third):
        assert_same_labels(first, other)
    assert_same_batches(first, third, workers=0)


def test_to_voc_and_back_gives_the_same_batches_to_the_last_bit(tmp_path):
    yolo = random_yolo(tmp_path / "yolo", polygons=False)
    voc = convert(yolo, tmp_path / "voc", "voc")
    back = convert(voc, tmp_path / "back", "yolo")

    first, second, third = map(scan_of, (yolo, voc, back))
    for other in (second, third):
        assert_same_labels(first, other)
    assert_same_batches(first, third, workers=0)


@pytest.mark.parametrize("to", ["yolo", "coco"])
def test_the_outlines_of_coco_stay(tmp_path, to):
    source = write_coco(tmp_path / "set", polygons=True)

    first, second = scan_of(source), scan_of(convert(source, tmp_path / "out", to))

    assert sum(len(polygon) > 0 for each in second.segments for polygon in each) == 2
    assert_same_labels(first, second)


def test_an_outline_that_label_files_could_take_for_boxes_is_closed(tmp_path):
    content = coco_content()
    content["annotations"] = content["annotations"][:1]  # of image a, 64 × 48 pixels; four points, as if two boxes
    points = np.array([[0.5, 0.5], [0.2, 0.2], [0.55, 0.5], [0.2, 0.25]]) * [64, 48]
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    content["annotations"][0] |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [points.ravel().tolist()]}
    source = write_coco(tmp_path / "set", content)

    first, second = scan_of(source), scan_of(convert(source, tmp_path / "out", "yolo"))

    assert first.labels[0].tolist() == second.labels[0].tolist()
    assert second.segments[0][0].tolist() == [*first.segments[0][0].tolist(), first.segments[0][0][0].tolist()]


@pytest.mark.parametrize("to", ["yolo", "voc", "coco"])
def test_the_disk_is_waited_for_at_the_end_alone(tmp_path, monkeypatch, to):
    done = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append("file"))
    monkeypatch.setattr(os, "sync", lambda: done.append("all"))

    convert(random_yolo(tmp_path / "set", polygons=False), tmp_path / "out", to, images="copy")

    assert done.pop() == "all"
    assert done.count("file") <= 10, "caches of the scans, lists or JSON files, data.yaml, each with its folder"


def test_pycocotools_reads_what_is_written(tmp_path):
    source = write_coco(tmp_path / "set", polygons=True)
    out = convert(source, tmp_path / "out", "coco")

    old, new = (
        COCO(str(file)) for file in (source.parent / "annotations/instances_all.json", next(out.rglob("*train.json")))
    )
    boxes = [
        {
            (c.imgs[a["image_id"]]["file_name"], c.cats[a["category_id"]]["name"], *np.round(a["bbox"], 6).tolist())
            for a in c.anns.values()
        }
        for c in (old, new)
    ]
    assert boxes[0] == boxes[1]
    assert len(boxes[0]) == 6
    assert [new.annToMask(each).any() for each in new.anns.values() if each["segmentation"]] == [True, True]


def with_ignored(root):
    """Return a VOC data set whose image a has a difficult dog."""
    yaml = write_voc(root)
    file = root / "Annotations/a.xml"
    file.write_text(file.read_text().replace("<name>dog</name><difficult>0", "<name>dog</name><difficult>1"))
    return yaml


def test_difficult_objects_become_crowds_and_difficult_ones_again(tmp_path):
    voc = with_ignored(tmp_path / "voc")
    coco = convert(voc, tmp_path / "coco", "coco")
    back = convert(coco, tmp_path / "back", "voc")

    first, second, third = map(scan_of, (voc, coco, back))
    assert sum(map(len, first.ignored)) == 1
    for other in (second, third):
        assert [rows.tolist() for rows in other.ignored] == [rows.tolist() for rows in first.ignored]
        assert_same_labels(first, other)
    rows = json.loads((coco / "annotations/instances_train.json").read_text())["annotations"]
    assert [row["category_id"] for row in rows if row["iscrowd"]] == [3]


def test_what_a_format_cannot_say_is_said(tmp_path, caplog):
    convert(with_ignored(tmp_path / "voc"), tmp_path / "yolo", "yolo")
    assert "train: 1 crowd or difficult object left out" in caplog.text

    convert(write_yolo(tmp_path / "set", polygons=True), tmp_path / "out", "voc")
    assert "train: 2 polygons written as boxes" in caplog.text

    (tmp_path / "set/labels/c.txt").write_text("0 0.1 0.5 0.4 0.2\n")
    convert(tmp_path / "set", tmp_path / "coco", "coco")
    assert "train: 1 box reaches out of the image, and will be cut off" in caplog.text


def test_images_are_linked_copied_or_left(tmp_path):
    source = write_yolo(tmp_path / "set")
    linked, copied = (convert(source, tmp_path / how, "coco", how) for how in ("link", "copy"))
    left = convert(source, tmp_path / "none", "coco", "none")

    original = tmp_path / "set/images/a.png"
    assert (linked / "images/train/a.png").readlink() == original
    assert (copied / "images/val/a.png").read_bytes() == original.read_bytes()
    assert not (copied / "images/val/a.png").is_symlink()
    assert not (left / "images").exists()
    assert scan_of(left).image_paths[0] == str(original)
    for out in (linked, copied, left):
        assert_same_labels(scan_of(source), scan_of(out))


def test_without_images_labels_stand_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    out = convert(write_coco(tmp_path / "set"), tmp_path / "out", "yolo", "none")

    assert sorted(path.name for path in (out / "labels/train").iterdir()) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert not (out / "data.yaml").exists()
    assert "labels alone, without data.yaml" in caplog.text


def test_names_that_no_format_holds_are_changed_and_stay_apart():
    images = ["/s/a/x.jpg", "/s/a/x.png", "/s/.b/x.jpg", "/s/a/#1.jpg", "/s/a/y\nz.jpg", "/s/a/p\\q.jpg"]

    assert new_names(images) == ["a/x.jpg", "a/x_2.png", "_.b/x.jpg", "a/_#1.jpg", "a/y_z.jpg", "a/p_q.jpg"]
    assert flat_names(images)[:3] == ["a_x.jpg", "a_x_2.png", "_.b_x.jpg"]


@pytest.mark.parametrize("to", ["yolo", "coco", "voc"])
def test_hostile_file_names_are_read_again(tmp_path, to):
    draw(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    for number, name in enumerate(['<a>&"b', " c", "#1", "y\nz"]):
        (tmp_path / "images" / f"{'abcd'[number]}.png").rename(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels" / f"{name}.txt").write_text(f"{number % 3} 0.5 0.5 0.1 0.{number + 1}\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, '<b> & c', dog]\n")

    out = convert(tmp_path, tmp_path / "out", to)

    spec = load_data_spec(out, required=("train",))
    scan = scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)
    assert spec.names[1] == "<b> & c"
    assert sorted(labels[0, 4].item() for labels in scan.labels) == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(("names", "to"), [("[cat, cat, dog]", "coco"), (r'["a\x1b", b, c]', "voc")])
def test_names_of_classes_that_would_not_be_found_again_are_refused(tmp_path, names, to):
    yaml = write_yolo(tmp_path / "set")
    yaml.write_text(f"train: images\nnames: {names}\n")

    with pytest.raises(ConfigError, match="would not be found again by its name"):
        convert(yaml, tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


def test_arrays_of_four_channels_are_found_again_in_every_format(tmp_path, caplog):
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for index in range(3):
        np.save(tmp_path / f"set/images/{index}.npy", np.full((40, 50, 4), index, np.uint8))
        (tmp_path / f"set/labels/{index}.txt").write_text(f"{index} 0.5 0.5 0.2 0.2\n")
    (tmp_path / "set/data.yaml").write_text("train: images\nnames: [a, b, c]\nchannels: 4\n")

    for to in ("yolo", "coco", "voc"):
        spec = load_data_spec(convert(tmp_path / "set", tmp_path / to, to), required=("train",))
        assert [rows[:, 0].tolist() for rows in scan_split(spec, spec.train).labels] == [[0], [1], [2]]
    assert "without an image" not in caplog.text


def test_the_new_folder_may_not_lie_among_the_images_that_it_is_made_of(tmp_path):
    yaml = write_yolo(tmp_path / "set")
    place = load_data_spec(yaml).train[0]

    with pytest.raises(ConfigError, match="lies among the images of the data set"):
        convert(yaml, place / "new", "yolo", images="copy")
    assert not (place / "new").exists()


def test_the_fence_of_the_data_set_holds(tmp_path):
    yaml = write_yolo(tmp_path / "set")
    draw(tmp_path / "elsewhere")
    (tmp_path / "set/list.txt").write_text(f"{tmp_path}/elsewhere/a.png\n")
    yaml.write_text(f"train: list.txt\nnames: {list(NAMES.values())}\n")

    with pytest.raises(DataError, match="1 of 1 entries leave the data set"):
        convert(yaml, tmp_path / "out", "coco")


def test_where_nothing_can_be_written_one_sentence_says_so_and_the_folder_is_called_unfinished(
    tmp_path, monkeypatch, caplog
):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.symlink_to", no_links)
    with pytest.raises(
        StorageError, match=r"a\.png: cannot be made \(Operation not permitted\)\nfix: try --images copy"
    ):
        convert(write_yolo(tmp_path / "set"), tmp_path / "out", "coco")

    assert "is unfinished" in caplog.text
