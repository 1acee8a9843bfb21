"""Label files without an image, links in the place of label files, and pictures in both train and val."""

import shutil

import cv2
import numpy as np
import pytest

from utils.class_names import numbered_names
from utils.data.scan.overlap import warn_of_overlap
from utils.data.scan.scan import scan_dataset
from utils.errors import DataError

ROW = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def add(tmp_path):
    """Return a function that adds an image of one colour, and its label."""

    def add(name, colour=90, label=ROW):
        image = tmp_path / "set/images" / f"{name}.png"
        text = tmp_path / "set/labels" / f"{name}.txt"
        for path in (image, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.full((24, 32, 3), colour, np.uint8))
        if label:
            text.write_text(label)
        return image

    add.root = tmp_path / "set"
    return add


def test_labels_without_an_image_are_counted_and_the_first_is_named(add, caplog):
    add("train/a")
    for name in ("c", "b", "classes", "README"):
        (add.root / f"labels/train/{name}.txt").write_text(ROW)

    scan_dataset([add.root / "images"], numbered_names(1))

    assert f"2 label files have no image, the first is {add.root}/labels/train/b.txt" in caplog.text


@pytest.mark.parametrize("suffix", [".TXT", ".Txt"])
def test_a_label_file_in_upper_case_does_not_make_its_image_a_background(add, suffix):
    add("a")
    label = add.root / f"labels/b{suffix}"
    add("b", label="").parent.parent.joinpath("labels", label.name).write_text(ROW)
    (add.root / "labels/README.TXT").write_text("of no image")

    with pytest.raises(DataError, match=rf"b{suffix}: label files end in .txt, 1 of these in upper case"):
        scan_dataset([add.root / "images"], numbered_names(1))


def test_labels_of_images_that_a_list_leaves_out_are_no_orphans(add, caplog):
    first, _ = add("a"), add("b")
    listed = add.root / "train.txt"
    listed.write_text(f"{first}\n")

    assert len(scan_dataset([listed], numbered_names(1))) == 1
    assert "no image" not in caplog.text


def test_lists_and_other_images_beside_the_images_are_no_orphans(add, caplog):
    """Labels may lie beside the images, as CVAT has them."""
    folder = add.root / "obj_train_data"
    shutil.copytree(add("a").parent, folder)
    (folder / "a.txt").write_text(ROW)
    (folder / "train.txt").write_text("obj_train_data/a.png\n")

    scan_dataset([folder], numbered_names(1))

    assert "no image" not in caplog.text


def link_label(add, tmp_path, name, target_text="secret word"):
    """Replace a label file by a link to a file outside the data set."""
    target = tmp_path / "outside" / f"{name}.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text(target_text)
    label = add.root / f"labels/{name}.txt"
    label.unlink(missing_ok=True)
    label.symlink_to(target)
    return label


def test_a_label_that_is_a_link_out_of_the_data_set_is_refused_unread(add, tmp_path):
    add("a")
    add("b")
    label = link_label(add, tmp_path, "b")

    with pytest.raises(DataError) as caught:
        scan_dataset([add.root / "images"], numbered_names(1), fence=[add.root])

    assert f"1 label files are links that leave the folders of the data set; the first is {label}" in caught.value.what
    assert "secret" not in str(caught.value)
    assert "allow_outside: true" in caught.value.fix


def test_such_a_link_is_followed_where_that_is_allowed(add, tmp_path):
    add("a")
    link_label(add, tmp_path, "a", ROW)

    assert scan_dataset([add.root / "images"], numbered_names(1), fence=None).found == 1
    assert scan_dataset([add.root / "images"], numbered_names(1), fence=[add.root, tmp_path / "outside"]).found == 1


def test_links_inside_and_linked_folders_are_followed(add, tmp_path):
    add("a")
    add("b", 50)
    (add.root / "labels/b.txt").unlink()
    (add.root / "labels/b.txt").symlink_to("a.txt")
    shutil.move(add.root / "labels", tmp_path / "pool")
    (add.root / "labels").symlink_to(tmp_path / "pool", target_is_directory=True)

    assert scan_dataset([add.root / "images"], numbered_names(1), fence=[add.root]).found == 2


def test_a_set_of_links_to_pairs_of_image_and_label_is_followed(add, tmp_path):
    """A fold of a cross-validation: image and label are links to a pool, where they belong together."""
    for name in "ab":
        add(name, ord(name))
    fold = tmp_path / "fold"
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        (fold / kind).mkdir(parents=True)
        for name in "ab":
            (fold / kind / f"{name}.{suffix}").symlink_to(add.root / kind / f"{name}.{suffix}")

    assert scan_dataset([fold / "images"], numbered_names(1), fence=[fold]).found == 2
    (fold / "labels/a.txt").unlink()
    (fold / "labels/a.txt").symlink_to(add.root / "labels/b.txt")
    with pytest.raises(DataError, match="1 label files are links"):
        scan_dataset([fold / "images"], numbered_names(1), fence=[fold])


def overlap_of(add, caplog, train="train", val="val"):
    scans = [scan_dataset([add.root / "images" / split], numbered_names(1)) for split in (train, val)]
    caplog.clear()
    warn_of_overlap(*scans)
    return caplog.text


def test_the_same_images_in_train_and_val_are_a_warning(add, caplog):
    add("train/a")
    add("train/b", 10)

    assert "train and val are the same 2 images" in overlap_of(add, caplog, val="train")


def test_pictures_in_both_are_counted_by_their_content(add, caplog):
    for number in range(5):
        add(f"train/{number}", number)
    copies = [add("val/x", 3), add("val/y", 1)]
    add("val/z", 99)
    copies[1].unlink()
    copies[1].hardlink_to(add.root / "images/train/1.png")

    text = overlap_of(add, caplog)

    assert f"2 of 3 images of val are in train too, the first is {copies[0]}" in text


def test_files_of_one_size_with_other_content_are_not_the_same(add, caplog):
    first, second = add("train/a", 10), add("val/b", 10)
    for path, middle in ((first, b"x" * 9000), (second, b"y" * 9000)):
        path.write_bytes(path.read_bytes() + middle + b"end" * 3000)

    assert overlap_of(add, caplog) == ""


def test_only_files_of_one_size_and_shape_are_opened(add, caplog, monkeypatch):
    add("train/a")
    other = add("val/b", 20)
    other.write_bytes(other.read_bytes() + b"!")
    scans = [scan_dataset([add.root / "images" / split], numbered_names(1)) for split in ("train", "val")]
    monkeypatch.setattr("utils.data.scan.overlap._digest", None)
    caplog.clear()

    warn_of_overlap(*scans)

    assert not caplog.records
