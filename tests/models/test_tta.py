"""Test-time augmentation equals the reference's figures; boxes return to where the object is, for either head."""

import pytest
import torch
from golden_models import fill_sine, sine_image
from tiny_detector import TINY, tiny_model

from models.detector import DetectionModel
from models.swap import swap_head
from models.tta import BORDER, MEDIUM, SMALL, predict_augmented, shrink
from utils.errors import ConfigError
from utils.nms import non_max_suppression
from utils.predictions import B4CN, BN5C, Predictions


def test_the_sums_of_the_reference():
    model = DetectionModel("yolov5n").double().eval()
    fill_sine(model, 2.5)
    model = model.float().fuse()

    with torch.no_grad():
        found = predict_augmented(model, sine_image(3, 64, 96).float())

    assert tuple(found.output.shape) == (1, 828, 85)
    assert found.output.double().sum().item() == pytest.approx(184750.4, abs=0.05)
    assert found.output.double().square().sum().item() == pytest.approx(1.63004e7, abs=50)


@pytest.mark.parametrize(
    ("size", "multiple", "medium", "small"),
    [
        ((640, 640), 32, (544, 544), (448, 448)),
        ((640, 640), 64, (576, 576), (448, 448)),
        ((640, 448), 32, (544, 384), (448, 320)),
    ],
)
def test_the_sizes_of_the_reference(size, multiple, medium, small):
    images = torch.zeros(1, 3, *size)

    assert shrink(images, 1.0, multiple) is images
    assert tuple(shrink(images, MEDIUM, multiple).shape[2:]) == medium
    assert tuple(shrink(images, SMALL, multiple).shape[2:]) == small


def test_the_border_lies_right_and_below():
    seen = shrink(torch.ones(1, 1, 64, 96), SMALL, 32)[0, 0]  # 42.88×64.32 pixels become 42×64

    assert seen[:42, :64].eq(1).all()
    assert tuple(seen.shape) == (64, 96)
    assert seen[42:].eq(BORDER).all()
    assert seen[:, 64:].eq(BORDER).all()


class Finder:
    """A detector that answers in every cell with the box around the bright pixels and the number of the level."""

    fixed_size, size_multiple = None, 32

    def __init__(self, layout, strides):
        self.layout, self.stride, self.head = layout, torch.tensor(strides), self

    def predict(self, images):
        rows, columns = (images[0, 0] > 0.9).nonzero(as_tuple=True)
        low, high = torch.stack((columns.min(), rows.min())), torch.stack((columns.max() + 1, rows.max() + 1))
        box = torch.cat(((low + high) / 2, high - low))
        levels = [
            torch.cat((box, torch.tensor([level]))).repeat(images[0, 0, ::stride, ::stride].numel(), 1)
            for level, stride in enumerate(self.stride.tolist())
        ]
        output = torch.cat(levels)[None]
        return Predictions(output if self.layout is BN5C else output.mT.contiguous(), self.layout)


@pytest.mark.parametrize("layout", [BN5C, B4CN], ids=lambda layout: layout.name)
@pytest.mark.parametrize(
    ("strides", "counts"),
    [
        # 128×192, 128×160 and 96×160 pixels: all but the coarsest level, all, all but the finest
        ([8, 16, 32], {0: 16 * 24 + 16 * 20, 1: 8 * 12 + 8 * 10 + 6 * 10, 2: 4 * 5 + 3 * 5}),
        ([8, 32], {0: 16 * 24 + 16 * 20, 1: 4 * 5 + 3 * 5}),  # also where levels are not next to each other
        ([16], {0: 8 * 12 + 8 * 10 + 6 * 10}),  # a single level counts in every pass
    ],
)
def test_every_pass_finds_the_object_where_it_is(layout, strides, counts):
    images = torch.zeros(1, 3, 128, 192)
    images[..., 40:80, 20:120] = 1.0

    found = predict_augmented(Finder(layout, strides), images)

    assert found.layout is layout
    levels = found.output.select(layout.channel_axis, 4)[0].int()
    assert dict(enumerate(levels.bincount().tolist())) == counts
    centre, size = found.boxes[0].split(2, dim=1)
    assert (centre - torch.tensor([70.0, 60.0])).abs().max() < 1.5  # pixels of a smaller image are whole
    assert (size - torch.tensor([100.0, 40.0])).abs().max() < 3
    assert len(found.boxes[0].unique(dim=0)) == 3


@pytest.mark.parametrize("kind", ["anchor", "anchor-free"])
def test_either_head_answers_as_without_and_more(kind):
    torch.manual_seed(0)
    model = tiny_model() if kind == "anchor" else DetectionModel(swap_head(TINY, kind)).eval()
    images = torch.rand(2, 3, 64, 96)

    plain, found = model.predict(images), predict_augmented(model, images)

    boxes_per_cell = 2 if kind == "anchor" else 1
    fine = boxes_per_cell * 8 * 12  # of stride 8; the other has stride 16
    assert torch.equal(found.boxes[:, :fine], plain.boxes[:, :fine])
    # 64×96, 64×80 and 48×80 pixels
    assert found.boxes.shape[1] == fine + boxes_per_cell * (8 * 10 + 4 * 5 + 3 * 5)
    assert len(non_max_suppression(found, 0.001)) == 2


def test_a_model_of_a_single_size_is_refused(monkeypatch):
    monkeypatch.setattr(DetectionModel, "fixed_size", (64, 96))

    with pytest.raises(ConfigError, match="the model takes images of 96×64 pixels only"):
        predict_augmented(tiny_model(), torch.zeros(1, 3, 64, 96))
