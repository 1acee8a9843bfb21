"""Prove that an exported network computes what the PyTorch model computes."""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from utils.export.deployed import Deployed
from utils.predictions import Predictions
from utils.text import one_line

INPUT, OUTPUT = "images", "output0"
BOX_TOLERANCE = 1e-3  # pixels
SCORE_TOLERANCE = 1e-4
LEAST_ROUNDING = 16 * float(np.finfo(np.float32).eps)  # of the largest value; the layers before it round as well
ROUNDING_FACTOR = 4  # two results that are each rounded differ by up to twice that, and by more at single boxes


class RejectedError(Exception):
    """Says why a graph is not to be written: it cannot be made or run, or it computes something else.

    ``fix`` is what to do about it, where that is known.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


@dataclass(frozen=True)
class Limits:
    """How far a network may be from PyTorch.

    With boxes of any difference the figures are told and nothing is refused; ``score`` and ``iou`` then say which
    detections are the same.
    """

    box_px: float
    score: float
    same: float = 0.999  # share of the detections that must have their like
    iou: float = 0.99  # from which two are alike; less where suppression may keep another of two equal boxes

    @property
    def decide(self) -> bool:
        return math.isfinite(self.box_px)


STRICT = Limits(BOX_TOLERANCE, SCORE_TOLERANCE)


@dataclass(frozen=True)
class Comparison:
    """Largest absolute differences between a runtime and PyTorch on one batch of images.

    Where they are beyond the tolerances, the rounding errors tell whether float32 can do better: they are the largest
    differences between PyTorch in float32 and in float64, and at least some units in the last place; 0 elsewhere.
    """

    shape: tuple[int, int, int, int]  # B, C, H, W
    box_px: float
    score: float
    box_rounding_px: float = 0.0
    score_rounding: float = 0.0
    detections: int = 0  # of both, on real images
    same: int = 0  # of these, those that the other has too
    limits: Limits = STRICT

    @property
    def within_tolerance(self) -> bool:
        if not self.limits.decide:
            return math.isfinite(self.box_px) and math.isfinite(self.score)
        return self.box_px <= self.limits.box_px and self.score <= self.limits.score

    @property
    def passed(self) -> bool:
        """True within the tolerances, or when the differences are no more than rounding explains."""
        if not self.limits.decide:
            return self.within_tolerance
        boxes = self.box_px <= max(self.limits.box_px, ROUNDING_FACTOR * self.box_rounding_px)
        scores = self.score <= max(self.limits.score, ROUNDING_FACTOR * self.score_rounding)
        return boxes and scores and self.same >= self.limits.same * self.detections

    def facts(self) -> dict[str, Any]:
        """Return the figures by name, without the limits."""
        return {key: value for key, value in asdict(self).items() if key != "limits"}

    def line(self) -> str:
        """Return the figures as text."""
        text = f"{'×'.join(map(str, self.shape)):>14}  {self.box_px:.1e} px  {self.score:.1e}"
        if self.detections:
            text += f"  {self.same} of {self.detections} detections the same"
        if self.within_tolerance:
            return text
        return f"{text}  (rounding errors of float32: {self.box_rounding_px:.1e} px, {self.score_rounding:.1e})"


def compare(graph: onnx.ModelProto, model: Deployed, shape: tuple[int, ...]) -> Comparison:
    """Run both on the same images. Raises: RejectedError when ONNX Runtime cannot run the graph."""

    def run(images: Tensor) -> Tensor:
        try:
            session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
            return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        except Exception as error:  # the runtime's errors have no class in common
            raise RejectedError(f"ONNX Runtime cannot run the exported graph: {reason(error)}") from error

    return compare_on(run, model, example_images(shape), STRICT, "ONNX Runtime")


def compare_on(
    run: Callable[[Tensor], Tensor], model: Deployed, images: Tensor, limits: Limits, runtime: str
) -> Comparison:
    """Return how far ``run`` is from the model on images (B, C, H, W). Raises: RejectedError for another shape."""
    with torch.inference_mode():
        expected = model(images)
    found = run(images)
    if found.shape != expected.shape:
        raise RejectedError(f"{runtime} returns {tuple(found.shape)} where PyTorch returns {tuple(expected.shape)}")
    differences = Predictions(found.to(expected) - expected, model.layout).largest()
    comparison = Comparison(tuple(images.shape), *differences, limits=limits)
    if comparison.within_tolerance:
        return comparison
    return replace(comparison, **_rounding(model, images, expected))


def _rounding(model: Deployed, images: Tensor, rounded: Tensor) -> dict[str, float]:
    """Return how far float32 predictions are from those in float64; nothing where the model cannot compute in it."""
    try:
        with torch.inference_mode():
            exact = copy.deepcopy(model).double()(images.double())
    except RuntimeError:  # types that do not fit each other
        return {}
    errors = zip(*(Predictions(values, model.layout).largest() for values in (rounded - exact, exact)), strict=True)
    box, score = (max(error, LEAST_ROUNDING * largest) for error, largest in errors)
    return {"box_rounding_px": box, "score_rounding": score}


def example_images(shape: tuple[int, ...]) -> Tensor:
    """Return images in 0–1 that are half a gradient, half noise, the same at every call."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    gradient = torch.linspace(0, 1, shape[2]).view(-1, 1) * torch.linspace(0, 1, shape[3])
    return (noise + gradient) / 2


def check(comparison: Comparison, runtime: str = "ONNX Runtime") -> Comparison:
    """Return the comparison. Raises: RejectedError unless it passed."""
    if comparison.passed:
        return comparison
    limits = comparison.limits
    if not limits.decide:
        raise RejectedError(f"{runtime} gives numbers that are not finite: {comparison.line().strip()}")
    raise RejectedError(
        f"{runtime} differs from PyTorch by more than {limits.box_px:g} px or {limits.score:g}: "
        f"{comparison.line().strip()}"
    )


def reason(error: BaseException) -> str:
    """Return, on one line, what went wrong at the bottom of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error, 300) or type(error).__name__
