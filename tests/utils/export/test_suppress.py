"""Suppression inside an ONNX graph leaves what ``utils.nms`` leaves, image by image, in any batch."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from utils.export.compare import RejectedError
from utils.export.suppress import Suppression, with_suppression
from utils.nms import non_max_suppression
from utils.predictions import B4CN, BN5C, Predictions

NC = 3


def session_of(layout, nms, opset=17, boxes="n"):
    """Return a session over suppression alone: what goes in are predictions."""
    sizes = layout.shape("b", boxes, layout.channels(NC))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("images", "output0")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output0"])], "raw", ends[:1], ends[1:])
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    whole = with_suppression(raw, layout, nms)
    assert {entry.domain for entry in whole.opset_import} == {""}
    return onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])


def random_predictions(layout, images, boxes, seed=0):
    """Return boxes in a few heaps, so that many overlap."""
    rng = torch.Generator().manual_seed(seed)
    heaps = torch.randint(0, 5, (images, boxes, 1), generator=rng) * 60.0
    boxes_ = torch.cat(
        (
            heaps + 30 + 20 * torch.rand(images, boxes, 2, generator=rng),
            20 + 30 * torch.rand(images, boxes, 2, generator=rng),
        ),
        dim=2,
    )
    rows = torch.cat((boxes_, torch.rand(images, boxes, layout.channels(NC) - 4, generator=rng)), dim=2)
    return rows if layout is BN5C else rows.mT.contiguous()


@pytest.mark.parametrize("layout", [BN5C, B4CN], ids=lambda layout: layout.name)
@pytest.mark.parametrize(
    ("nms", "opset"),
    [
        (Suppression(0.25, 0.45), 17),
        (Suppression(0.3, 0.6, agnostic=True), 17),
        (Suppression(0.01, 0.7, max_det=7), 18),
        (Suppression(0.999, 0.5), 13),
    ],
)
def test_a_graph_leaves_what_suppression_outside_leaves(layout, nms, opset):
    session = session_of(layout, nms, opset)
    for images, boxes in ((1, 5), (3, 200), (2, 500)):
        raw = random_predictions(layout, images, boxes)
        options = {"agnostic": nms.agnostic, "max_det": nms.max_det}
        expected = non_max_suppression(Predictions(raw, layout), nms.conf_thres, nms.iou_thres, **options)

        found = session.run(["output0"], {"images": raw.numpy()})[0]

        assert found.shape == (images, nms.max_det, 6)
        for rows, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(rows[: len(wanted)], wanted, rtol=0, atol=1e-4)
            assert not rows[len(wanted) :].any()


def test_nothing_but_zeros_where_nothing_is_found():
    found = session_of(BN5C, Suppression()).run(["output0"], {"images": np.zeros((2, 30, 8), np.float32)})[0]

    assert found.shape == (2, 100, 6)
    assert not found.any()


def test_an_old_operator_set_is_refused():
    with pytest.raises(RejectedError, match="suppression needs opset 13 or newer, not 12"):
        session_of(BN5C, Suppression(), opset=12)
