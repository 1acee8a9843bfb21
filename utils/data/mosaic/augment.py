"""The augmentation values of a hyper-parameter file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from utils.data.mosaic.transforms._contract import transform_keys
from utils.data.mosaic.transforms._listed import LIST, REPLACED
from utils.hyper import hyper, hyper_fields, take


@dataclass(frozen=True)
class AugmentConfig:
    """How far images are varied; the defaults switch everything off."""

    hsv_h: float = hyper(0.0, 0, 1)  # ± share, like the next two
    hsv_s: float = hyper(0.0, 0, 1)
    hsv_v: float = hyper(0.0, 0, 1)
    degrees: float = hyper(0.0, 0, 180)  # ± rotation
    translate: float = hyper(0.0, 0, 1)  # ± share of the picture
    scale: float = hyper(0.0, 0, 0.99)  # ± gain
    shear: float = hyper(0.0, 0, 89)  # ± degrees
    perspective: float = hyper(0.0, 0, 0.01)  # ±, 0–0.001
    flipud: float = hyper(0.0, 0, 1)  # probability, like the next four
    fliplr: float = hyper(0.0, 0, 1)
    mosaic: float = hyper(0.0, 0, 1)
    mixup: float = hyper(0.0, 0, 1)  # given a mosaic
    copy_paste: float = hyper(0.0, 0, 1)  # share of the outlined objects
    mosaic9: float = hyper(0.0, 0, 1, optional=True)  # share of the mosaics that have nine images
    mosaic_pool: float = hyper(2, 1, 4, optional=True)  # images read per image of a batch of mosaics (tiles.partners)
    close_mosaic: float = hyper(0, 0, math.inf, optional=True)  # last epochs without mosaic, mixup and copy_paste
    # of the whole run, of which ``close_mosaic`` counts back; None: mosaics in all; a shared scalar where it may change
    epochs: int | Tensor | None = None
    extra: Mapping[str, float] = field(default_factory=dict)  # of transforms that have keys of their own
    transforms: Sequence[Any] | None = None  # of finished pictures, in place of all values of ``REPLACED``; None: none

    @classmethod
    def from_hyp(cls, hyp: Mapping[str, Any], epochs: int | Tensor | None = None) -> "AugmentConfig":
        """Take from a hyper-parameter file what concerns augmentation. Raises: ConfigError when a key is missing."""
        own, listed = hyper_fields(cls), hyp.get(LIST)
        if listed is not None:
            hyp = {**hyp, **dict.fromkeys(REPLACED, 0.0)}
        extra = {key: hyp[key] for key in transform_keys() if key in hyp and key not in own}
        return take(cls, hyp, epochs=epochs, extra=extra, transforms=listed)

    def at(self, epoch: int) -> "AugmentConfig":
        """Return the values for an epoch: the last ones may be without mosaics."""
        if self.epochs is None or epoch < self.epochs - self.close_mosaic:
            return self
        return self.without_mosaics()

    def without_mosaics(self) -> "AugmentConfig":
        """Return the values for single images: no mosaic, and nothing of what mosaics alone have."""
        return replace(self, mosaic=0.0, mixup=0.0, copy_paste=0.0)

    def idle(self, has_outlines: bool) -> list[str]:
        """Return sentences on values that change nothing; ``has_outlines``: some label is a polygon."""
        said = []
        in_mosaics = [key for key in ("mixup", "copy_paste") if getattr(self, key)]
        if in_mosaics and not self.mosaic:
            said.append(f"{' and '.join(in_mosaics)}: only in mosaics, and mosaic is 0")
        elif self.copy_paste and not has_outlines:
            said.append("copy_paste: no label is a polygon, so nothing is copied")
        if self.mosaic and isinstance(self.epochs, int) and self.epochs <= self.close_mosaic:
            said.append(f"close_mosaic {self.close_mosaic:g}: none of the {self.epochs} epochs has mosaics")
        return said

    @property
    def transform_values(self) -> dict[str, float]:
        """All values by key, for the transforms that look for theirs."""
        return {name: getattr(self, name) for name in hyper_fields(type(self))} | dict(self.extra)
