"""Every layer can be fused: nothing that it computes changes, and no batch norm is left."""

import pytest
import torch
from golden_models import sine_image
from layer_cases import V5_CASES, V8_CASES, yolov5_layer, yolov8_layer
from torch import nn

from models.layers.reparam import fuse_submodules

CASES = [
    *((yolov5_layer, *row[:2]) for row in V5_CASES),
    *((yolov8_layer, *row[:2]) for row in V8_CASES),
]


@pytest.mark.parametrize(("build", "name", "args"), CASES)
def test_folding_changes_no_value_and_leaves_no_norm(build, name, args):
    parent, x = nn.Sequential(build(name, args)), sine_image(args[0], 8, 8)
    with torch.no_grad():
        expected = parent(x)
        for _ in range(2):  # the second time finds nothing to do
            fuse_submodules(parent)
            torch.testing.assert_close(parent(x), expected, rtol=1e-9, atol=1e-9)

    assert not [part for part in parent.modules() if isinstance(part, nn.BatchNorm2d)]
