"""The augmentation values of a hyper-parameter file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from utils.data.mosaic.transforms._contract import transform_keys
from utils.errors import ConfigError


@dataclass(frozen=True)
class AugmentConfig:
    """How far images are varied; the defaults switch everything off."""

    degrees: float = 0.0  # ± rotation
    translate: float = 0.0  # ± share of the picture
    scale: float = 0.0  # ± gain
    shear: float = 0.0  # ± degrees
    perspective: float = 0.0  # ±, 0–0.001
    flipud: float = 0.0  # probability, like the next four
    fliplr: float = 0.0
    mosaic: float = 0.0
    mixup: float = 0.0  # given a mosaic
    copy_paste: float = 0.0  # share of the outlined objects
    hsv_h: float = 0.0  # ± share, like the next two
    hsv_s: float = 0.0
    hsv_v: float = 0.0
    extra: Mapping[str, float] = field(default_factory=dict)  # of transforms that have keys of their own

    @classmethod
    def from_hyp(cls, hyp: Mapping[str, float]) -> "AugmentConfig":
        """Take from a hyper-parameter file what concerns augmentation. Raises: ConfigError when a key is missing."""
        names = [item.name for item in fields(cls) if item.name != "extra"]
        missing = [name for name in names if name not in hyp]
        if missing:
            raise ConfigError(f"hyper-parameter {missing[0]!r} is missing", "add it; 0 switches it off")
        extra = {key: hyp[key] for key in transform_keys() if key in hyp and key not in names}
        return cls(**{name: hyp[name] for name in names}, extra=extra)

    @property
    def transform_values(self) -> dict[str, float]:
        """All values by key, for the transforms that look for theirs."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "extra"} | dict(self.extra)
