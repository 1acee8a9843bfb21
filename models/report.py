"""What ``python models/yolo.py`` tells beside the table of a model: the backbones that exist, what fusing changes."""

import copy
import fnmatch
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.backbones import known_backbones, resolve_backbone
from models.build import count_parameters
from models.registry import BACKBONES
from utils.errors import ConfigError, UserError
from utils.imgsz import rounded_up
from utils.predictions import Predictions
from utils.registry import suggest

log = logging.getLogger(__name__)

LIBRARIES = ("timm", "torchvision")
LIMIT = 20  # models of a library that are built for one list
COLUMNS = ("backbone", "channels", "strides", "parameters", "also called")


def list_backbones(pattern: str = "") -> list[str]:
    """Return a table of the backbones whose name or alias contains ``pattern``, or matches it where it has a ``*``.

    Those of a library are looked through for a pattern such as ``timm/mobilenetv4``, at most ``LIMIT``.
    """
    known = known_backbones()
    library, slash, rest = pattern.partition("/")
    if slash and library in LIBRARIES:
        names = [name for name in known[library] if _matches(rest, name)]
        rows = [_facts(f"{library}/{name}") for name in names[:LIMIT]]
        more = len(names) - len(rows)
        note = f"and {more} more; narrow the filter to see them" if more else ""
        fix = suggest(rest, known[library]) or f"give a part of the name of a {library} model"
    else:
        rows = [_facts(n) for n in BACKBONES if any(_matches(pattern, x) for x in (n, *BACKBONES.aliases(n)))]
        counts = (f"{len(known[name])} of {name} as {name}/NAME" for name in LIBRARIES)
        note = f"and {' and '.join(counts)}; list some with --list-backbones {LIBRARIES[0]}/resnet"
        fix = f"leave the filter out, or put {' or '.join(f'{name}/' for name in LIBRARIES)} before it"
    if not rows:
        raise ConfigError(f"no backbone matches {pattern!r}", fix)
    return [*_aligned([COLUMNS, *rows]), *([note] if note else [])]


def backbone_notes(name: str, backbone: nn.Module | None) -> list[str]:
    """Say what an alias stands for, and what a backbone says of itself in ``note``."""
    listed = BACKBONES.canonical(name)
    notes = [getattr(backbone, "note", "")]
    if listed != name:
        notes.append(f"{name} stands for {listed}: {BACKBONES.get(name).build.__doc__.splitlines()[0]}")
    return [note for note in notes if note]


def _matches(pattern: str, name: str) -> bool:
    pattern = pattern if "*" in pattern else f"*{pattern}*"
    return fnmatch.fnmatch(name.lower(), pattern.lower())


def _facts(name: str) -> tuple[str, ...]:
    """Return a row of the table; a backbone that cannot be one says why."""
    try:
        with torch.device("meta"):
            backbone = resolve_backbone(name)()
    except ConfigError as error:
        return (name, "–", "–", "–", error.what.removeprefix(f"{name} "))
    channels, strides = (" ".join(map(str, v)) for v in (backbone.feature_channels, backbone.reductions))
    size, multiple = getattr(backbone, "fixed_size", None), getattr(backbone, "size_multiple", 1)
    remarks = BACKBONES.aliases(name)
    remarks += [f"one image size only, such as {size[0]}×{size[1]}"] if size else []
    remarks += [f"images of multiples of {multiple}"] if multiple > 1 else []
    return (name, channels, strides, f"{count_parameters(backbone):,}", ", ".join(remarks))


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


@torch.no_grad()
def fuse_check(model: nn.Module, imgsz: tuple[int, int] = (320, 320), seed: int = 0) -> list[str]:
    """Say by how much the predictions of a DetectionModel change when it is fused, in float32 and float64.

    Its batch norms get random weights and the statistics of a random batch first, in a copy: fresh ones would hide
    mistakes.
    """
    generator = torch.Generator().manual_seed(seed)
    size = model.fixed_size or [rounded_up(side, model.size_multiple) for side in imgsz]
    images = torch.rand(2, model.yaml["ch"], *size, generator=generator)
    randomised = _with_random_norms(model, images, generator)
    lines = []
    for dtype in (torch.float32, torch.float64):
        plain = copy.deepcopy(randomised).to(dtype)
        fused = copy.deepcopy(plain).fuse()
        before, after = plain.predict(images.to(dtype)), fused.predict(images.to(dtype))
        boxes, scores = Predictions(before.output - after.output, model.head.layout).largest()
        lines.append(
            f"fused − unfused, {str(dtype).removeprefix('torch.')}: {boxes:.1e} px, {scores:.1e} in the scores"
        )
    return lines


def _with_random_norms(model: nn.Module, images: Tensor, generator: torch.Generator) -> nn.Module:
    """Return a copy in eval mode whose batch norms are not the identity on ``images``."""
    model = copy.deepcopy(model).cpu().train()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.normal_(0, 0.2, generator=generator)
        norm.momentum = 1.0
    model(images)
    for norm, momentum in zip(norms, momentums, strict=True):
        norm.momentum = momentum
    return model.eval()


def build_all(names: list[str], build: Callable[[str], nn.Module]) -> None:
    """Build each model and log its size. Raises: ConfigError after the last one if any failed."""
    failed = 0
    for name in names:
        try:
            size = count_parameters(build(name))
            log.info("%-28s %s parameters", name, f"{size:,}")
        except UserError as error:
            failed += 1
            log.error("%s", error)
    if failed:
        raise ConfigError(f"{failed} of {len(names)} models cannot be built", "mend those named above")
