"""Fill a backbone with published weights, entirely or not at all, and report what fitted.

Of the file only the classifier and parts of the backbone that this detector does not read may be left over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones._weight_file import check_finite, download, find_state, is_url, read_file
from models.layers.input_channels import adapt_state
from models.registry import BackboneEntry
from utils.errors import CheckpointError

State = dict[str, Tensor]


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a backbone's state dict a file fills."""

    name: str  # of the backbone
    source: str  # where the weights come from
    sizes: dict[str, int]  # numbers in each tensor of the backbone, by key
    matched: list[str]
    mismatched: list[str]  # in the file with another shape
    missing: list[str]  # not in the file
    unexpected: list[str]  # in the file alone

    def share(self, keys: Iterable[str]) -> float:
        """Return the part, 0–1, of the backbone's numbers that the tensors ``keys`` hold."""
        return sum(self.sizes[key] for key in keys) / max(sum(self.sizes.values()), 1)

    def sections(self) -> dict[str, tuple[int, int]]:
        """Return (matched, all) tensors by the first part of their keys."""
        counts: dict[str, tuple[int, int]] = {}
        matched = set(self.matched)
        for key in self.sizes:
            section = key.removeprefix("body.").partition(".")[0]  # ``body`` is all of a library's model
            fitted, total = counts.get(section, (0, 0))
            counts[section] = fitted + (key in matched), total + 1
        return counts

    def lines(self) -> list[str]:
        """Return the report for the log."""
        sections = ", ".join(f"{name} {fitted}/{total}" for name, (fitted, total) in self.sections().items())
        lines = [f"{self.name}: {self.counted(self.matched)} loaded from {self.source}", f"  {sections}"]
        if self.unexpected:
            lines.append(f"  left over in the file: {len(self.unexpected)} tensors ({first(self.unexpected)})")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "backbone": self.name,
            "source": self.source,
            "matched": {"tensors": len(self.matched), "share": round(self.share(self.matched), 6)},
            "mismatched": self.mismatched,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "sections": {name: list(counts) for name, counts in self.sections().items()},
        }

    def counted(self, keys: Sequence[str]) -> str:
        """Return ``keys`` as a count and a share."""
        return f"{len(keys)} of {len(self.sizes)} tensors ({self.share(keys):.1%} of the numbers)"


def load_backbone_weights(
    backbone: nn.Module, entry: BackboneEntry, source: str | Path | bool, name: str, channels: int | None = None
) -> LoadReport:
    """Fill ``backbone``, in place, from a path, a URL, or the official URL (True); return what fitted.

    Weights for other ``channels`` of images than the backbone's are adapted (``models.layers.input_channels``).
    Raises: CheckpointError when the file cannot be read, lacks a tensor, has one of another shape, or has one that the
    whole backbone does not know; ``backbone`` is then unchanged.
    """
    own = backbone.state_dict()
    sizes = {key: value.numel() for key, value in own.items()}
    if entry.load is not None:  # a library that knows its own files; it raises unless every tensor fits
        origin = str(download(source)) if source is not True and is_url(source) else source
        filled = entry.load(backbone, origin)
        label = "the library's official weights" if source is True else str(source)
        return LoadReport(name, label, sizes, filled, [], [key for key in own if key not in filled], [])
    path = locate(source, entry, name)
    state, place = find_state(read_file(path), own, path)
    fitting = convert(state, entry, backbone, path)  # other layouts first: all that follows looks at keys of ours
    trained = len(entry.mean)
    fitting = adapt_state(fitting, own, trained, channels or trained)
    heads = [key for key in fitting if key.startswith(entry.head_prefixes)]
    report = LoadReport(
        name=name,
        source=f"{path}, key {place!r}" if place else str(path),
        sizes=sizes,
        matched=[key for key in own if key in fitting and fitting[key].shape == own[key].shape],
        mismatched=[key for key in own if key in fitting and fitting[key].shape != own[key].shape],
        missing=[key for key in own if key not in fitting and not is_counter(key)],
        unexpected=[key for key in fitting if key not in own and key not in heads] + heads,
    )
    foreign = foreign_keys(state, entry, own, path) if len(report.unexpected) > len(heads) else []
    if report.mismatched or report.missing or foreign:
        raise misfit(report, foreign, fitting, own)
    check_finite({key: fitting[key] for key in report.matched}, path)
    backbone.load_state_dict({key: fitting.get(key, value) for key, value in own.items()})
    return report


def locate(source: str | Path | bool, entry: BackboneEntry, name: str) -> Path:
    """Return the local file of ``source``. Raises: CheckpointError."""
    if source is True:
        if not entry.url:
            raise CheckpointError(f"{name}: its authors give no direct link to weights", entry.without_url)
        source = entry.url
    return download(str(source)) if is_url(source) else Path(source)


def convert(state: State, entry: BackboneEntry, module: nn.Module, path: Path) -> State:
    """Return ``state`` in the layout of ``module``. Raises: CheckpointError naming the file."""
    if entry.convert is None:
        return state
    try:
        return entry.convert(state, module)
    except KeyError as error:
        raise CheckpointError(f"{path}: lacks a tensor {error}", "take a complete file of this variant") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.what}", error.fix) from error


def foreign_keys(state: State, entry: BackboneEntry, own: State, path: Path) -> list[str]:
    """Return the keys that neither this backbone nor its form with all levels knows."""
    with torch.device("meta"):  # keys without memory
        whole = entry()
    known = whole.state_dict().keys() | own.keys()
    converted = convert(state, entry, whole, path)
    return [key for key in converted if key not in known and not key.startswith(entry.head_prefixes)]


def is_counter(key: str) -> bool:
    """True for the batch counter of a batch norm, which old files lack and nothing reads."""
    return key.endswith(".num_batches_tracked")


def misfit(report: LoadReport, foreign: list[str], state: State, own: State) -> CheckpointError:
    """Return the error that says how far a file is from fitting."""
    parts = [f"{report.counted(report.matched)} fit"]
    if report.missing:
        parts.append(f"{len(report.missing)} are missing ({first(report.missing)})")
    if report.mismatched:
        key = report.mismatched[0]
        shapes = f"{key} is {list(state[key].shape)} instead of {list(own[key].shape)}"
        parts.append(f"{len(report.mismatched)} have another shape ({shapes})")
    if foreign:
        parts.append(f"{len(foreign)} are foreign ({first(foreign)})")
    fix = f"give a complete file of {report.name}, or no weights to start from scratch"
    return CheckpointError(f"{report.source}: not the weights of {report.name}: {', '.join(parts)}", fix)


def first(keys: Sequence[str], count: int = 3) -> str:
    """Return the first few of many keys."""
    return ", ".join(keys[:count]) + (", …" if len(keys) > count else "")
