"""What counts as equal: a fixed tolerance, or as near to the exact result as PyTorch itself comes."""

import copy

import onnx
import pytest
import torch
from tiny_detector import tiny_model
from torch import nn

from utils.export.compare import Comparison, RejectedError, check, compare
from utils.export.onnx import deployable
from utils.export.order import INT8
from utils.export.trace import by_script, trace

SHAPE = (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("figures", "passed"),
    [
        ((9e-4, 9e-5), True),
        ((2e-3, 9e-5), False),
        ((9e-4, 2e-4), False),
        ((2e-3, 2e-4, 6e-4, 6e-5), True),  # within four times rounding errors of float32
        ((2e-3, 2e-4, 6e-4, 4e-5), False),
        ((float("nan"), 0.0, 1.0, 1.0), False),
    ],
)
def test_differences_pass_within_the_tolerance_or_where_rounding_explains_them(figures, passed):
    comparison = Comparison(SHAPE, *figures)

    assert comparison.passed is passed
    if not passed:
        with pytest.raises(RejectedError, match="ONNX Runtime differs from PyTorch by more than"):
            check(comparison)
    else:
        assert check(comparison) is comparison


def test_of_integers_only_numbers_that_are_none_are_refused():
    assert check(Comparison(SHAPE, 50.0, 0.5, limits=INT8)).box_px == 50
    with pytest.raises(RejectedError, match="onnx gives numbers that are not finite: 2×3×64×64 "):
        check(Comparison(SHAPE, float("nan"), 0.5, limits=INT8), "onnx")


@pytest.fixture(scope="module")
def huge():
    """A detector whose boxes are so large, in pixels, that float32 cannot give them to a thousandth."""
    model = tiny_model()
    model.head.anchors.mul_(1e5)
    return deployable(model)


@pytest.fixture(scope="module")
def graph(huge):
    return trace(by_script, huge, (3, 3, 32, 48), 17, open_sizes=True)


def test_a_right_graph_of_huge_boxes_passes_and_says_how_it_rounds(huge, graph):
    comparison = compare(graph, huge, SHAPE)

    assert comparison.box_px > 1e-3
    assert comparison.box_rounding_px >= 16 * 2**-23 * 1e5  # some units in the last place of boxes of this size
    assert comparison.passed
    assert "rounding errors of float32" in comparison.line()
    assert next(huge.parameters()).dtype == torch.float32


def test_a_wrong_graph_of_huge_boxes_does_not_pass(huge, graph):
    wrong = copy.deepcopy(graph)
    bias = next(tensor for tensor in wrong.graph.initializer if tensor.name.endswith("m.0.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-3, bias.name))

    assert not compare(wrong, huge, SHAPE).passed


def test_a_model_that_computes_in_float32_only_has_no_rounding_to_excuse_it(huge, graph):
    bound = copy.deepcopy(huge)
    layers = bound.detector.model
    layers[0] = _InFloat32(layers[0])

    comparison = compare(graph, bound, SHAPE)

    assert not comparison.passed
    assert comparison.box_rounding_px == 0


class _InFloat32(nn.Module):
    """Refuses float64, as modules that create float32 tensors in their forward pass do."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.i, self.f = inside, inside.i, inside.f

    def forward(self, x):
        if x.dtype != torch.float32:
            raise RuntimeError("expected float32")
        return self.inside(x)
