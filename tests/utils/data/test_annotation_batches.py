"""A data set as YOLO label files, as a COCO file and as Pascal VOC's files gives the same batches, to the last bit."""

import numpy as np
import pytest
import torch

from tests.annotation_case import write_coco, write_voc, write_yolo
from utils.data.loader import build_train_loader, build_val_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec

AUGMENT = AugmentConfig(
    hsv_h=0.015, hsv_s=0.7, hsv_v=0.4, degrees=10, translate=0.1, scale=0.5, fliplr=0.5, mosaic=0.8, copy_paste=0.5
)


def scan_of(yaml):
    spec = load_data_spec(yaml)
    return scan_dataset(spec.train, spec.names, root=spec.root, fence=spec.fence)


def assert_same_batches(one, other, workers):
    for build in (
        lambda scan: build_train_loader(scan, 64, 2, AUGMENT, seed=3, workers=workers),
        lambda scan: build_val_loader(scan, 64, 2, workers=workers),
    ):
        batches = [list(build(scan)) for scan in (one, other)]
        assert len(batches[0]) == len(batches[1]) == 2
        for first, second in zip(*batches, strict=True):
            assert len(first.targets)
            assert torch.equal(first.images, second.images)
            assert torch.equal(first.targets, second.targets)


def assert_same_labels(one, other):
    for first, second in zip(one.labels, other.labels, strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(one.segments, other.segments, strict=True):
        assert [polygon.tolist() for polygon in first] == [polygon.tolist() for polygon in second]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("polygons", [False, True], ids=["boxes", "polygons"])
def test_a_coco_file_gives_the_batches_of_label_files(tmp_path, polygons, workers):
    yolo = scan_of(write_yolo(tmp_path / "yolo", polygons=polygons))
    coco = scan_of(write_coco(tmp_path / "coco", polygons=polygons))

    assert any(len(polygon) for image in coco.segments for polygon in image) is polygons
    assert_same_labels(yolo, coco)
    assert_same_batches(yolo, coco, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_of_pascal_voc_give_the_batches_of_label_files(tmp_path, workers):
    yolo = scan_of(write_yolo(tmp_path / "yolo", voc=True))
    voc = scan_of(write_voc(tmp_path / "voc"))

    assert_same_labels(yolo, voc)
    assert_same_batches(yolo, voc, workers)
