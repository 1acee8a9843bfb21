"""COCO files as training data: what is read, what is left out, and what is refused."""

import json

import numpy as np
import pytest

from tests.annotation_case import OBJECTS, SHAPES, coco_content, write_coco, write_yolo
from utils.data.scan.coco_boxes import CORNERS, misreading
from utils.data.scan.coco_file import read_coco
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.errors import ConfigError, DataError


@pytest.fixture
def scanned(tmp_path):
    """Return a function that changes the COCO content and scans the data set; ``names`` replaces those of the YAML."""

    def scan(change=lambda content: None, names=..., **options):
        content = coco_content()
        change(content)
        yaml = write_coco(tmp_path, content)
        if names is not ...:
            lines = "" if names is None else f"names: {json.dumps(names)}\n"
            split = "annotations/instances_all.json"
            yaml.write_text(f"train: {split}\nval: {split}\n{lines}")
        spec = load_data_spec(yaml)
        return scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence, **options)

    return scan


def annotation(content, number=0):
    return content["annotations"][number]


def stems(result):
    return [path.rpartition("/")[2].partition(".")[0] for path in result.image_paths]


def as_floats(content):
    """Write all numbers but boxes as a table of floats does."""
    for key in ("images", "annotations", "categories"):
        for entry in content[key]:
            entry |= {name: float(value) for name, value in entry.items() if type(value) is int}


def as_texts(content):
    for entry in content["annotations"]:
        entry |= {"iscrowd": str(entry.get("iscrowd", 0)), "bbox": list(map(str, entry["bbox"]))}
    for entry in content["images"]:
        entry |= {"height": str(entry["height"]), "width": str(entry["width"])}


@pytest.mark.parametrize("write", [as_floats, as_texts])
def test_numbers_that_are_written_as_floats_or_texts_are_read(scanned, write):
    expected = scanned()

    result = scanned(write)

    assert result.image_paths == expected.image_paths
    for name in ("labels", "ignored"):
        for one, other in zip(getattr(result, name), getattr(expected, name), strict=True):
            assert np.array_equal(one, other)


def test_sizes_that_are_texts_are_compared_with_the_files_too(scanned):
    def turn(content):
        for entry in content["images"]:
            entry |= {"height": str(entry["width"]), "width": str(entry["height"])}

    with pytest.raises(DataError, match="its boxes would be wrong"):
        scanned(turn)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"image_id": "one"}, "makes sense\n.*its image_id is not among the images"),
        ({"iscrowd": 1}, r"but \d+ regions in which nothing counts"),
    ],
)
def test_a_file_without_a_label_that_counts_says_why(scanned, change, what):
    def spoil(content):
        for entry in content["annotations"]:
            entry |= change

    with pytest.raises(DataError, match=f"none of the . images has a label.*{what}"):
        scanned(spoil)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda x, y, w, h: [x / 100, y / 100, w / 100, h / 100], "its bbox is in shares of the image"),
        (lambda x, y, w, h: [x, y, x + w, y + h], r"its bbox looks like \[x1, y1, x2, y2\]"),
    ],
)
def test_boxes_of_another_meaning_are_refused(scanned, change, what):
    def misread(content):
        rows = content["annotations"]
        rows += [row | {"id": row["id"] + 1, "bbox": [side + 0.1 for side in row["bbox"]]} for row in rows]
        for row in rows:
            row["bbox"] = change(*row["bbox"])

    with pytest.raises(DataError, match=f"annotation id 2: {what}"):
        scanned(misread)


def test_large_objects_at_the_edge_are_boxes_as_they_are_written():
    shapes = np.full((20, 2), 100)
    boxes = np.tile([2.0, 3, 97, 96], (20, 1))
    assert misreading(boxes, shapes) == ""
    boxes[0] = [40, 30, 80, 90]  # a slip
    assert misreading(boxes, shapes) == ""
    boxes[:8] = [40, 30, 80, 90]
    assert misreading(boxes, shapes) == CORNERS
    assert misreading(boxes, np.zeros((20, 2), int)) == ""


def test_boxes_are_those_of_the_file_in_fractions_of_the_image(scanned):
    result = scanned()

    assert stems(result) == list("abcd")
    for (shape, objects), labels in zip(
        zip(SHAPES.values(), OBJECTS.values(), strict=True), result.labels, strict=True
    ):
        height, width = shape
        expected = [[c, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height] for c, x, y, w, h in objects]
        np.testing.assert_allclose(labels, np.reshape(expected, (-1, 5)), rtol=1e-6)
    assert (result.found, result.missing, result.empty) == (4, 0, 1)
    assert scanned().cached


def test_names_come_from_the_file_in_the_order_of_ids_where_the_yaml_has_none(tmp_path, scanned):
    result = scanned(names=None)

    assert load_data_spec(tmp_path / "data.yaml").names == {0: "dog", 1: "cat", 2: "traffic light"}
    assert result.labels[0][:, 0].tolist() == [1, 0]


