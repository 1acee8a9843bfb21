"""Pascal VOC's files as training data: layouts, conversion, and what is refused."""

import shutil

import numpy as np
import pytest

from tests.annotation_case import NAMES, draw, voc_xml, write_voc
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.data.scan.voc import VocError, parse_voc
from utils.errors import DataError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>21.5</xmax><ymax>33</ymax></bndbox>"
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'


def scan(root, *sources, names=NAMES, **options):
    return scan_dataset([root / source for source in sources], names, fence=[root], **options)


def counts(result):
    return [len(rows) for rows in result.labels]


def one_file(root, content, shape="a", **options):
    """Return the scan of one image with this file, and three more."""
    write_voc(root)
    (root / f"Annotations/{shape}.xml").write_text(content)
    return scan(root, "JPEGImages", max_bad_images=0.5, max_bad_rows=0.5, **options)


def test_a_box_is_converted_as_by_the_script_of_yolov5(tmp_path):
    result = one_file(tmp_path, f"<annotation><object><name>dog</name>{BOX}</object></annotation>")

    expected = [2, ((1 + 21.5) / 2 - 1) / 64, ((2 + 33) / 2 - 1) / 48, 20.5 / 64, 31 / 48]
    np.testing.assert_allclose(result.labels[0], [expected], rtol=1e-6)


@pytest.mark.parametrize("source", ["ImageSets/Main/all.txt", "JPEGImages", "."])
def test_a_list_of_ids_the_images_and_the_whole_are_read_alike(tmp_path, source, caplog):
    caplog.set_level("INFO")
    write_voc(tmp_path)
    shutil.copytree(tmp_path / "JPEGImages", tmp_path / "SegmentationClass")

    result = scan(tmp_path, source)

    assert counts(result) == [2, 1, 0, 3]
    assert (result.found, result.empty) == (4, 1)
    assert "labels: 4 images with .xml (Pascal VOC)" in caplog.text


def test_files_may_lie_beside_the_images_and_some_images_have_none(tmp_path, caplog):
    caplog.set_level("INFO")
    draw(tmp_path / "photos")
    (tmp_path / "photos/a.XML").write_text(voc_xml("a", [(0, 3, 4, 20, 30)]))

    result = scan(tmp_path, "photos")

    assert (counts(result), result.missing) == ([1, 0, 0, 0], 3)
    assert "labels: 1 image with .xml (Pascal VOC); 3 images without" in caplog.text


@pytest.mark.parametrize("source", ["ImageSets/Main/few.txt", "JPEGImages"])
def test_files_without_an_image_are_counted_but_not_those_of_images_of_other_splits(tmp_path, caplog, source):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main/few.txt").write_text("a\n")
    (tmp_path / "Annotations/lost.xml").write_text(voc_xml("a", [(0, 3, 4, 20, 30)]))

    scan(tmp_path, source)

    assert f"1 .xml file without an image, the first is {tmp_path}/Annotations/lost.xml" in caplog.text


def test_where_there_are_both_the_txt_is_taken_and_that_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    write_voc(tmp_path)
    (tmp_path / "JPEGImages/a.txt").write_text("1 0.5 0.5 0.2 0.2\n")

    result = scan(tmp_path, "JPEGImages")

    assert (counts(result), result.labels[0][0, 0]) == ([1, 1, 0, 3], 1)
    assert "labels: 1 image with both .txt and .xml: .txt is taken" in caplog.text


def test_difficult_objects_are_regions_and_parts_are_no_objects(tmp_path):
    part = f"<part><name>dog</name>{BOX}</part>"
    cat = f"<object><name>cat</name><difficult>1</difficult>{BOX}</object>"
    dog = f"<object><name>dog</name>{part}{BOX}</object>"

    result = one_file(tmp_path, f"<annotation>{cat}{dog}</annotation>")

    assert result.labels[0][:, 0].tolist() == [2]
    assert result.ignored[0][:, 0].tolist() == [0]


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_told_is_that_of_the_image(tmp_path, size):
    assert counts(one_file(tmp_path, f"<annotation>{size}<object><name>dog</name>{BOX}</object></annotation>"))[0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            voc_xml("a", [], size=(64, 48)),
            "a.xml: says 48×64 pixels, but its image has 64×48: its boxes would be wrong",
        ),
        ("<annotation><object>", "a.xml: not XML (no element found"),
        ("", "a.xml: not XML (no element found"),
        ("<html/>", "a.xml: its root is <html>, not the <annotation> of Pascal VOC"),
        (BOMB, "a.xml: declares the entity a, which annotations have no use for"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', "declares the entity a"),
    ],
    ids=range(6),
)
def test_a_file_that_cannot_be_used_costs_its_image(tmp_path, content, message):
    result = one_file(tmp_path, content)

    assert counts(result) == [1, 0, 3]
    assert message in str(result.problems[0])


