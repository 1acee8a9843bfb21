"""Compute an ONNX graph in 8-bit integers, but for the last convolutions and the decoding of boxes.

One scale for a tensor of pixels up to 640 and scores up to 1 leaves nothing of the scores: what is behind the last
convolutions stays float32, and so do these, whose outputs hold boxes and scores side by side. Weights have a scale for
each channel and 7 bits: processors without VNNI add up products in 16 bits, which 8 can overflow. Tensors between
layers have 8 bits and one scale, from the least and the largest value that the calibration images give.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from utils.checkpoint.facts import Backend
from utils.errors import UserError
from utils.export.calibrate import CalibrationImages
from utils.export.compare import INPUT, RejectedError, reason
from utils.export.half import decoding, name_nodes
from utils.export.suppress import Suppression
from utils.export.trace import quiet_exporter, tidy
from utils.quiet import quiet_root
from utils.text import counted

NORMS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization")  # in front of attention
LEAST_OPSET = 13  # DequantizeLinear with a scale for each channel


@dataclass(frozen=True)
class MapDrop:
    """What computing in integers costs: mAP50-95 of the model in PyTorch and of a file, on the same images."""

    before: float
    after: float
    images: int
    data: str

    @property
    def drop(self) -> float:
        return self.before - self.after

    def facts(self) -> dict[str, Any]:
        figures = {"float32": self.before, "int8": self.after, "drop": self.drop}
        return {key: round(value, 5) for key, value in figures.items()} | {"images": self.images, "data": self.data}

    def line(self) -> str:
        """Return the figures as text."""
        where = f"on {counted(self.images, 'image')} of {self.data}"
        return f"mAP50-95 {where}: {self.before:.4f} in float32, {self.after:.4f} in integers"


@dataclass(frozen=True)
class Int8:
    """How a detector becomes one of integers: what it is calibrated with, and what it may lose by it."""

    images: CalibrationImages
    max_drop: float  # of mAP50-95
    measure: Callable[[Backend, Suppression | None], MapDrop] | None  # of a file, and the suppression inside it

    def proven(self, backend: Backend, inside: Suppression | None) -> MapDrop | None:
        """Return what a file loses, None where somebody else measures that. Raises: RejectedError, DataError."""
        return self.check(self.measure(backend, inside)) if self.measure else None

    def check(self, found: MapDrop) -> MapDrop:
        """Return what was measured. Raises: RejectedError where it is too much, or where nothing could be seen."""
        if found.before <= self.max_drop < 1:
            raise RejectedError(
                f"the model itself has a mAP50-95 of {found.before:.4f} on {counted(found.images, 'image')} "
                f"of {found.data}, where a drop by more than {self.max_drop:g} cannot show",
                "name with --data what it was trained on, or train it longer; --max-drop 1 takes any drop",
            )
        if not found.drop <= self.max_drop:
            raise RejectedError(
                f"{found.line()}: the drop of {found.drop:.4f} is more than --max-drop {self.max_drop:g} allows",
                "give --half or neither in place of --int8, or raise --max-drop if so much may be lost",
            )
        return found

    def check_opset(self, opset: int | None) -> None:
        """Raises: RejectedError where an operator set cannot hold integers."""
        if opset is not None and opset < LEAST_OPSET:
            fix = f"give --opset {LEAST_OPSET}, or leave --opset out"
            raise RejectedError(f"integers need opset {LEAST_OPSET} or newer, not {opset}", fix)


def in_int8(graph: onnx.ModelProto, images: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Return the graph with integers from its images to its last convolutions. Raises: RejectedError, DataError."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # here, because most never need it
    from onnxruntime.quantization.shape_inference import quant_pre_process

    named = onnx.ModelProto()
    named.CopyFrom(graph)
    name_nodes(named.graph)
    with tempfile.TemporaryDirectory() as folder:
        source, ready, target = (Path(folder, f"{name}.onnx") for name in ("source", "ready", "target"))
        onnx.save_model(named, source)
        try:
            with quiet_exporter(), quiet_root(logging.WARNING):
                quant_pre_process(source, ready, skip_symbolic_shape=True)  # shapes of maps are of no use to it
                quantize_static(
                    ready,
                    target,
                    _Reader(images),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=_in_float(onnx.load_model(ready).graph),
                )
        except UserError:  # of an image
            raise
        except Exception as error:  # the library's errors have no class in common
            raise RejectedError(f"it cannot be turned into integers: {reason(error)}") from error
        made = onnx.load_model(target)
    tidy(made, graph)
    if not any(node.op_type == "DequantizeLinear" for node in made.graph.node):
        raise RejectedError("nothing in it can be turned into integers")
    return made


class _Reader:
    """Batches as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self.images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.images, None)
        return None if batch is None else {INPUT: batch}


def _in_float(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that stay float32: norms, those that decode, and the convolutions before these."""
    norms = [node.name for node in graph.node if node.op_type in NORMS]
    names = decoding(graph)
    decodes = set(names)
    read_by: dict[str, list[str]] = {}
    for node in graph.node:
        for tensor in node.input:
            read_by.setdefault(tensor, []).append(node.name)
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name not in decodes]
    return norms + names + [node.name for node in convolutions if decodes.issuperset(read_by.get(node.output[0], ()))]