def test_a_category_that_only_groups_others_is_no_class(tmp_path, scanned):
    def as_roboflow(content):
        content["categories"] = [{"id": 0, "name": "animals", "supercategory": "none"}] + [
            category | {"supercategory": "animals"} for category in content["categories"]
        ]

    scanned(as_roboflow, names=None)

    assert load_data_spec(tmp_path / "data.yaml").names == {0: "dog", 1: "cat", 2: "traffic light"}


def test_names_are_matched_without_case_spaces_and_underscores(scanned, caplog):
    caplog.set_level("INFO")
    result = scanned(names=["Traffic_Light", "DOG", "cat"])

    assert result.labels[1][:, 0].tolist() == [0]
    assert "4 images from instances_all.json (COCO; category ids → classes: 9 → 0, 2 → 1, 4 → 2)" in caplog.text


def test_categories_that_names_does_not_have_are_left_out_and_counted(scanned, caplog):
    result = scanned(names=["dog"])

    assert [len(rows) for rows in result.labels] == [1, 0, 0, 1]
    assert result.left_out == {"cat": 2, "traffic light": 2}
    assert "left out, because names does not have them: cat (2), traffic light (2)" in caplog.text


def test_a_name_without_a_category_is_refused_with_the_likely_one(scanned):
    with pytest.raises(DataError, match="'dgo'") as caught:
        scanned(names=["cat", "dgo"])
    assert caught.value.fix == "did you mean dog?"


def test_the_scan_is_made_again_when_the_file_or_the_names_change(scanned):
    assert [scanned().cached, scanned().cached, scanned(names=["dog", "cat"]).cached] == [False, True, False]

    result = scanned(lambda content: annotation(content).update(bbox=[1, 1, 30, 30]))

    assert not result.cached
    assert result.labels[0][0].tolist() == [0, 0.25, 0.3333333432674408, 0.46875, 0.625]


def test_a_crowd_is_a_region_and_no_label(scanned):
    result = scanned(
        lambda content: annotation(content).update(iscrowd=1, segmentation={"counts": [3], "size": [1, 2]})
    )

    assert result.labels[0][:, 0].tolist() == [2]
    np.testing.assert_allclose(result.ignored[0], [[0, 13.3 / 64, 10.35 / 48, 20.1 / 64, 11.7 / 48]], rtol=1e-6)
    assert "1 ignored region" in result.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 1, 0, 5]}, "annotation id 2: a box of width 0 and height 5 has no area"),
        ({"bbox": [1, 1, -3, 5]}, "annotation id 2: a box of width -3 and height 5 has no area"),
        ({"bbox": [70, 1, 5, 5]}, "annotation id 2: a box at 70, 1 of 5×5 lies outside the image of 64×48"),
        ({"bbox": None}, "annotation id 2: has no box of four numbers"),
        ({"bbox": [1, 2, 3]}, "annotation id 2: has no box of four numbers"),
        ({"bbox": ["1", "x", 3, 4]}, "annotation id 2: has no box of four numbers"),
        ({"bbox": [1, 2, float("inf"), 4]}, "annotation id 2: has no box of four numbers"),
        ({"image_id": 99}, "annotation id 2: its image_id is not among the images"),
        ({"category_id": 99}, "annotation id 2: its category_id is not among the categories"),
    ],
)
def test_a_wrong_annotation_is_left_out_and_named(scanned, change, message):
    result = scanned(lambda content: annotation(content).update(change))

    (problem,) = result.problems
    assert str(problem).endswith(f"instances_all.json: {message}")
    assert (result.dropped_rows, sum(map(len, result.labels))) == (1, 5)


def test_too_many_wrong_annotations_stop_the_run(scanned):
    with pytest.raises(DataError, match="20 of 26 label rows are wrong"):
        scanned(lambda content: content["annotations"].extend([annotation(content) | {"bbox": [1, 1, 0, 0]}] * 20))


def test_a_box_is_cut_off_at_the_border_and_that_is_counted(scanned):
    result = scanned(lambda content: annotation(content).update(bbox=[-10, 40, 26, 100]))

    np.testing.assert_allclose(result.labels[0][0], [0, 8 / 64, 44 / 48, 16 / 64, 8 / 48], rtol=1e-6)
    assert (result.clipped, result.rounded) == (1, 0)


def test_a_repeated_annotation_counts_once(scanned):
    result = scanned(lambda content: content["annotations"].append(annotation(content) | {"id": 1000}))

    assert (result.duplicates, len(result.labels[0])) == (1, 2)


def test_an_image_of_another_size_than_the_file_says_is_not_used(scanned):
    result = scanned(lambda content: content["images"][0].update(width=48, height=64), max_bad_images=0.5)

    assert stems(result) == list("bcd")
    assert str(result.problems[0]).endswith(
        "a.png: 64×48 pixels, but instances_all.json says 48×64: its boxes would be wrong"
    )


