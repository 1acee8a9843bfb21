"""Folders as labelling tools and exporters write them: read, or refused with what to do about it."""

import json

import numpy as np
import pytest

from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.errors import ConfigError, DataError
from utils.plots.image_file import write_image
from utils.terminal import error_text

ROWS = "0 0.5 0.5 0.2 0.3\n1 0.3 0.3 0.2 0.2\n"
SIZE = {"width": 50, "height": 40}
NAMES = {0: "cat", 1: "dog"}


class Folder:
    """Writes the files of a data set of three images for each split."""

    def __init__(self, root):
        self.root = root

    def text(self, path, content):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content)

    def images(self, *folders, labels=None, suffix=".jpg"):
        for folder in folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                rng = np.random.default_rng([number, len(folder)])
                write_image(self.root / folder / f"{number}{suffix}", rng.integers(0, 255, (40, 50, 3), np.uint8))
                if labels:
                    self.text(f"{labels(folder)}/{number}.txt", ROWS)

    def coco(self, path, names, prefix=""):
        images = [{"id": i, "file_name": f"{prefix}{i}.jpg", **SIZE} for i in range(3)]
        boxes = [
            {"id": 2 * i + c, "image_id": i, "category_id": c, "bbox": [5, 5, 20, 20], "segmentation": []}
            for i in range(3)
            for c in range(2)
        ]
        categories = [{"id": number, "name": name} for number, name in enumerate(names)]
        self.text(path, json.dumps({"images": images, "annotations": boxes, "categories": categories}))

    def voc(self, folder, suffix=".jpg"):
        size = "<size><width>50</width><height>40</height></size>"
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>{x}</xmax><ymax>20</ymax></bndbox>"
            "</object>"
            for name, x in (("cat", 20), ("dog", 30))
        )
        for number in range(3):
            xml = f"<annotation><filename>{number}{suffix}</filename>{size}{objects}</annotation>"
            self.text(f"{folder}/{number}.xml", xml)


def roboflow(folder):
    folder.images("train/images", "valid/images", labels=lambda name: name.replace("images", "labels"))
    folder.text("data.yaml", "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['cat', 'dog']\n")


def roboflow_darknet(folder):
    folder.images("train", "valid", labels=str)
    folder.text("train/_darknet.labels", "cat\ndog\n")


def roboflow_coco(folder):
    folder.images("train", "valid")
    for split in ("train", "valid"):
        folder.coco(f"{split}/_annotations.coco.json", ["cat", "dog"])


def roboflow_voc(folder):
    folder.images("train", "valid")
    for split in ("train", "valid"):
        folder.voc(split)


def cvat_yolo(folder):
    folder.images("obj_train_data", labels=str)
    folder.text("train.txt", "".join(f"data/obj_train_data/{number}.jpg\n" for number in range(3)))
    folder.text("obj.names", "cat\ndog\n")
    folder.text("obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")


def cvat_coco(folder):
    folder.images("images/default")
    folder.coco("annotations/instances_default.json", ["cat", "dog"])


def label_studio_yolo(folder):
    folder.images("images", labels=lambda _: "labels")
    folder.text("classes.txt", "cat\ndog")
    folder.text("notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}))


def label_studio_coco(folder):
    folder.images("images")
    folder.coco("result.json", ["cat", "dog"], prefix="images/")


def label_studio_coco_of_windows(folder):
    folder.images("images")
    folder.coco("result.json", ["cat", "dog"], prefix="images\\")


def label_studio_voc(folder):
    folder.images("images")
    folder.voc("Annotations")


def labelimg(folder):
    folder.images(".", labels=str)
    folder.text("classes.txt", "cat\ndog\n")


def images_and_labels(folder):
    folder.images("images/train", "images/val", labels=lambda name: name.replace("images", "labels"))
    folder.text("labels/classes.txt", "cat\ndog\n")


def makesense(folder):
    folder.images("images", labels=lambda _: "labels")
    folder.text("labels.txt", "cat\ndog\n")


def kaggle(folder):
    folder.images("images", suffix=".png")
    folder.voc("annotations", suffix=".png")


def pascal(folder):
    folder.images("JPEGImages")
    folder.voc("Annotations")
    for split in ("train", "val"):
        folder.text(f"ImageSets/Main/{split}.txt", "0\n1\n2\n")


READ = [roboflow, roboflow_darknet, roboflow_coco, roboflow_voc, cvat_yolo, cvat_coco, label_studio_yolo]
READ += [label_studio_coco, label_studio_coco_of_windows, label_studio_voc, labelimg, images_and_labels, makesense]
READ += [kaggle, pascal]


@pytest.mark.parametrize("layout", READ)
def test_the_lines_that_are_proposed_for_a_layout_make_it_readable(tmp_path, layout):
    root = tmp_path / "my set"
    layout(Folder(root))
    if not (root / "data.yaml").exists():
        with pytest.raises(ConfigError, match="without a data-set YAML") as caught:
            load_data_spec(root)
        lines = error_text(caught.value).partition("fix: write data.yaml there, with such lines:\n")[2]
        assert not (root / "data.yaml").exists()
        lines = lines.replace("[FIRST CLASS, SECOND CLASS]", "[cat, dog]")  # XML files have no list of the classes
        (root / "data.yaml").write_text("\n".join(line.removeprefix("  ") for line in lines.splitlines()))
        assert ("val:" in lines) == ("utils.dataset.split --data" not in lines)

    text = (root / "data.yaml").read_text()
    spec = load_data_spec(root, required=("train", "val") if "val:" in text else ("train",))
    scan = scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)

    assert spec.names == NAMES
    assert (len(scan), sum(map(len, scan.labels))) == (3, 6)


