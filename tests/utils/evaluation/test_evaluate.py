"""The figures of an evaluation, on images whose detections are laid down by hand."""

import json
from functools import partial

import pytest
import torch

from utils.data.batch import Batch
from utils.evaluation.coco import COCO_IDS, CocoTruth, score
from utils.evaluation.evaluate import HEADER, ImageResult, evaluate
from utils.evaluation.observers import BatchPictures, CocoJson, LabelFiles, MetricCharts, Results
from utils.nms import non_max_suppression
from utils.predictions import BN5C, Predictions

CPU = torch.device("cpu")
NAMES = {0: "cat", 1: "dog"}
SIDE = 64  # pixels of the letterboxed images; the originals are 32 high and 64 wide, so 16 px of border above


def batch_of(*labels, paths=None):
    """A batch with, for each image, its rows [class, x1, y1, x2, y2] in pixels of the original."""
    rows = []
    for index, boxes in enumerate(labels):
        for c, x1, y1, x2, y2 in boxes:
            rows.append([index, c, (x1 + x2) / 2, (y1 + y2) / 2 + 16, x2 - x1, y2 - y1])
    targets = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    targets[:, 2:] /= SIDE
    images = torch.zeros(len(labels), 3, SIDE, SIDE, dtype=torch.uint8)
    paths = paths or [f"/data/images/{index}.jpg" for index in range(len(labels))]
    return Batch(images, targets, paths, [((32, 64), (1.0, 1.0), (0.0, 16.0))] * len(labels))


class Oracle:
    """A model that answers with detections laid down for each batch: rows [x1, y1, x2, y2, confidence, class]."""

    def __init__(self, *answers, nc=2):
        self.answers, self.nc = list(answers), nc

    def __call__(self, images):
        assert images.dtype == torch.float32
        answer = self.answers.pop(0)
        predictions = torch.zeros(len(images), max([1, *map(len, answer)]), 5 + self.nc)
        for image, rows in enumerate(answer):
            for row, (x1, y1, x2, y2, confidence, c) in enumerate(rows):
                box = [(x1 + x2) / 2, (y1 + y2) / 2 + 16, x2 - x1, y2 - y1]
                predictions[image, row, :5] = torch.tensor([*box, confidence])
                predictions[image, row, 5 + c] = 1.0
        return Predictions(predictions, BN5C)


CAT = (0, 10, 4, 30, 28)
DOG = (1, 36, 8, 60, 24)
FOUND_CAT = (10, 4, 30, 28, 0.9, 0)
FOUND_DOG = (36, 8, 60, 24, 0.8, 1)

run = partial(evaluate, names=NAMES, device=CPU)


def test_everything_found_scores_one():
    evaluation = run(Oracle([[FOUND_CAT, FOUND_DOG], [FOUND_DOG]]), [batch_of([CAT, DOG], [DOG])])

    assert evaluation.figures() == pytest.approx((1, 1, 0.995, 0.995), abs=1e-6)  # 101 points, 0 beyond the last label
    assert evaluation.images == 2
    assert evaluation.metrics.labels_per_class.tolist() == [1, 2]
    assert evaluation.fitness == pytest.approx(0.995, abs=1e-6)


def test_a_box_half_as_wide_counts_at_the_first_iou_level_only():
    half = (10, 4, 20.2, 28, 0.9, 0)  # IoU 0.51

    evaluation = run(Oracle([[half]]), [batch_of([CAT])])

    assert evaluation.metrics.map50 == pytest.approx(0.995, abs=1e-6)
    assert evaluation.metrics.map == pytest.approx(0.0995, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "found", "instances", "mean_ap"),
    [
        ([[]], [[]], 0, 0.0),
        ([[]], [[FOUND_CAT]], 0, 0.0),
        ([[CAT]], [[]], 1, 0.0),
        ([[CAT], []], [[FOUND_CAT], []], 1, 0.995),
        ([[DOG]], [[(36, 8, 60, 24, 0.9, 0)]], 1, 0.0),
    ],
    ids=["nothing at all", "no labels", "no detections", "a background image", "the wrong class"],
)
def test_images_without_labels_or_detections_count_as_they_should(labels, found, instances, mean_ap):
    evaluation = run(Oracle(found), [batch_of(*labels)])

    assert evaluation.metrics.map50 == pytest.approx(mean_ap, abs=1e-6)
    assert evaluation.metrics.labels_per_class.sum() == instances
    assert evaluation.row().split()[:3] == ["all", str(len(labels)), str(instances)]