def test_sizes_need_not_be_given(scanned):
    def forget(content):
        for image in content["images"]:
            del image["width"], image["height"]

    assert [len(rows) for rows in scanned(forget).labels] == [2, 1, 0, 3]


def test_a_missing_image_is_unreadable(scanned):
    result = scanned(lambda content: content["images"][2].update(file_name="gone.png"), max_bad_images=0.5)

    assert result.unreadable == 1
    assert "gone.png: no such file" in str(result.problems[0])


def test_images_that_are_nowhere_are_one_sentence(scanned, tmp_path):
    def rename(content):
        for image in content["images"]:
            image["file_name"] = "x/" + image["file_name"]

    with pytest.raises(DataError, match=r"its images, such as x/a.png, are nowhere \(looked for in .*/all"):
        scanned(rename)


@pytest.mark.parametrize("name", ["../../secret/a.png", "/etc/a.png"])
def test_a_name_that_leads_out_of_the_data_set_is_refused(scanned, name):
    with pytest.raises(DataError, match="1 of 4 images lie outside the data set; the first is"):
        scanned(lambda content: content["images"][0].update(file_name=name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].append(c["images"][0] | {"file_name": "b.png"}), "image id 24 is both a.png and b.png"),
        (lambda c: c["images"].append(c["images"][0] | {"id": 1}), "image ids 24 and 1 are the same file a.png"),
        (lambda c: c["images"][0].pop("file_name"), "image id 24 has no file_name"),
        (lambda c: c["annotations"][0].pop("image_id"), "has image_id 'None', neither a whole number nor a text"),
        (lambda c: c["categories"].append({"id": 9, "name": "x"}), "category id 9 is both traffic light and x"),
        (lambda c: c.pop("annotations"), "has images, but no annotations, as files of test images have"),
        (lambda c: c.pop("images"), "no COCO annotations: images missing, it has annotations, categories"),
        (lambda c: c.update(images=[]), "lists no images"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_sentence(scanned, change, message):
    with pytest.raises(DataError, match=r"instances_all\.json: .*") as caught:
        scanned(change)
    assert message in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a list, as the results of a detector are, instead of COCO annotations"),
        ('{"shapes": [], "imagePath": "a.jpg"}', "a file of labelme, of one image"),
        ('{"images": [{"id": 1, "file_name": "a.jp', "ends in the middle, at character 12"),
        ('{"images": [', "ends in the middle, at character 12"),
        ('{"images": [], }', "not JSON after character"),
        ('{"images": [{"id": 1 "x": 2}], "annotations": []}', "not JSON after character 12: Expecting ',' delimiter"),
        ('{"images": [1]}', "images: '1' instead of an object"),
        ("", "not an object of JSON"),
        ("{}", "has nothing"),
        ('{"a": ' + "[" * 100_000, "not JSON after character"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 text"),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_coco_file_is_refused_in_one_sentence(tmp_path, text, message):
    file = tmp_path / "x.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(DataError) as caught:
        read_coco(file)
    assert message in caught.value.what


def test_a_file_is_read_the_same_whatever_the_pieces_that_it_comes_in(tmp_path, monkeypatch):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(coco_content(polygons=True) | {"info": {"year": 2017}, "n": 12345, "s": "[é"}, indent=1))
    whole_index, whole = read_coco(file)

    for size in (1, 2, 7, 64):
        monkeypatch.setattr("utils.data.scan.json_stream.CHUNK", size)
        index, labels = read_coco(file)

        assert (index.names, index.categories) == (whole_index.names, whole_index.categories)
        for key in ("ids", "image", "category", "boxes", "corners", "points"):
            np.testing.assert_array_equal(getattr(labels, key), getattr(whole, key))


def test_the_embedded_list_of_yaml_keys_still_wants_names_without_coco(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nval: images\n")

    with pytest.raises(ConfigError, match="key 'names' is missing"):
        load_data_spec(tmp_path / "data.yaml")


def test_folders_lists_and_coco_files_make_one_data_set(tmp_path):
    write_coco(tmp_path / "coco")
    write_yolo(tmp_path / "yolo")
    (tmp_path / "list.txt").write_text("yolo/images/a.png\nyolo/images/b.png\n")
    split = "[list.txt, coco/annotations/instances_all.json]"
    (tmp_path / "data.yaml").write_text(f"train: {split}\nval: {split}\nnames: [cat, traffic light, dog, bird]\n")
    spec = load_data_spec(tmp_path / "data.yaml")

    result = scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)

    assert stems(result) == ["a", "b", "c", "d", "a", "b"]
    assert [len(rows) for rows in result.labels] == [2, 1, 0, 3, 2, 1]


def test_an_image_in_two_sources_is_refused(tmp_path):
    write_coco(tmp_path)
    file = tmp_path / "annotations/instances_all.json"

    with pytest.raises(DataError, match=r"4 images in two of the sources of one split, the first is .*all/a.png"):
        scan_dataset([file, tmp_path / "all"], {0: "cat", 1: "dog"})
