"""An evaluation on a COCO file: its regions, its ids and its own scores."""

import json

import numpy as np
import pytest
import torch

from tests.annotation_case import OBJECTS, coco_content, write_coco
from utils.boxes import xyxy_to_cxcywh
from utils.data.loader import build_val_loader
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.evaluation.coco import coco_truth, score
from utils.evaluation.evaluate import evaluate
from utils.evaluation.observers import CocoJson
from utils.predictions import BN5C, Predictions


class Results:
    def __init__(self):
        self.results = []

    def batch(self, index, batch, detections, results):
        self.results += results

    def finish(self, metrics):
        pass


class Crowd:
    """A model that finds one cat in each image, in its upper left, and the labels of the batch."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def __call__(self, images):
        batch, size = next(self.batches), images.shape[-1]
        rows = torch.zeros(len(images), 8, 8)
        for image, (_, ratio, pad) in enumerate(batch.shapes):
            own = batch.targets[batch.targets[:, 0] == image]
            for row, target in enumerate(own):
                rows[image, row, :4] = target[2:] * size
                rows[image, row, 4], rows[image, row, 5 + int(target[1])] = 0.5, 1
            x, y = torch.tensor([5.0, 19.0]) * ratio[0] + pad[0], torch.tensor([6.0, 15.0]) * ratio[1] + pad[1]
            rows[image, 7, :4] = xyxy_to_cxcywh(torch.tensor([[x[0], y[0], x[1], y[1]]]))
            rows[image, 7, 4:6] = torch.tensor([0.9, 1.0])
        return Predictions(rows, BN5C)


@pytest.fixture
def measured(tmp_path, caplog):
    """Return the evaluation, the image's result, the JSON and the COCO file of an image whose cat is changed."""

    def measure(**change):
        caplog.set_level("INFO")
        content = coco_content()
        content["images"] = content["images"][:1]
        content["annotations"] = [
            row for row in content["annotations"] if row["image_id"] == content["images"][0]["id"]
        ]
        for row in content["annotations"]:
            row["area"] = row["bbox"][2] * row["bbox"][3]
        content["annotations"][0].update(change)
        spec = load_data_spec(write_coco(tmp_path, content))
        loader = build_val_loader(scan_dataset(spec.val, spec.names, root=spec.root), 64, 2, workers=0, rect=False)
        results = Results()
        truth = coco_truth(spec.val, spec)
        found = evaluate(
            Crowd(list(loader)),
            loader,
            names=spec.names,
            device=torch.device("cpu"),
            observers=[results, CocoJson(tmp_path / "p.json", truth)],
        )
        return found, results.results[0], json.loads((tmp_path / "p.json").read_text()), truth

    return measure


def test_a_detection_in_a_crowd_counts_neither_way(measured):
    found, result, rows, truth = measured(iscrowd=1)

    c, x, y, w, h = OBJECTS["a"][0]
    np.testing.assert_allclose(result.ignored, [[c, x, y, x + w, y + h]], rtol=1e-4)
    assert result.labels[:, 0].tolist() == [2]
    assert found.metrics.map50 == pytest.approx(0.995, abs=1e-3)
    assert {row["category_id"] for row in rows} == {4, 2}
    assert {row["image_id"] for row in rows} == {24}
    assert score([result], 3, truth).all["AP50"] == pytest.approx(1)


def test_a_split_whose_classes_are_not_its_categories_has_no_scores_of_its_own(tmp_path, caplog):
    caplog.set_level("INFO")
    spec = load_data_spec(write_coco(tmp_path, coco_content() | {"categories": [{"id": 2, "name": "dog"}]}))

    assert coco_truth(spec.val, spec) is None
    assert "not every class is one category" in caplog.text
