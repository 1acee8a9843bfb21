"""COCO's figures are what pycocotools says of the files that anybody would give it; what val.py says of them is so."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from utils.configs.val import ValConfig
from utils.evaluation.coco import CocoTruth, score
from utils.evaluation.evaluate import ImageResult
from utils.evaluation.inputs import build_nms
from utils.evaluation.observers import CocoJson, LabelFiles
from utils.metrics.coco_ap import FIGURES
from utils.metrics.matching import DetectionMetrics, iou_levels, match_detections
from utils.predictions import BN5C

NC = 4


def random_result(rng, path, labels, false, crowds):
    """An image of 1000×1000 pixels with labels of classes 0–2, found well or badly, and false alarms of 0–3."""
    corner, size = (
        rng.uniform(0, 800, (labels, 2)),
        rng.choice([12, 20, 50, 150], (labels, 1)) * rng.uniform(0.8, 1.25, (labels, 2)),
    )
    truth = np.c_[rng.integers(0, 3, labels), corner, corner + size]
    hits = np.repeat(truth[rng.random(labels) < 0.8], 2, axis=0)
    noise = rng.normal(0, 0.1, (len(hits), 4)) * np.tile(hits[:, 3:] - hits[:, 1:3], 2)
    hits = np.c_[hits[:, 1:] + noise, rng.random(len(hits)), hits[:, 0]]
    corner, size = rng.uniform(0, 800, (false, 2)), rng.uniform(10, 200, (false, 2))
    wrong = np.c_[corner, corner + size, rng.random(false), rng.integers(0, NC, false)]
    found = np.concatenate((hits, wrong))
    corner = rng.uniform(0, 600, (crowds, 2))
    regions = np.c_[rng.integers(0, 3, crowds), corner, corner + rng.uniform(100, 400, (crowds, 2))]
    columns = (found[np.argsort(-found[:, 4])], truth, regions)
    return ImageResult(path, (1000, 1000), *(torch.from_numpy(column).float() for column in columns))


def generated(kind):
    """Three sets: ordinary ones, one with crowds and empty images, one with more than 100 detections an image."""
    rng = np.random.default_rng(len(kind))
    sizes = {"ordinary": (8, 6, 0), "crowds": (5, 20, 2), "many": (40, 400, 0)}[kind]
    results = [random_result(rng, f"/v/{number}.jpg", *sizes) for number in (7, 30, 4, 111, 12, 5)]
    if kind == "crowds":
        results += [random_result(rng, f"/v/{number}.jpg", *size) for number, size in ((2, (0, 0, 0)), (9, (0, 9, 0)))]
        results += [random_result(rng, "/v/1.jpg", 6, 0, 0)]
    return results


def write_files(results, folder):
    """Write what a user would: annotations from the labels, and the detections by --save-json."""
    images, annotations = [], []
    for result in results:
        number = int(result.path.split("/")[-1].removesuffix(".jpg"))
        images.append({"id": number, "width": 1000, "height": 1000})
        for is_crowd, rows in enumerate((result.labels, result.ignored)):
            for class_id, x1, y1, x2, y2 in rows.tolist():
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": is_crowd}
                annotations.append(box | {"id": len(annotations) + 1, "image_id": number, "category_id": int(class_id)})
    categories = [{"id": c, "name": str(c)} for c in range(NC)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    writer = CocoJson(folder / "rows.json")
    writer.batch(0, None, [], results)
    writer.finish(None)


def by_pycocotools(folder, category=None):
    """The twelve figures of pycocotools on these files, of one category alone if that is given; -1 becomes nan."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "rows.json")), "bbox")
        if category is not None:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [np.nan if value == -1 else value for value in evaluation.stats]


