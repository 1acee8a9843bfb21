"""Label rows that are used after a repair are listed, from every kind of labels, and out of the cache too."""

import pytest

from tests.annotation_case import OBJECTS, coco_content, voc_xml, write_coco, write_voc, write_yolo
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.training.session import _list_problems


def scan_of(yaml):
    spec = load_data_spec(yaml)
    return scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)


def yolo(root):
    yaml = write_yolo(root)
    with (root / "labels/c.txt").open("a") as file:
        file.write("0 0.5 0.5 0.2 1.0005\n1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    return yaml, [(root / "labels/c.txt", 1, "just outside 0–1"), (root / "labels/c.txt", 3, "repeats one")]


def coco(root):
    content = coco_content()
    box = content["annotations"][0]
    content["annotations"] += [box | {"id": 91}, box | {"id": 92, "bbox": [-5, 1, 20, 20]}]
    file = root / "annotations/instances_all.json"
    return write_coco(root, content), [(file, 0, "id 91: repeats"), (file, 0, "id 92: a box that reaches out")]


def voc(root):
    yaml, file = write_voc(root), root / "Annotations/a.xml"
    file.write_text(voc_xml("a", [*OBJECTS["a"], OBJECTS["a"][0], (1, 50, 5, 30, 9), (8, 50, 5, 30, 9)]))
    return yaml, [(file, 0, "object 3 (cat): repeats"), (file, 0, "object 4 (traffic light): a box that reaches out")]


@pytest.mark.parametrize("write", [yolo, coco, voc])
def test_repaired_rows_are_listed_with_their_place(tmp_path, write):
    yaml, expected = write(tmp_path)

    first, second = scan_of(yaml), scan_of(yaml)

    assert second.cached
    assert first.repairs == second.repairs
    assert len(first.repairs) == first.duplicates + first.rounded + first.clipped == 2
    for path, line, text in expected:
        assert any(r.path == str(path) and r.line == line and text in r.message for r in first.repairs), first.repairs


def test_a_run_lists_them_behind_what_was_left_out(tmp_path):
    yaml, _ = yolo(tmp_path / "set")
    with (tmp_path / "set/labels/c.txt").open("a") as file:
        file.write("0 0.5 0.5 0.2\n")

    _list_problems(tmp_path / "skipped.txt", [scan_of(yaml)])

    label_file = tmp_path / "set/labels/c.txt"
    lines = (tmp_path / "skipped.txt").read_text().splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"{label_file}:{number}" for number in (4, 1, 3)]


def test_a_run_on_good_data_has_no_such_file(tmp_path):
    _list_problems(tmp_path / "skipped.txt", [scan_of(write_yolo(tmp_path / "set"))])

    assert not (tmp_path / "skipped.txt").exists()