def test_no_batch_at_all_gives_zeros():
    evaluation = run(Oracle(), [])

    assert evaluation.figures() == (0, 0, 0, 0)
    assert (evaluation.images, evaluation.speed.total) == (0, 0)


def test_batches_of_any_size_give_the_same():
    whole = run(Oracle([[FOUND_CAT], [FOUND_DOG], []]), [batch_of([CAT], [DOG], [DOG])])
    single = run(Oracle([[FOUND_CAT]], [[FOUND_DOG]], [[]]), [batch_of([CAT]), batch_of([DOG]), batch_of([DOG])])

    assert whole.figures() == single.figures()
    assert whole.metrics.r.tolist() == [1, 0.5]


def test_one_class_ignores_which_class_it_was(tmp_path):
    mistaken, repeated = (36, 8, 60, 24, 0.9, 0), (36, 8, 60, 24, 0.7, 1)
    names = {0: "item"}
    pictures = [BatchPictures(tmp_path, names), MetricCharts(tmp_path, names)]
    batch = batch_of([CAT, DOG])

    evaluation = run(
        Oracle([[FOUND_CAT, mistaken, repeated]]), [batch], names=names, single_cls=True, observers=pictures
    )

    assert pictures[1].confusion.matrix.tolist() == [[2, 0], [0, 0]], "the repeated box is suppressed"
    assert batch.targets[:, 1].tolist() == [0, 1], "the batch given stays as it is"
    assert evaluation.metrics.class_ids.tolist() == [0]
    assert evaluation.metrics.map50 == pytest.approx(0.995, abs=1e-6)


def test_a_detector_of_one_class_is_measured():
    evaluation = run(Oracle([[FOUND_CAT]], nc=1), [batch_of([CAT])], names={0: "cat"})

    assert evaluation.metrics.map50 == pytest.approx(0.995, abs=1e-6)


def test_the_table_has_the_columns_that_users_know():
    evaluation = run(Oracle([[FOUND_CAT], []]), [batch_of([CAT], [DOG])])

    header, first, second = HEADER, *evaluation.class_rows().splitlines()
    assert header.split() == ["Class", "Images", "Instances", "P", "R", "mAP50", "mAP50-95"]
    assert {len(header), len(first), len(second)} == {76}, "they fit into 80 columns"
    assert first.split() == ["cat", "2", "1", "1", "1", "0.995", "0.995"]
    assert second.split()[:3] == ["dog", "2", "1"]


def test_losses_are_means_over_the_batches_and_see_normalised_targets():
    seen = []

    class TwoTerms:
        terms = ("near", "far")

        def __call__(self, maps, targets):
            seen.append((maps, targets))
            return torch.tensor(0.0), torch.tensor([1.0, 2.0]) * len(seen)

    oracle = Oracle([[FOUND_CAT]], [[]])
    evaluation = run(
        lambda images: (oracle(images), [torch.ones(1)]),
        [batch_of([CAT]), batch_of([DOG])],
        loss=TwoTerms(),
    )

    assert evaluation.losses == [1.5, 3.0]
    maps, targets = seen[0]
    assert maps[0].tolist() == [1]
    assert targets[0].tolist() == pytest.approx([0, 0, 20 / 64, 32 / 64, 20 / 64, 24 / 64])


def test_thresholds_can_be_chosen():
    nms = partial(non_max_suppression, conf_thres=0.85, multi_label=True)

    evaluation = run(Oracle([[FOUND_CAT, FOUND_DOG]]), [batch_of([CAT, DOG])], nms=nms)

    assert evaluation.metrics.ap50.tolist() == pytest.approx([0.995, 0.0], abs=1e-6)


class Recorder:
    def __init__(self):
        self.results, self.finished = [], []

    def batch(self, index, batch, detections, results):
        assert len(batch.paths) == len(detections) == len(results)
        self.results += [(index, result) for result in results]

    def finish(self, metrics):
        self.finished.append(metrics)