@pytest.mark.parametrize("kind", ["ordinary", "crowds", "many"])
def test_the_figures_are_those_of_pycocotools(tmp_path, kind):
    results = generated(kind)
    write_files(results, tmp_path)

    found = score(results, NC)

    assert list(found.all) == list(FIGURES)
    np.testing.assert_allclose(list(found.all.values()), by_pycocotools(tmp_path), atol=1e-6)
    assert 0.1 < found.all["AP50"] < 1
    assert found.all["APs"] != found.all["APl"]
    for class_id in range(NC):
        figures = list(found.classes[class_id].values())
        np.testing.assert_allclose(figures, by_pycocotools(tmp_path, class_id), atol=1e-6)


def test_with_a_file_its_areas_count_and_only_the_images_that_were_looked_at(tmp_path):
    results = generated("crowds")
    write_files(results, tmp_path)
    content = json.loads((tmp_path / "truth.json").read_text())
    for row in content["annotations"]:
        row["area"] /= 3  # as of a polygon
    (tmp_path / "truth.json").write_text(json.dumps(content))
    expected = by_pycocotools(tmp_path)
    content["images"].append({"id": 1000})
    content["annotations"].append({**content["annotations"][0], "id": 9999, "image_id": 1000})
    (tmp_path / "more.json").write_text(json.dumps(content))

    found = score(results, NC, CocoTruth(tmp_path / "more.json", range(NC)))

    np.testing.assert_allclose(list(found.all.values()), expected, atol=1e-6)
    assert found.all["APm"] != score(results, NC).all["APm"]


def result(detections, labels):
    return ImageResult("/a/1", (100, 100), torch.tensor(detections).reshape(-1, 6), torch.tensor(labels).reshape(-1, 5))


def test_what_nothing_is_labelled_for_has_no_figure():
    box, label = [[10.0, 10, 40, 40, 0.9, 0]], [[0.0, 10, 10, 40, 40]]

    assert score([result([], label)], 1).all["AP"] == 0
    assert np.isnan(score([result(box, [])], 1).all["AP"])
    assert np.isnan(score([], 1).all["AP"])
    found = score([result(box, label)], 1)
    assert [found.all[name] for name in ("AP", "APs", "AR1")] == pytest.approx([1, 1, 1])
    assert np.isnan(found.all["APl"])


def test_an_object_of_32_by_32_pixels_is_small_and_medium_whatever_float32_makes_of_it():
    corner = 0.1
    label = [[0.0, corner, corner, corner + 32.00001, corner + 32.00001]]

    found = score([result([], label)], 1).all

    assert (found["APs"], found["APm"]) == (0, 0)


def test_one_object_of_ten_found_is_a_tenth_by_cocos_rule_and_half_by_the_straight_line():
    """11 of COCO's 101 points of recall lie at 0.1 or less; the line from (0.1, 1) to (1, 0) encloses 0.45."""
    label = [[0.0, 10, 10, 40, 40]]
    results = [result([[10.0, 10, 40, 40, 0.9, 0]] if i == 0 else [], label) for i in range(10)]
    results = [ImageResult(f"/a/{i}", *list(vars(each).values())[1:]) for i, each in enumerate(results)]
    metrics = DetectionMetrics()
    for each in results:
        correct = match_detections(each.detections, each.labels, iou_levels())
        metrics.update(correct, each.detections[:, 4], each.detections[:, 5], each.labels[:, 0])

    assert score(results, 1).all["AP"] == pytest.approx(11 / 101)
    assert metrics.compute().map == pytest.approx(0.55, abs=1e-3)


@pytest.mark.parametrize(
    ("cfg", "option"),
    [
        (ValConfig(conf_thres=0.3), "--conf-thres 0.3"),
        (ValConfig(max_det=10), "--max-det 10"),
        (ValConfig(), ""),
        (ValConfig(conf_thres=0.0, max_det=1000), ""),
    ],
)
def test_what_cuts_the_curves_off_is_named(caplog, cfg, option):
    build_nms(cfg, BN5C)

    assert bool(caplog.text) == bool(option)
    assert option in caplog.text
    assert "too low" not in caplog.text


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
