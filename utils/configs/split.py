"""The flags of ``python -m utils.dataset.split``."""

from dataclasses import dataclass

from utils.config import option
from utils.configs.shared import SEED, SHARE


@dataclass(frozen=True)
class SplitConfig:
    """Every flag of ``python -m utils.dataset.split``."""

    data: str = option("", help="data-set YAML, or the folder that holds it, whose images are shared out anew")
    out: str = option("", help="folder of the lists and the new data-set YAML; it must be new or empty")
    val: float | None = option(None, help="share of the images to validate on; without it 0.2", **SHARE)
    test: float = option(0.0, help="share of the images for a last test; without it test stays as it is", **SHARE)
    kfold: int | None = option(None, help="number of parts that take turns as validation images", low=2)
    group: str = option(
        "",
        help="regular expression: images stay together where what it finds in their path, or its (groups), is the same",
    )
    leak: bool = option(False, help="let pictures that look alike lie in different parts, instead of together")
    seed: int = option(0, **SEED)
