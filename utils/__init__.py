"""``from utils import load``: a trained detector for your own program (see docs/python.md)."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from utils.hub.detector import load  # here, because PyTorch takes seconds to import and every module passes by

    return load
