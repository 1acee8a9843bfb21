"""Run one weights file or several as one detector, and in the way that ``val.py`` and ``detect.py`` are asked to."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from utils.backends.choose import load_backend
from utils.backends.pt import PyTorchBackend
from utils.checkpoint.facts import Backend
from utils.data.scan.class_matching import loose
from utils.data.scan.spec import load_data_spec
from utils.errors import ConfigError
from utils.predictions import Predictions
from utils.text import safe_text


class Ensemble:
    """Several detectors of the same classes: what all of them find in an image, to be joined by NMS."""

    def __init__(self, members: Sequence[Backend]) -> None:
        self.members = members
        first = members[0]
        self.names, self.layout, self.trained = first.names, first.layout, first.trained
        self.channels, self.bits = first.channels, first.bits
        self.stride = math.lcm(*(member.stride for member in members))  # the largest: they are powers of two
        self.fixed_size = next((member.fixed_size for member in members if member.fixed_size), None)
        models = [member.model for member in members if hasattr(member, "model")]
        self.model = nn.ModuleList(models) if len(models) == len(members) else None

    def __call__(self, images: Tensor) -> Predictions:
        found = [member(images).output for member in self.members]
        return Predictions(torch.cat(found, dim=self.layout.box_axis), self.layout)


def load_backends(
    weights: str | Path | Sequence[str | Path],
    device: torch.device,
    backbone: str = "",
    layout: str = "",
    *,
    augment: bool = False,
    half: bool = False,
    dnn: bool = False,
    data: str = "",
) -> Backend:
    """Return what runs a weights file (see ``choose.load_backend``), or several as an ensemble.

    ``augment`` looks at each image in three sizes, ``half`` computes in float16 on a GPU, ``dnn`` runs .onnx files in
    OpenCV; the class names of the YAML ``data`` are shown in place of the file's.
    Raises: ConfigError where a file has no such way to run, or members do not fit together; CheckpointError.
    """
    if half and device.type == "cpu":
        what = "--half: float16 is for a GPU, and this runs on the CPU"
        raise ConfigError(what, "leave --half out, or name a GPU with --device")
    paths = [Path(path) for path in ([weights] if isinstance(weights, str | Path) else weights)]
    if not paths:
        raise ConfigError("the list of weights files is empty", "give at least one file")
    members = [_load(path, device, backbone, layout, dnn) for path in paths]
    for path, member in zip(paths, members, strict=True):
        _check_fit(paths[0], members[0], path, member)
        if half and not isinstance(member, PyTorchBackend):
            raise ConfigError(f"--half: {path} runs in the precision that it was exported in", "leave --half out")
        if half:
            member.model.half()
    if len(members) > 1 and members[0].layout.is_suppressed:
        what = f"{paths[0]}: suppresses by itself, and what several files find must be suppressed together"
        raise ConfigError(what, "give one file, or files that were exported without suppression")
    found = Ensemble(members) if len(members) > 1 else members[0]
    found = augmented(found) if augment else found
    if data:
        found.names = _names(data, found.names)
    return found


def augmented(backend: Backend) -> Backend:
    """Return the same detector, not a copy of it, with test-time augmentation. Raises: ConfigError."""
    if isinstance(backend, Ensemble):
        return Ensemble([augmented(member) for member in backend.members])
    if not isinstance(backend, PyTorchBackend):
        what = "test-time augmentation is for .pt files; an exported file runs as it was exported"
        raise ConfigError(what, "leave the augmentation out, or give the .pt file")
    return backend.augmented()


def _load(path: Path, device: torch.device, backbone: str, layout: str, dnn: bool) -> Backend:
    if not dnn:
        return load_backend(path, device, backbone, layout)
    if path.suffix.lower() != ".onnx" or backbone:
        raise ConfigError(f"--dnn: OpenCV runs .onnx files, not {path}", "leave --dnn out, or export it with export.py")
    if device.type != "cpu":
        raise ConfigError(f"--dnn: OpenCV runs on the CPU, not on {device}", "add --device cpu, or leave --dnn out")
    from utils.backends.dnn import load  # here, because most never need OpenCV's

    return load(path, layout)


def _names(data: str, own: dict[int, str]) -> dict[int, str]:
    """Return the class names of a data-set YAML. Raises: ConfigError where they are not as many."""
    spec = load_data_spec(data, required=())
    if spec.nc != len(own):
        what = f"--data {data}: {spec.nc} classes, but the model finds {len(own)}: {', '.join(own.values())}"
        raise ConfigError(what, "leave --data out: the weights file has its own names")
    return dict(spec.names)


def _check_fit(path: Path, first: Backend, other_path: Path, other: Backend) -> None:
    """Raises: ConfigError naming what two members of an ensemble do not have in common."""
    for what, ours, theirs in (
        ("classes", _shown(first.names, other.names), _shown(other.names, first.names)),
        ("layouts of predictions", first.layout.name, other.layout.name),
        ("channels of images", first.channels, other.channels),
        ("bits of images", first.bits, other.bits),
    ):
        if ours != theirs:
            raise ConfigError(
                f"{path} and {other_path} have other {what}: {ours}, and {theirs}",
                "give --weights that were trained on the same data set, with heads of one kind",
            )
    if first.fixed_size and other.fixed_size and first.fixed_size != other.fixed_size:
        raise ConfigError(
            f"{path} takes images of {'×'.join(map(str, first.fixed_size))}, {other_path} of "
            f"{'×'.join(map(str, other.fixed_size))} pixels only",
            "export them for one size, or with export.py --dynamic",
        )


def _shown(names: dict[int, str], others: dict[int, str]) -> str:
    """Return the first class that another model has not under the same number, or how many there are."""
    if len(names) != len(others):
        return f"{len(names)}"
    odd = next((index for index in names if loose(names[index]) != loose(others[index])), None)
    return f"{len(names)}" if odd is None else f"{odd} is {safe_text(names[odd])!r}"
