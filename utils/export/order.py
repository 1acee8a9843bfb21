"""What is to be exported: a detector, for which images, in which form."""

import logging
import math
from dataclasses import dataclass
from functools import cached_property

import onnx
import torch

from utils.export.compare import Limits
from utils.export.deployed import Deployed
from utils.export.graph import Verified, verified
from utils.export.half import in_half
from utils.export.int8 import Int8, in_int8
from utils.export.suppress import Suppression, with_suppression
from utils.predictions import BN6, Layout

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
WORKSPACE = 4.0
EXACT = Limits(box_px=1e-2, score=1e-3, iou=0.99)
INT8 = Limits(box_px=math.inf, score=0.1, same=0.0, iou=0.5)  # what counts for integers is mAP
HALF = Limits(box_px=4.0, score=2e-2, same=0.99, iou=0.45)  # float16 has 11 bits; the boxes are decoded in float32


@dataclass(frozen=True)
class Order:
    """One detector for all formats of a call; what several of them need is made once."""

    model: Deployed
    shape: tuple[int, int, int, int]  # B, C, H, W; H and W multiples of the detector's
    name: str = "model"  # of what is written, without the end that tells the format
    dynamic: bool = False
    half: bool = False
    int8: Int8 | None = None
    opset: int | None = None
    data: str | None = None  # data set of the training
    nms: Suppression | None = None
    workspace: float = WORKSPACE  # GiB of GPU memory that TensorRT may use while it builds
    device: torch.device = CPU  # where the files are compared with the model

    @property
    def limits(self) -> Limits:
        return INT8 if self.int8 else HALF if self.half else EXACT

    @property
    def layout(self) -> Layout:
        """That of the output of the formats which can hold suppression."""
        return BN6 if self.nms else self.model.layout

    @cached_property
    def proven(self) -> Verified:
        """The ONNX graph of the predictions in float32. Raises: RejectedError."""
        proven = verified(self.model, self.shape, self.opset, self.dynamic)
        if proven.doubt:
            log.warning("exported for %d×%d only, not compared at another size: %s", *self.shape[2:], proven.doubt)
        return proven

    def final_graph(self) -> onnx.ModelProto:
        """Return the ONNX graph with all that is wanted of it. Raises: RejectedError, DataError."""
        if self.int8:
            self.int8.check_opset(self.opset)
        graph = self.proven.graph
        if self.half:
            graph = in_half(graph)
        if self.int8:
            graph = in_int8(graph, self.int8.images)
        return self.with_suppression(graph)

    def with_suppression(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return the graph with suppression behind it where that is wanted. Raises: RejectedError."""
        return with_suppression(graph, self.model.layout, self.nms) if self.nms else graph
