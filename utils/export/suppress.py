"""Add suppression to an ONNX graph, with operators of ONNX alone.

Input: predictions in the layout of a head; output ``output0`` (B, max_det, 6) [x1, y1, x2, y2, confidence, class] in
pixels of the model's input, best first, rows of zeros behind the last detection. A box is a candidate once, with its
best class, as in ``detect.py``.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx import compose, parser

from utils.export.compare import OUTPUT, RejectedError, reason
from utils.predictions import Layout

LEAST_OPSET = 13  # Split, Squeeze and Unsqueeze with sizes as inputs
AXES_AS_INPUT = 18  # of ReduceMax
PREFIX = "nms_"  # of all that is added

_ROWS = {  # layout → boxes (B, N, 4) and the confidences of all classes (B, N, C), from ``raw``
    "BN5C": """
        boxes, objectness, scores = Split <axis = 2> (raw, parts)
        confidences = Mul (scores, objectness)""",
    "B4CN": """
        turned = Transpose <perm = [0, 2, 1]> (raw)
        boxes, confidences = Split <axis = 2> (turned, parts)""",
}
_BY_CLASS = """
        wide_best = Unsqueeze (best, two)
        is_best = Equal (class_numbers, wide_best)
        alone = Where (is_best, confidences, zero)
        by_class = Transpose <perm = [0, 2, 1]> (alone)"""
_AGNOSTIC = """
        by_class = Unsqueeze (confidence, one)"""
_GRAPH = """
<ir_version: {ir}, opset_import: ["": {opset}]>
suppression (float[{batch}, {sizes}] raw) => (float[{batch}, {max_det}, 6] {output})
<int64[{part_count}] parts = {{{parts}}}, int64[{nc}] class_numbers = {{{numbers}}},
 int64[1] most = {{{max_det}}}, float[1] iou = {{{iou}}}, float[1] least = {{{conf}}},
 float zero = {{0.0}}, float half = {{0.5}}, int64[1] first = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}},
 int64[2] ends = {{0, 2}}, int64[2] pair = {{2, 2}}, int64[3] six = {{1, 1, 6}}, int64[4] before = {{0, 0, 0, 0}}>
{{{rows}
        confidence = ReduceMax <{axes} keepdims = 0> (confidences{axes_input})
        best = ArgMax <axis = 2, keepdims = 0> (confidences){by_class}
        found = NonMaxSuppression <center_point_box = 1> (boxes, by_class, most, iou, least)
        places = Gather <axis = 1> (found, ends)
        found_shape = Shape (found)
        count = Gather <axis = 0> (found_shape, first)
        hits = ConstantOfShape <value: tensor = float[1] {{1.0}}> (count)
        shape = Shape (confidence)
        nowhere = ConstantOfShape <value: tensor = float[1] {{0.0}}> (shape)
        kept = ScatterND (nowhere, places, hits)
        ranked = Mul (confidence, kept)
        box_count = Gather <axis = 0> (shape, one)
        k = Min (box_count, most)
        values, order = TopK <axis = 1> (ranked, k)
        centre, sides = Split <axis = 2> (boxes, pair)
        reach = Mul (sides, half)
        low = Sub (centre, reach)
        high = Add (centre, reach)
        class_values = Cast <to = 1> (best)
        wide_class = Unsqueeze (class_values, two)
        wide_confidence = Unsqueeze (ranked, two)
        table = Concat <axis = 2> (low, high, wide_confidence, wide_class)
        wide_order = Unsqueeze (order, two)
        places_in_table = Expand (wide_order, six)
        picked = GatherElements <axis = 1> (table, places_in_table)
        wide_values = Unsqueeze (values, two)
        is_hit = Greater (wide_values, zero)
        detections = Where (is_hit, picked, zero)
        absent = Sub (most, k)
        pads = Concat <axis = 0> (before, absent, first)
        {output} = Pad (detections, pads)
}}
"""


@dataclass(frozen=True)
class Suppression:
    """The options of suppression inside a file."""

    conf_thres: float = 0.25
    iou_thres: float = 0.45
    agnostic: bool = False
    max_det: int = 100

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def with_suppression(graph: onnx.ModelProto, layout: Layout, nms: Suppression) -> onnx.ModelProto:
    """Return the graph with suppression behind its predictions. Raises: RejectedError."""
    opset = next(entry.version for entry in graph.opset_import if entry.domain == "")
    if opset < LEAST_OPSET:
        raise RejectedError(f"suppression needs opset {LEAST_OPSET} or newer, not {opset}")
    main = onnx.ModelProto()
    main.CopyFrom(graph)
    _rename(main.graph, OUTPUT, "predictions")
    try:
        tail = compose.add_prefix(parser.parse_model(_text(main, layout, nms, opset)), PREFIX)
        whole = compose.merge_models(main, tail, io_map=[("predictions", f"{PREFIX}raw")])
        _rename(whole.graph, f"{PREFIX}{OUTPUT}", OUTPUT)
        onnx.checker.check_model(whole)
    except Exception as error:  # the library's errors have no class in common
        raise RejectedError(f"suppression cannot be added: {reason(error)}") from error
    whole.producer_name, whole.producer_version = graph.producer_name, graph.producer_version
    return whole


def _text(graph: onnx.ModelProto, layout: Layout, nms: Suppression, opset: int) -> str:
    """Return the part that is added, in ONNX's textual form, for the output of a graph."""
    sizes = [size.dim_value or size.dim_param for size in graph.graph.output[0].type.tensor_type.shape.dim]
    nc = sizes[layout.channel_axis] - layout.channels(0)
    parts = (4, 1, nc) if layout.has_objectness else (4, nc)
    return _GRAPH.format(
        ir=graph.ir_version,
        opset=opset,
        batch=sizes[0],
        sizes=f"{sizes[1]}, {sizes[2]}",
        output=OUTPUT,
        part_count=len(parts),
        parts=_listed(parts),
        nc=nc,
        numbers=_listed(range(nc)),
        max_det=nms.max_det,
        iou=float(nms.iou_thres),
        conf=float(nms.conf_thres),
        rows=_ROWS[layout.name],
        by_class=_AGNOSTIC if nms.agnostic else _BY_CLASS,
        axes="axes = [2]," if opset < AXES_AS_INPUT else "",
        axes_input="" if opset < AXES_AS_INPUT else ", two",
    )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value of the graph another name, in place."""
    for names in (names for node in graph.node for names in (node.input, node.output)):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    for value in graph.output:
        if value.name == old:
            value.name = new
