"""The detector that a model YAML describes: its rows, built and run one after another."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones._weights import LoadReport, load_backbone_weights
from models.build import MAX_PARAMETERS, REFUSALS, backbone_args, build_backbone, build_layer, count_parameters
from models.dialects import dialect_of
from models.keys import check_model_yaml
from models.layers.activation import parse_activation
from models.layers.input_channels import adapt_normalization
from models.layers.normalize import Normalize
from models.layers.reparam import fuse_submodules
from models.parse import Row, at, class_names, level_slots, read_model_yaml, read_rows, reduction_of
from models.registry import Head
from models.report import backbone_notes
from models.wiring import Scaling, wire
from utils.errors import ConfigError, DataError
from utils.predictions import Predictions

log = logging.getLogger(__name__)

PROBE_SIZE = 256  # px; side of the virtual image that tells the strides, enough for P8


def parse_model(data: Mapping[str, Any], source: str = "model") -> tuple[nn.Sequential, list[Row]]:
    """Build the rows of a checked model YAML; module ``i`` belongs to row ``i``.

    The rows come back with the repeats and constructor arguments that were used. Raises: ConfigError naming the row.
    """
    rows = read_rows(data, source)
    scaling = Scaling.of(data)
    with at(source):
        activation = parse_activation(data["activation"]) if "activation" in data else None
    channels = {-1: data.get("ch", 3)}  # slot → channels
    budget = MAX_PARAMETERS
    modules: list[nn.Module] = []
    for index, row in enumerate(rows):
        with at(f"{source}: row {index}"):
            if row.is_backbone:
                slots = level_slots(rows)
                module = build_backbone(row, [reduction_of(slot) for slot in slots], channels[-1])
                channels |= dict(zip(slots, module.feature_channels, strict=True))
            else:
                call = wire(row, [channels[slot] for slot in row.sources], scaling)
                module = build_layer(row, call, activation, budget)
                channels[row.slot] = call.out_channels
                rows[index] = replace(row, number=scaling.repeats(row.number), args=call.args)
        cls = type(module) if row.is_backbone else row.entry.cls
        module.type, module.np = f"{cls.__module__}.{cls.__qualname__}", count_parameters(module)
        module.i, module.f = row.slot, row.written if row.reads_list else row.written[0]
        budget -= module.np
        modules.append(module)
    return nn.Sequential(*modules), rows


class DetectionModel(nn.Module):
    """A detector: images (B, ch, H, W) in 0–1 → maps in training; (predictions, maps) in eval mode."""

    def __init__(
        self,
        cfg: Mapping | str | Path = "yolov5s.yaml",
        ch: int = 3,
        nc: int | None = None,
        anchors: float | None = None,
        *,
        load_backbone: bool = True,
        source: str = "",
    ) -> None:
        """Build from a YAML file or its content; ``ch`` gives way to the YAML, ``nc`` and ``anchors`` go before it.

        ``load_backbone=False`` ignores the weights that a backbone row names; ``source`` is what to call the YAML in
        messages. Raises: ConfigError naming file and row.
        """
        super().__init__()
        self.yaml, found = read_model_yaml(cfg)
        source = source or found
        self.yaml["ch"] = self.yaml.get("ch", ch)
        if nc and nc != self.yaml.get("nc"):
            log.info("%s: nc %s becomes %d", source, self.yaml.get("nc"), nc)
            self.yaml["nc"] = nc
        if anchors and not dialect_of(self.yaml).has_anchors:
            raise ConfigError(f"{source}: anchors={anchors}, but its head has none", "leave anchors out")
        if anchors:
            self.yaml["anchors"] = round(anchors)
        with at(source):
            check_model_yaml(self.yaml)
        self.model, self.rows = parse_model(self.yaml, source)
        self.save = sorted({slot for row in self.rows for slot in row.kept})
        self.last_reader = {slot: row.index for row in self.rows for slot in row.sources}
        self.level_slots = level_slots(self.rows)
        self.names = class_names(self.yaml)
        self.set_normalization(self.yaml.get("normalize"))
        self.load_report: LoadReport | None = None
        if load_backbone:
            self.load_backbone()
        self.size_multiple = self._attach_head(source)

    @property
    def backbone(self) -> nn.Module | None:
        """The module of the backbone row, None in a model of layer rows only."""
        return self.model[0] if self.rows[0].is_backbone else None

    @property
    def backbone_rows(self) -> range:
        """The backbone's row, or in a model of layer rows alone those that the YAML has under ``backbone``."""
        return range(1 if self.backbone else len(self.yaml["backbone"]))

    @property
    def head(self) -> Head:
        """The last module, for example Detect."""
        return self.model[-1]

    @property
    def nc(self) -> int:
        """Number of classes."""
        return self.yaml["nc"]

    @property
    def stride(self) -> Tensor:
        """Stride of each level (L,), fine to coarse."""
        return self.head.stride

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size (height, width) of images that the backbone takes, None for any."""
        return getattr(self.backbone, "fixed_size", None)

    @property
    def wiring(self) -> list[str]:
        """Say what the backbone's name stands for, if that needs saying, and which rows read each of its levels."""
        lines = backbone_notes(self.rows[0].name, self.backbone)
        for slot, channels in self._levels().items():
            readers = ", ".join(f"row {row.index} {row.name}" for row in self.rows if slot in row.sources)
            lines.append(f"P{slot + 1} (stride {reduction_of(slot)}, {channels} channels) → {readers}")
        return lines

    def _levels(self) -> dict[int, int]:
        """Return slot → channels of the backbone's levels."""
        return dict(zip(self.level_slots, self.backbone.feature_channels, strict=True)) if self.backbone else {}

    def load_backbone(self) -> LoadReport | None:
        """Load the weights that the backbone row names, if any, and normalise images as they expect, in place."""
        row = self.rows[0]
        weights, options = backbone_args(row.entry, row.args) if row.is_backbone else (None, {})
        if weights is None:
            return None
        trained, channels = len(row.entry.mean), self.yaml["ch"]
        entry = replace(row.entry, build=partial(row.entry.build, **options))
        self.load_report = load_backbone_weights(self.backbone, entry, weights, row.name, channels)
        if channels != trained:
            log.info("%s: its weights for images of %d channels are adapted to %d", row.name, trained, channels)
        facts = {"mean": list(row.entry.mean), "std": list(row.entry.std)}
        self.set_normalization(adapt_normalization(facts, channels))
        return self.load_report

    def set_normalization(self, facts: Mapping[str, list[float]] | None) -> None:
        """Normalise images by ``mean`` and ``std`` of their channels, or not at all for None, in place."""
        self.normalize = Normalize(**facts) if facts else nn.Identity()
        others = {key: value for key, value in self.yaml.items() if key != "normalize"}
        self.yaml = others | ({"normalize": dict(facts)} if facts else {})

    @torch.no_grad()
    def _attach_head(self, source: str) -> int:
        """Tell the head its strides; return the multiple that image sizes must have.

        The rows between backbone and head run once, on zeros in eval mode: no batch norm learns from them.
        """
        device = next(self.head.parameters()).device
        outputs = {-1: torch.zeros(1, self.yaml["ch"], PROBE_SIZE, PROBE_SIZE, device=device)}
        for slot, channels in self._levels().items():
            side = PROBE_SIZE // reduction_of(slot)
            outputs[slot] = torch.zeros(1, channels, side, side, device=device)
        for row in self.rows[:-1]:
            if not row.is_backbone:
                module = self.model[row.index].eval()
                with at(f"{source}: row {row.index}"):
                    outputs[row.slot] = _probe(module, row, outputs)
                module.train()
        sides = {slot: output.shape[-1] for slot, output in outputs.items()}
        levels = [sides[slot] for slot in self.rows[-1].sources]
        if any(PROBE_SIZE % side for side in levels):
            what = f"{source}: an image of {PROBE_SIZE} px becomes maps of {levels} cells: no whole strides"
            raise ConfigError(what, "pad the rows that shrink the map so that each of them halves it")
        self.head.attach([PROBE_SIZE // side for side in levels])
        return max(PROBE_SIZE // min(sides.values()), getattr(self.backbone, "size_multiple", 1))  # powers of two

    def forward(self, images: Tensor) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of the head in training, (predictions, maps) in eval mode, as YOLOv5's models do.

        ``images`` are (B, ch, H, W) in 0–1, H and W multiples of ``size_multiple``.
        """
        maps = self._maps(images)
        return maps if self.training else (self.head.decode(maps), maps)

    def predict(self, images: Tensor) -> Predictions:
        """Return what is in images (B, ch, H, W) in 0–1, H and W multiples of ``size_multiple``."""
        return Predictions(self.head.decode(self._maps(images)), self.head.layout)

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Return the raw maps of the head. Raises: DataError for images of a wrong size or count of channels."""
        channels, height, width = images.shape[-3:]
        if channels != self.yaml["ch"]:
            what = f"images of {channels} channels: the model's YAML says 'ch: {self.yaml['ch']}'"
            raise DataError(what, "give images of as many channels, or correct 'ch'")
        if height % self.size_multiple or width % self.size_multiple:
            raise DataError(
                f"images of {height}×{width} pixels: both sides must be multiples of {self.size_multiple}",
                "letterbox them first",
            )
        return self._forward_once(self.normalize(images))

    def _forward_once(self, images: Tensor) -> list[Tensor]:
        outputs = {-1: images}  # slot → map
        for module, row in zip(self.model, self.rows, strict=True):
            x = module(row.pick(outputs))
            outputs |= zip(self.level_slots, x, strict=True) if row.is_backbone else {row.slot: x}
            outputs = {slot: kept for slot, kept in outputs.items() if self.last_reader.get(slot, 0) > row.index}
        return x

    def fuse(self) -> "DetectionModel":
        """Re-parameterise every row for inference, in place."""
        fuse_submodules(self.model)
        return self


Model = DetectionModel


def _probe(module: nn.Module, row: Row, outputs: Mapping[int, Tensor]) -> Tensor:
    """Return the output of one row. Raises: ConfigError when its inputs do not fit together."""
    try:
        return module(row.pick(outputs))
    except REFUSALS as error:
        shapes = [tuple(outputs[slot].shape[1:]) for slot in row.sources]
        reason = str(error).splitlines()[0]
        what = f"{row.name} does not fit maps of (channels, height, width) {shapes}: {reason}"
        raise ConfigError(what, "correct its arguments or 'from'; maps that are joined have one size") from error
