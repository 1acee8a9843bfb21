"""Planted faults are found where they are, a clean set is left in peace, and nothing of the user's is touched."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from annotation_case import coco_content, write_coco, write_voc, write_yolo
from PIL import Image
from planted_faults import Planted, drawn, plant_all, with_exif

from utils.configs.doctor import DoctorConfig
from utils.data.scan.spec import load_data_spec
from utils.doctor.__main__ import main
from utils.doctor.checks import CHECKS
from utils.doctor.detections import check_classes, default_anchors, with_detections
from utils.doctor.examine import examine, told
from utils.doctor.facts import ERROR, NOTE, WARNING
from utils.doctor.gather import gather_facts
from utils.doctor.page import render
from utils.errors import ConfigError, UnfitError
from utils.predictions import BN5C, Predictions
from utils.runs import ROOT


def look(data):
    facts = gather_facts(load_data_spec(data.yaml), 640)
    return facts, examine(facts)


def places(facts, findings, check):
    return [facts.place(example) for finding in findings if finding.check == check for example in finding.examples]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    data = plant_all(tmp_path_factory.mktemp("planted"))
    before = content(data.root)
    facts, findings = look(data)
    assert content(data.root) == before, "the data set was changed"
    return data, facts, findings


def content(root):
    return {path: hashlib.md5(path.read_bytes()).digest() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_planted_fault_is_found_in_its_file(planted):
    data, facts, findings = planted
    missed = [(check, place) for check, place in data.faults if place not in places(facts, findings, check)]

    assert len({check for check, _ in data.faults}) >= 20
    assert missed == []


def test_few_places_are_named_that_were_not_planted(planted):
    data, facts, findings = planted
    # what a fault brings along: a picture that cannot be used takes its row of "labels" with it, and so on
    named = {(f.check, facts.place(e)) for f in findings if f.severity != NOTE for e in f.examples}
    wrong = {
        (check, place)
        for check, place in named - set(data.faults)
        if not any(place.partition(":")[0] == other.partition(":")[0] for _, other in data.faults)
    }

    assert len(wrong) <= 0.05 * len(facts.pictures), sorted(wrong)


def test_a_set_that_training_refuses_is_an_error_and_keeps_its_whole_report(planted):
    _, _, findings = planted
    errors = {finding.check for finding in findings if finding.severity == ERROR}

    assert errors == {"refused", "wrong-classes", "shared-labels"}
    assert findings[0].severity == ERROR and findings[-1].severity == NOTE


def test_a_split_that_is_another_one_is_told_once_and_not_picture_by_picture(tmp_path):
    data = Planted(tmp_path, {"train": 30})
    data.yaml.write_text(data.yaml.read_text().replace("val: images/val", "val: images/train"))

    facts, findings = look(data)

    (found,) = [finding for finding in findings if finding.check == "leaks"]
    assert found.title.startswith("val and train are the same 30 pictures,") and not found.examples
    assert "check <code>leaks</code>" in render(facts, findings)
    assert told(facts, findings).count("images/train/") == 0


def test_labels_that_count_from_one_are_told(tmp_path):
    data = Planted(tmp_path, {"train": 20, "val": 8})
    for (split, name), rows in list(data.rows.items()):
        data.write(split, name, rows + np.eye(5)[0])

    _, findings = look(data)

    assert "count from 1" in next(f.fix for f in findings if f.check == "wrong-classes")


@pytest.mark.parametrize(
    ("rows", "fix"),
    [
        ("0 45.3 50.1 20 10", "coordinates in pixels: .*; coordinates in per cent: divide all four by 100"),
        ("0 45.3 50.1 20 10\n0 320 50 20 10", "coordinates in pixels: divide x and w by the width of the image"),
    ],
)
def test_labels_in_another_unit_are_told_with_every_unit_that_it_can_be(tmp_path, rows, fix):
    data = Planted(tmp_path, {"train": 2, "val": 1})
    (data.root / "labels/train/000.txt").write_text(rows)

    _, findings = look(data)

    (found,) = [finding for finding in findings if finding.check == "bad-rows"]
    assert re.match(fix, found.fix) and ("per cent" in found.fix) == ("per cent" in fix)


def test_a_clean_set_is_left_in_peace(tmp_path):
    facts, findings = look(Planted(tmp_path, {"train": 80, "val": 30}))

    assert [(finding.check, finding.title) for finding in findings] == []
    assert len(facts.boxes) > 300


def swapped(rows):
    return rows[:, [0, 2, 1, 4, 3]]


def by_corner(rows):
    rows = rows.copy()
    rows[:, 1:3] = (rows[:, 1:3] - rows[:, 3:] / 2).clip(0)
    return rows


def by_corners(rows):
    corners = np.concatenate((rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2), axis=1).clip(0, 1)
    return np.concatenate((rows[:, :1], corners), axis=1)


def mirrored(rows):
    return np.concatenate((rows[:, :1], 1 - rows[:, 1:2], rows[:, 2:]), axis=1)


@pytest.mark.parametrize(
    ("change", "reading"),
    [
        (swapped, "x and y swapped"),
        (by_corner, "x y w h with x y the upper left corner"),
        (by_corners, "x1 y1 x2 y2, two corners"),
        (mirrored, "the picture mirrored left to right"),
    ],
)
def test_boxes_that_are_written_in_another_way_are_told(tmp_path, change, reading):
    data = Planted(tmp_path, {"train": 40, "val": 8})
    for (split, name), rows in list(data.rows.items()):
        data.write(split, name, change(rows))

    _, findings = look(data)

    found = [finding for finding in findings if finding.check == "other-reading" and " train " in finding.title]
    assert [finding.severity for finding in found] == [WARNING]
    assert found[0].title.endswith(reading)


@pytest.mark.parametrize("labelled", ["stored", "upright"])
def test_labels_of_the_stored_picture_are_told_from_those_of_the_upright_one(tmp_path, labelled):
    data = Planted(tmp_path, {"train": 30, "val": 8})
    for (split, name), rows in list(data.rows.items()):
        path = data.image(split, name)
        if labelled == "stored":  # the tool knew no EXIF
            path.write_bytes(with_exif(path.read_bytes(), 6))
        else:  # the camera stored it turned to the left, and its EXIF data turn it back
            stored = cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_COUNTERCLOCKWISE)
            path.write_bytes(with_exif(cv2.imencode(".jpg", stored)[1].tobytes(), 6))
        data.write(split, name, rows)

    facts, findings = look(data)

    assert len(places(facts, findings, "turned-by-exif")) == 38
    assert len(places(facts, findings, "other-reading")) == (
        sum(len(rows) > 0 for rows in data.rows.values()) if labelled == "stored" else 0
    )


class Knowing:
    """A model that has learnt the drawn pictures by heart."""

    def __init__(self, data, skill=1.0):
        self.skill = skill
        self.names, self.stride, self.fixed_size, self.layout = dict(enumerate("abcdef")), 32, None, BN5C
        self.truth = [drawn(split, int(name))[1] for split, name in sorted(data.rows)]

    def __call__(self, images):
        rows = torch.tensor(self.truth.pop(0), dtype=torch.float32).view(-1, 5)
        height, width = images.shape[2:]
        output = torch.zeros(1, max(len(rows), 1), 11)
        output[0, : len(rows), :4] = rows[:, 1:] * torch.tensor([width, height, width, height])
        output[0, : len(rows), 4] = 0.9 * self.skill
        output[0, torch.arange(len(rows)), 5 + rows[:, 0].long()] = 1
        return Predictions(output, BN5C)


def judged(data, model):
    spec = load_data_spec(data.yaml)
    classes = check_classes(model, spec.names, "best.pt")
    return with_detections(gather_facts(spec, 320), model, torch.device("cpu"), classes)


def test_a_model_of_the_same_classes_in_another_order_is_asked_by_name(tmp_path):
    data = Planted(tmp_path, {"train": 12, "val": 2})
    model = Knowing(data)
    model.names = dict(enumerate(reversed(load_data_spec(data.yaml).names.values())))
    for rows in model.truth:
        rows[:, 0] = 5 - rows[:, 0]

    assert not places(*(facts := judged(data, model), examine(facts)), "other-class")


def test_a_model_that_knows_better_names_the_labels_that_are_wrong(tmp_path):
    data = Planted(tmp_path, {"train": 12, "val": 2})
    names = [name for (split, name), rows in data.rows.items() if split == "train" and len(rows)][:3]
    data.write("train", names[0], data.rows["train", names[0]][1:])
    changed = data.rows["train", names[1]].copy()
    changed[0, 0] = (changed[0, 0] + 1) % 6
    data.write("train", names[1], changed)
    line = data.append("train", names[2], "3 0.03 0.03 0.05 0.05")

    facts = judged(data, Knowing(data))
    findings = examine(facts)

    assert places(facts, findings, "missing-labels") == [f"labels/train/{names[0]}.txt"]
    assert places(facts, findings, "other-class") == [f"labels/train/{names[1]}.txt:1"]
    assert places(facts, findings, "doubtful-labels") == [f"labels/train/{names[2]}.txt:{line}"]


def test_a_model_that_finds_nothing_is_no_judge(tmp_path):
    data = Planted(tmp_path, {"train": 12, "val": 2})

    facts = judged(data, Knowing(data, skill=0))

    assert [(f.check, f.severity, f.examples) for f in examine(facts) if f.count == len(facts.boxes)] == [
        ("doubtful-labels", NOTE, ())
    ]


def test_anchors_that_miss_boxes_are_told(tmp_path):
    facts, _ = look(Planted(tmp_path, {"train": 20, "val": 8}))
    default, huge = (examine(replace(facts, anchors=a)) for a in (default_anchors(), default_anchors() * 500))

    assert not [finding for finding in default if finding.check == "anchors"]
    assert [finding.count for finding in huge if finding.check == "anchors"] == [(facts.box_splits == "train").sum()]


HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_hostile_name_is_text_on_the_page_and_on_the_terminal(tmp_path):
    data = Planted(tmp_path, {"train": 12, "val": 4})
    data.yaml.write_text(data.yaml.read_text().replace("disc", f"'{HOSTILE}\\x1b[2J'"))
    name = f"{HOSTILE.replace('/', '')}\n\x1b[2J&amp;"
    image, rows = drawn("train", 50)
    data.add("train", name, image // 40, rows[:1])

    facts, findings = look(data)
    text, lines = render(facts, findings), told(facts, findings)

    assert not re.search(r"<(?:img src=x|script)|\x1b", text)
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "\x1b" not in lines and "\\x1b[2J" in lines


def test_the_page_carries_its_pictures_and_stays_small(planted):
    _, facts, findings = planted
    text = render(facts, findings)

    assert text.count('<img src="data:image/jpeg;base64,') > text.count("<figure>") >= 20  # some show two pictures
    assert len(text) < 5_000_000
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)


def test_every_check_is_in_the_docs_and_no_other():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == list(CHECKS)


def test_the_command_ends_with_3_for_a_set_that_is_not_fit_and_writes_the_page(planted, tmp_path):
    data, _, _ = planted

    with pytest.raises(UnfitError, match="not fit to train on: 3 errors") as raised:
        main(DoctorConfig(data=str(data.yaml), out=str(tmp_path / "page")))

    assert raised.value.exit_code == 3
    assert (tmp_path / "page" / "doctor.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"backbone": "my.py:net"}, "--backbone belongs to"), ({"out": __file__}, "is a file")],
)
def test_a_useless_option_is_refused_before_anything_is_read(options, message):
    with pytest.raises(ConfigError, match=message):
        main(DoctorConfig(data="no such file.yaml", **options))


def test_a_split_that_is_not_there_leaves_the_others_their_report(tmp_path):
    data = Planted(tmp_path, {"train": 12, "val": 4})
    data.yaml.write_text(data.yaml.read_text() + "test: images/nowhere\n")
    (data.root / "images/val").rename(data.root / "moved")
    (data.root / "images/val").mkdir()
    data.image("train", "003").write_bytes(b"")

    facts, findings = look(data)

    assert {(f.check, f.severity) for f in findings if f.severity != NOTE} >= {("refused", ERROR), ("refused", WARNING)}
    assert places(facts, findings, "unusable-pictures") == ["images/train/003.jpg"]


@pytest.mark.parametrize("write", [write_coco, write_voc, write_yolo])
def test_coco_and_voc_are_looked_at_like_label_files(tmp_path, write):
    facts = gather_facts(load_data_spec(write(tmp_path)), 64)

    per_image = [len(facts.rows_of(index)) for index in range(len(facts.pictures)) if facts.splits]
    assert [Path(picture.path).stem for picture in facts.pictures] == ["a", "b", "c", "d"] * 2
    assert per_image == [2, 1, 0, 3] * 2
    assert not facts.refusals
    assert not [finding for finding in examine(facts) if finding.check in ("refused", "label-files", "missing-images")]
    assert "train" in told(facts, examine(facts))


def test_files_of_voc_without_an_image_are_told(tmp_path):
    yaml = write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations/lost.xml")

    facts = gather_facts(load_data_spec(yaml), 640)

    assert places(facts, examine(facts), "orphan-labels") == ["Annotations/lost.xml"]


def test_objects_that_are_left_out_are_not_pictures_that_are(tmp_path):
    content = coco_content()
    content["annotations"][0]["bbox"] = [1, 1, 0, 5]
    content["annotations"] += [content["annotations"][1] | {"id": 90, "image_id": 555}]
    content["annotations"] += [
        content["annotations"][1] | {"id": 91 + number, "category_id": 77} for number in range(3)
    ]
    content["categories"] += [{"id": 77, "name": "ufo"}, {"id": 78, "name": "unused"}]
    facts = gather_facts(load_data_spec(write_coco(tmp_path, content)), 64)

    found = {finding.check: finding for finding in examine(facts)}
    assert "unusable-pictures" not in found
    assert found["bad-rows"].count == 2
    assert [(example.path, example.text) for example in found["unknown-classes"].examples] == [
        (str(tmp_path / "data.yaml"), "ufo: 3 objects")
    ]
    assert found["bad-rows"].fix == "correct or remove these objects in their file"


def test_a_coco_file_that_training_refuses_is_named_with_its_fault(tmp_path):
    """Not what the search for images says that comes instead: there is no folder to look into."""
    (tmp_path / "a.json").write_text('{"images": [')
    (tmp_path / "d.yaml").write_text(f"path: {tmp_path}\ntrain: a.json\nval: a.json\nnames: [cat]\n")
    findings = examine(gather_facts(load_data_spec(tmp_path / "d.yaml"), 640))
    assert [finding.check for finding in findings] == ["refused", "refused"]
    assert all("a.json: ends in the middle" in finding.title for finding in findings)


def test_pages_that_may_be_channels_are_told(tmp_path):
    data = Planted(tmp_path, {"train": 2, "val": 1})
    page = Image.fromarray(drawn("train", 0)[0][..., 0])
    data.image("train", "000").unlink()
    page.save(data.root / "images/train/000.tif", save_all=True, append_images=[page, page])

    facts, findings = look(data)

    assert places(facts, findings, "kinds-of-pixels")[0] == "images/train/000.tif"
    assert any("say how many with 'channels'" in finding.fix for finding in findings)
    data.yaml.write_text(data.yaml.read_text() + "channels: 3\n")
    Image.fromarray(drawn("train", 0)[0]).save(data.root / "images/train/000.tif")
    assert not any("'channels'" in finding.fix for finding in look(data)[1])


def test_pictures_of_four_channels_are_looked_at(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
        np.save(tmp_path / split / "images" / "a.npy", np.random.default_rng(0).integers(0, 255, (40, 60, 4), np.uint8))
        (tmp_path / split / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [x]\nchannels: 4\n")

    facts = gather_facts(load_data_spec(tmp_path / "data.yaml"), 64)

    assert [picture.shape for picture in facts.pictures] == [(40, 60)] * 2
    assert len(facts.usable) == 2
    assert not facts.problems
    assert render(facts, examine(facts)).startswith("<!DOCTYPE html>")
