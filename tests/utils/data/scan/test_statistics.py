"""The line about a data set that stands in the log before training."""

from dataclasses import replace

import numpy as np

from tests.annotation_case import write_yolo
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.data.scan.statistics import statistics_line


def scan_of(root):
    spec = load_data_spec(write_yolo(root))
    return scan_dataset(spec.train, spec.names)


def test_the_line_counts_images_boxes_and_classes(tmp_path):
    scan = scan_of(tmp_path)

    line = statistics_line(scan, {0: "cat", 1: "traffic light", 2: "dog", 3: "fox"}, (64, 64))

    # widths at 64 px: a 48×64 is as it is, b 64×40 too, d 33×97 is shrunk by 64 / 97; of 20.1 33 17.3 36.6 13.2 5.08
    # the median is between 17.3 and 20.1, of the heights 11.7 30.3 40.9 13.3 19.8 5.08 between 13.3 and 19.8
    assert line == "4 images, 6 boxes (1.5 per image); 4 classes, fox 0 to cat 2; median box 19×17 px at 64"


def test_one_class_and_a_shape_that_is_no_square(tmp_path):
    scan = scan_of(tmp_path)
    scan = replace(scan, labels=[rows[:1] * [0, 1, 1, 1, 1] for rows in scan.labels[:1]], shapes=scan.shapes[:1])
    scan = replace(scan, image_paths=scan.image_paths[:1])

    assert statistics_line(scan, {0: "item"}, (96, 256)).endswith("1 class; median box 40×23 px at 256×96")


def test_a_line_about_coco_with_long_names_fits_a_terminal(tmp_path):
    images, boxes = 118287, 860001
    scan = scan_of(tmp_path)
    rows = np.ones((boxes // images + 1, 5), np.float32)
    big = replace(scan, image_paths=["x"] * images, labels=[rows] * images, shapes=np.full((images, 2), 640, np.int32))

    line = statistics_line(big, dict.fromkeys(range(80), "a class with a name far too long"), (1280, 640))

    assert len("train: " + line) <= 120
