"""Two detectors that cost nothing to make: one in PyTorch that finds boxes everywhere, one in ONNX that finds one."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.detector import DetectionModel
from utils.checkpoint.native import save_checkpoint
from utils.runs import ROOT
from utils.yaml_file import read_yaml

ONNX_SIDE = 64  # pixels
ONNX_BOX = (32, 32, 32, 16)  # cx, cy, w, h in these pixels


@pytest.fixture(scope="session")
def tiny_model():
    """A model with random weights, sure of itself; its classes are cat and dog."""
    torch.manual_seed(0)
    model = DetectionModel(read_yaml(ROOT / "models" / "yolov5n.yaml") | {"width_multiple": 0.125, "nc": 2})
    model.names = {0: "cat", 1: "dog"}
    for layer in model.head.m:
        layer.bias.data.view(model.head.na, -1)[:, 4:] = 2.0
    return model


@pytest.fixture(scope="session")
def tiny_weights(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    save_checkpoint(path, tiny_model, epoch=0, fitness=0.0, training={}, imgsz=64)
    return path


@pytest.fixture(scope="session")
def onnx_weights(tmp_path_factory):
    """A graph for one image of 64×64 pixels that finds a dog in its middle, whatever is there."""
    row = np.array([[[*ONNX_BOX, 0.9, 0.0, 1.0]]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),  # so that the input is used
        helper.make_node("Add", ["row", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dog",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, ONNX_SIDE, ONNX_SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 7])],
        [numpy_helper.from_array(row, "row"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"stride": "32", "names": json.dumps({"0": "cat", "1": "dog"})})
    path = tmp_path_factory.mktemp("weights") / "dog.onnx"
    onnx.save(model, path)
    return path