def test_a_bomb_in_another_encoding_is_refused_too():
    with pytest.raises(VocError, match="declares the entity a"):
        parse_voc(f'<?xml version="1.0" encoding="UTF-16"?>{BOMB}'.encode("utf-16"))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("", "object 1 (dog): has no box of four numbers"),
        (BOX.replace("21.5", "x"), "object 1 (dog): has no box of four numbers"),
        (BOX.replace("21.5", "1"), "object 1 (dog): a box of width 0 and height 31 has no area"),
        (BOX.replace("21.5", "nan"), "object 1 (dog): has no box of four numbers"),
    ],
)
def test_a_wrong_box_is_left_out_and_named(tmp_path, box, message):
    result = one_file(tmp_path, f"<annotation><object><name>dog</name>{box}</object></annotation>")

    assert (counts(result), result.dropped_rows) == ([0, 1, 0, 3], 1)
    assert message in str(result.problems[0])


def test_names_that_the_data_set_does_not_have_are_left_out_and_counted(tmp_path, caplog):
    write_voc(tmp_path)

    result = scan(tmp_path, "JPEGImages", names={0: "Traffic_Light"})

    assert counts(result) == [0, 1, 0, 1]
    assert "left out, because names does not have them: cat (2), dog (2)" in caplog.text


def test_the_scan_is_made_again_when_a_file_appears_or_names_change(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "kept.xml")

    first = scan(tmp_path, "JPEGImages")
    (tmp_path / "kept.xml").rename(tmp_path / "Annotations/a.xml")
    second = scan(tmp_path, "JPEGImages")

    assert (counts(first), counts(second)) == ([0, 1, 0, 3], [2, 1, 0, 3])
    assert scan(tmp_path, "JPEGImages").cached
    assert not scan(tmp_path, "JPEGImages", names={0: "dog"}).cached


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a -1", "all.txt:1: 'a -1': a list of one class, with a second column"),
        ("../secret/a", "all.txt:1: '../secret/a' is not the id of an image"),
    ],
)
def test_what_is_no_id_is_refused(tmp_path, entry, message):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main/all.txt").write_text(f"{entry}\n")

    with pytest.raises(DataError) as caught:
        scan(tmp_path, "ImageSets/Main/all.txt")
    assert message in caught.value.what


def test_an_id_without_an_image_is_unreadable(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main/all.txt").write_text("a\nb.png\ngone\n")

    result = scan(tmp_path, "ImageSets/Main/all.txt", max_bad_images=0.5)

    assert (counts(result), result.unreadable) == ([2, 1], 1)
    assert "gone.jpg: no such file" in str(result.problems[0])


def test_a_link_out_of_the_data_set_is_refused(tmp_path):
    write_voc(tmp_path / "set")
    (tmp_path / "set/Annotations/a.xml").rename(tmp_path / "a.xml")
    (tmp_path / "set/Annotations/a.xml").symlink_to(tmp_path / "a.xml")

    with pytest.raises(DataError, match="1 annotation files are links that leave the folders"):
        scan(tmp_path / "set", "JPEGImages")


def test_the_yaml_may_name_the_whole_data_set(tmp_path):
    write_voc(tmp_path / "VOC2007")
    (tmp_path / "data.yaml").write_text("train: VOC2007\nval: VOC2007/ImageSets/Main/all.txt\nnames: [dog]\n")
    spec = load_data_spec(tmp_path / "data.yaml")

    for split in (spec.train, spec.val):
        assert counts(scan_dataset(split, spec.names, root=spec.root, fence=spec.fence)) == [1, 0, 0, 1]
