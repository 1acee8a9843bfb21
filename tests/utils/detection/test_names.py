"""Ids and names that are made from file names: unique, and the same whatever the order and the batches."""

import pytest

from utils.detection.names import distinct_files, image_ids, injective_name, output_stems


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["/coco/000000000139.jpg", "/coco/000000581781.jpg"], [139, 581781]),
        (["/v/cam_a/0001.jpg", "/v/cam_b/0001.jpg"], ["cam_a/0001", "cam_b/0001"]),
        (["/v/a/1.jpg", "/v/b/1.jpg", "/v/b/2.jpg", "/v/b/x.jpg"], ["a/1", "b/1", 2, "x"]),
        (["/v/1.jpg", "/v/01.jpg", "/v/001.jpg", "/v/2.jpg"], ["1", "01", "001", 2]),
        (["/v/a.jpg", "/v/a.png", "/v/b.png"], ["a.jpg", "a.png", "b"]),
        (["/v/a.jpg", "/v/a.png", "/v/a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["/v/0001.jpg", "/v/sub/0001.jpg"], ["0001", "sub/0001"]),
        (["/v/1.jpg"], [1]),
        (["/x/v/1.jpg", "/y/w/1.jpg"], ["x/v/1", "y/w/1"]),
        (["a/1.jpg", "/b/1.jpg"], ["a/1", "/b/1"]),
        ([], []),
    ],
)
def test_every_image_has_an_id_of_its_own_and_a_number_stays_a_number_where_it_can(paths, ids):
    assert image_ids(paths) == dict(zip(paths, ids, strict=True))
    assert image_ids(paths[::-1]) == image_ids(paths)


def test_label_files_are_named_alike_in_every_order():
    paths = ["/v/a/1.jpg", "/v/b/1.jpg", "/v/a_1.jpg", "/v/A_1.png", "/v/c.jpg"]

    stems = output_stems(paths)

    assert stems == output_stems(paths[::-1])
    assert stems["/v/c.jpg"] == "c"
    assert len({stem.lower() for stem in stems.values()}) == len(paths)
    assert output_stems(paths[:2]) == {"/v/a/1.jpg": "a_1", "/v/b/1.jpg": "b_1"}


def test_files_of_one_name_are_called_by_their_folders():
    assert distinct_files(["/s/a/1.jpg", "/s/b/1.jpg", "/s/b/1.png"]) == {
        "/s/a/1.jpg": "a/1.jpg",
        "/s/b/1.jpg": "b/1.jpg",
        "/s/b/1.png": "1.png",
    }


def test_two_texts_never_have_one_folder():
    texts = ["timm/resnet18", "timm_resnet18", "a.py:f", "a.py_f", "x/" + "n" * 200 + "1", "x/" + "n" * 200 + "2"]

    names = [injective_name(text) for text in texts]

    assert len(set(names)) == len(texts)
    assert names[1] == "timm_resnet18"
    assert names[0].startswith("timm_resnet18-")