def test_a_data_set_of_cvat_without_validation_images_is_told_how_to_get_some(tmp_path):
    folder = Folder(tmp_path)
    folder.images("images/train", labels=lambda _: "labels/train")
    folder.text("train.txt", "".join(f"data/images/train/{number}.jpg\n" for number in range(3)))
    folder.text("data.yaml", "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")

    with pytest.raises(ConfigError, match=r"key 'val' is missing\nfix: add val: …, or take one from train with python"):
        load_data_spec(tmp_path)
    spec = load_data_spec(tmp_path, required=("train",))
    assert len(scan_dataset(spec.train, spec.names, fence=spec.fence)) == 3


def test_hostile_names_of_classes_stay_what_they_are(tmp_path):
    names = ["a: b", 'say "hi"', "null", "[x", "\x1b[31mred", "#1", "ж\u202e"]
    folder = Folder(tmp_path)
    folder.images(".", labels=str)
    folder.text("classes.txt", "\n".join(names) + "\n\n")

    with pytest.raises(ConfigError) as caught:
        load_data_spec(tmp_path)

    shown = error_text(caught.value)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    lines = shown.partition("lines:\n")[2].splitlines()[:2]
    (tmp_path / "data.yaml").write_text("\n".join(line.strip() for line in lines))
    assert list(load_data_spec(tmp_path, required=()).names.values()) == names


def supervisely(folder):
    folder.images("ds0/img")
    for number in range(3):
        folder.text(f"ds0/ann/{number}.jpg.json", json.dumps({"size": SIZE, "objects": []}))
    return "ds0/img", r"ds0/ann/0\.jpg\.json is of Supervisely\nfix: export COCO or YOLO from Supervisely"


def labelme(folder):
    folder.images(".")
    for number in range(3):
        folder.text(f"{number}.json", json.dumps({"shapes": [], "imagePath": f"{number}.jpg"}))
    return ".", r"0\.json is a JSON file of one image, as labelme writes it\nfix: make one COCO file of all"


def table(folder):
    folder.images("train")
    folder.text("train.csv", "image_id,width,height,bbox\n0,50,40,[1, 2, 3, 4]\n")
    return "train", r"train\.csv is a table\nfix: write the boxes"


def labels_elsewhere(folder):
    folder.images(".", labels=lambda _: "labels_my-project-name_2026-01-01")
    return ".", r"the first label file would be .*/0\.txt\nfix: put the labels where"


def capitals(folder):
    folder.images("Images/train", labels=lambda _: "Labels/train")
    return (
        "Images/train",
        r"the folders Images and Labels of .* are not in lower case\nfix: call them images and labels",
    )


def one_capital(folder):
    folder.images("images", labels=lambda _: "LABELS")
    return "images", r"the folders images and LABELS of .* are not in lower case\nfix: call them images and labels"


def empty_files(folder):
    folder.images("images")
    for number in range(3):
        folder.text(f"labels/{number}.txt", "")
    return "images", r"none of the 3 images has a label: 3 label files without a row\nfix: label some"


@pytest.mark.parametrize("layout", [empty_files, supervisely, labelme, table, labels_elsewhere, capitals, one_capital])
def test_what_is_not_read_is_refused_with_a_way_out(tmp_path, layout):
    images, expected = layout(Folder(tmp_path))
    (tmp_path / "data.yaml").write_text(f"train: {images}\nval: {images}\nnames: [cat, dog]\n")
    spec = load_data_spec(tmp_path)

    with pytest.raises(DataError, match=expected):
        scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)
