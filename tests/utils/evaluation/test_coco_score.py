"""AP by COCO's rule is what pycocotools says of the same detections; what val.py says of a threshold is so."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from utils.configs.val import ValConfig
from utils.evaluation.coco import coco_score
from utils.evaluation.evaluate import ImageResult
from utils.evaluation.inputs import build_nms, build_observers
from utils.evaluation.observers import CocoFigures, CocoJson, LabelFiles
from utils.metrics.matching import DetectionMetrics, iou_levels, match_detections
from utils.predictions import BN5C


def by_pycocotools(results, folder):
    """The summary of pycocotools on files, as anybody would make it: mAP@0.5 and mAP@0.5:0.95."""
    images, annotations, rows = [], [], []
    for number, result in enumerate(results, 1):
        images.append({"id": number, "width": 1000, "height": 1000})
        for class_id, x1, y1, x2, y2 in result.labels.tolist():
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append(box | {"id": len(annotations) + 1, "image_id": number, "category_id": int(class_id)})
        for x1, y1, x2, y2, confidence, class_id in result.detections.tolist():
            row = {"image_id": number, "category_id": int(class_id), "score": confidence}
            rows.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    truth = {"images": images, "annotations": annotations, "categories": [{"id": c} for c in range(4)]}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "rows.json").write_text(json.dumps(rows))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "rows.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1], evaluation.stats[0]


def random_results(seed, images=12, found=0.7):
    """Labels of classes 0–2, of which some are found, some badly, among false alarms of classes 0–3."""
    rng = np.random.default_rng(seed)
    results = []
    for index in range(images):
        corner, size = rng.uniform(0, 800, (8, 2)), rng.uniform(20, 200, (8, 2))
        labels = np.c_[rng.integers(0, 3, 8), corner, corner + size]
        hits = labels[rng.random(8) < found]
        hits = np.c_[hits[:, 1:] + rng.normal(0, 8, (len(hits), 4)), rng.random(len(hits)), hits[:, 0]]
        corner = rng.uniform(0, 800, (5, 2))
        alarms = np.c_[corner, corner + 90, rng.random(5), rng.integers(0, 4, 5)]
        detections = np.concatenate([hits, alarms])
        detections = detections[np.argsort(-detections[:, 4])]
        results.append(ImageResult(f"{index}.jpg", (1000, 1000), torch.tensor(detections), torch.tensor(labels)))
    return results


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_pycocotools(tmp_path, seed):
    results = random_results(seed)

    assert coco_score(results) == pytest.approx(by_pycocotools(results, tmp_path), abs=1e-4)  # confidences are rounded


def result(detections, labels):
    return ImageResult("a", (100, 100), torch.tensor(detections).reshape(-1, 6), torch.tensor(labels).reshape(-1, 5))


def test_nothing_found_and_nothing_labelled_are_zero():
    box, label = [[10.0, 10, 40, 40, 0.9, 0]], [[0.0, 10, 10, 40, 40]]

    assert coco_score([result([], label)]) == (0, 0)
    assert coco_score([result(box, [])]) == (0, 0)
    assert coco_score([]) == (0, 0)
    assert coco_score([result(box, label)]) == pytest.approx((1, 1))


def test_one_object_of_ten_found_is_a_tenth_by_cocos_rule_and_half_by_the_straight_line(caplog):
    """11 of COCO's 101 points of recall lie at 0.1 or less; the line from (0.1, 1) to (1, 0) encloses 0.45."""
    caplog.set_level("INFO")
    label = [[0.0, 10, 10, 40, 40]]
    results = [result([[10.0, 10, 40, 40, 0.9, 0]] if i == 0 else [], label) for i in range(10)]
    metrics, figures = DetectionMetrics(), CocoFigures()
    for each in results:
        correct = match_detections(each.detections, each.labels, iou_levels())
        metrics.update(correct, each.detections[:, 4], each.detections[:, 5], each.labels[:, 0])

    figures.batch(0, None, [], results)
    figures.finish(metrics.compute())

    assert coco_score(results) == pytest.approx((11 / 101, 11 / 101))
    assert "by COCO's rule: mAP50 0.109, mAP50-95 0.109 (by ours: 0.55, 0.55)" in caplog.text


@pytest.mark.parametrize(
    ("cfg", "option"),
    [
        (ValConfig(conf_thres=0.3), "--conf-thres 0.3"),
        (ValConfig(max_det=10), "--max-det 10"),
        (ValConfig(), ""),
        (ValConfig(conf_thres=0.0, max_det=1000), ""),
    ],
)
def test_what_cuts_the_curves_off_is_named_and_cocos_figures_are_given(tmp_path, caplog, cfg, option):
    build_nms(cfg, BN5C)
    observers = build_observers(cfg, tmp_path, {0: "cat"}, None)

    assert bool(caplog.text) == bool(option)
    assert option in caplog.text
    assert "too low" not in caplog.text
    assert any(isinstance(observer, CocoFigures) for observer in observers) == bool(option)


def test_json_and_label_files_depend_neither_on_the_order_nor_on_the_batches(tmp_path):
    shape, box = (100, 100), torch.tensor([[10.0, 10, 40, 40, 0.9, 0]])
    results = [ImageResult(f"/v/{path}.jpg", shape, box, box[:, :5]) for path in ("a/1", "b/1", "c/7", "c/x")]
    written = []
    for number, batches in enumerate(([results], [[each] for each in reversed(results)])):
        folder = tmp_path / str(number)
        observers = LabelFiles(folder / "labels"), CocoJson(folder / "p.json")
        for observer in observers:
            for index, batch in enumerate(batches):
                observer.batch(index, None, [], batch)
            observer.finish(None)
        written.append({path.name: path.read_text() for path in folder.rglob("*.*")})

    assert written[0] == written[1]
    assert set(written[0]) == {"a_1.txt", "b_1.txt", "7.txt", "x.txt", "p.json"}
    assert [row["image_id"] for row in json.loads(written[0]["p.json"])] == ["a/1", "b/1", 7, "x"]