def test_observers_see_original_pixels_of_every_image_and_the_result():
    recorder = Recorder()

    evaluation = run(Oracle([[FOUND_CAT]], [[]]), [batch_of([CAT]), batch_of([DOG])], observers=[recorder])

    (_, first), (index, second) = recorder.results
    assert isinstance(first, ImageResult)
    assert first.shape == (32, 64)
    assert first.detections[0].tolist() == pytest.approx([10, 4, 30, 28, 0.9, 0])
    assert first.labels[0].tolist() == pytest.approx([0, 10, 4, 30, 28])
    assert (index, second.detections.shape, second.labels[0, 0]) == (1, (0, 6), 1)
    assert recorder.finished == [evaluation.metrics]


def test_label_files_hold_normalised_boxes_and_images_of_one_stem_have_their_own(tmp_path):
    batch = batch_of([CAT], [CAT], [], paths=["/a/x.jpg", "/b/x.png", "/a/y.jpg"])

    run(Oracle([[FOUND_CAT], [FOUND_DOG], []]), [batch], observers=[LabelFiles(tmp_path / "labels", confidence=True)])

    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["a_x.txt", "b_x.txt"]
    assert (tmp_path / "labels" / "a_x.txt").read_text() == "0 0.3125 0.5 0.3125 0.75 0.9\n"


def test_coco_json_holds_corner_size_and_score(tmp_path):
    batch = batch_of([CAT], [DOG], paths=["/a/000000000139.jpg", "/a/dog_7.jpg"])

    run(Oracle([[FOUND_CAT], [FOUND_DOG]]), [batch], observers=[CocoJson(tmp_path / "p.json")])

    assert json.loads((tmp_path / "p.json").read_text()) == [
        {"image_id": 139, "category_id": 0, "bbox": [10.0, 4.0, 20.0, 24.0], "score": 0.9},
        {"image_id": "dog_7", "category_id": 1, "bbox": [36.0, 8.0, 24.0, 16.0], "score": 0.8},
    ]


def test_on_coco_the_ids_and_the_figures_are_those_of_its_file(tmp_path):
    truth = {
        "images": [{"id": 139}],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [
            {"id": 1, "image_id": 139, "category_id": 1, "bbox": [10, 4, 20, 24], "area": 480, "iscrowd": 0},
            {"id": 2, "image_id": 139, "category_id": 2, "bbox": [36, 8, 24, 16], "area": 384, "iscrowd": 0},
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    batch = batch_of([CAT, DOG], paths=["/coco/000000000139.jpg"])

    truth = CocoTruth(tmp_path / "annotations/instances_val2017.json", COCO_IDS)
    results = Results()
    run(Oracle([[FOUND_CAT]]), [batch], observers=[CocoJson(tmp_path / "p.json", truth), results])

    assert json.loads((tmp_path / "p.json").read_text())[0]["category_id"] == 1
    found = score(results.images, 2, truth)
    assert found.all["AP"] == pytest.approx(0.5)
    assert [found.classes[class_id]["AP"] for class_id in (0, 1)] == pytest.approx([1, 0])


def test_pictures_and_charts_are_drawn(tmp_path):
    batches = [batch_of([CAT], [DOG])] * 4
    answers = [[[FOUND_CAT], [FOUND_DOG]]] * 4
    charts = MetricCharts(tmp_path, NAMES)

    run(Oracle(*answers), batches, observers=[BatchPictures(tmp_path, NAMES), charts])

    pictures = [f"val_batch{i}_{what}.jpg" for i in range(3) for what in ("labels", "pred")]
    plots = [f"{name}_curve.png" for name in ("F1", "P", "PR", "R")] + ["confusion_matrix.csv", "confusion_matrix.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*pictures, *plots])
    assert charts.confusion.matrix.tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 0]]


def test_the_model_keeps_its_mode_and_precision():
    model = torch.nn.Conv2d(3, 7, 1)

    def predict(images):
        return Predictions(model(images).flatten(2).transpose(1, 2).sigmoid(), BN5C)

    run(predict, [batch_of([CAT])])

    assert model.training
    assert model.weight.dtype == torch.float32
    assert model.weight.requires_grad
