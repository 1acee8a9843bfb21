"""Models by name for ``torch.hub.load``, as YOLOv5's hub has them; for your own program, see docs/python.md.

model = torch.hub.load("path/to/this/clone", "custom", path="best.pt", source="local")
model = torch.hub.load("path/to/this/clone", "yolov5s", pretrained=False, classes=10, source="local")

``yolov5s`` stands for the name of any model that a file in models/ or models/hub describes, such as ``yolov8n``.
``custom``, and the official names with their own 80 classes, return a detector that takes images of any kind
(``utils.load``); otherwise it is the bare model, to train.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

dependencies = ["cv2", "numpy", "torch", "torchvision", "yaml"]

ROOT = Path(__file__).resolve().parent
OFFICIAL_CLASSES = 80  # of COCO


def custom(path: str, autoshape: bool = True, _verbose: bool = True, device: Any = None) -> Any:
    """Return the detector of a weights file; without ``autoshape`` the bare model of a checkpoint, which takes tensors.

    That is not fused: it can be trained.
    ``_verbose`` changes nothing: what there is to say goes to Python's logging, which is the program's own.
    """
    _check_packages()
    from utils.backends.choose import CHECKPOINTS
    from utils.checkpoint.load import load_model
    from utils.device import select_device
    from utils.hub.detector import load

    device = "" if device is None else str(device)
    if autoshape or not str(path).lower().endswith(CHECKPOINTS):
        return load(path, device=device)
    return load_model(path).to(select_device(device))


def _create(
    name: str,
    pretrained: bool = True,
    channels: int = 3,
    classes: int = OFFICIAL_CLASSES,
    autoshape: bool = True,
    _verbose: bool = True,
    device: Any = None,
) -> Any:
    """Return the model of a YAML; ``pretrained`` takes what fits of ``name.pt``, in the working folder or the clone."""
    _check_packages()
    if pretrained and (channels, classes) == (3, OFFICIAL_CLASSES):
        return custom(_weights(name), autoshape, _verbose, device)
    from models.detector import DetectionModel
    from utils.checkpoint.load import load_checkpoint
    from utils.checkpoint.transfer import fitted_keys, transfer
    from utils.device import select_device

    model = DetectionModel(_models()[name], ch=channels, nc=classes)
    if pretrained:
        transfer(model, load_checkpoint(_weights(name)).state, exclude=fitted_keys(model))
    return model.to(select_device(str(device or "")))


def _weights(name: str) -> str:
    from utils.checkpoint.container import official_url
    from utils.errors import CheckpointError

    found = next((path for path in (Path(f"{name}.pt"), ROOT / f"{name}.pt") if path.is_file()), None)
    if found is None:
        url = official_url(f"{name}.pt")
        fix = f"get it from {url}" if url else "give pretrained=False"
        raise CheckpointError(f"{name}.pt: no such file in {Path.cwd()} or {ROOT}", fix)
    return str(found)


def _models() -> dict[str, Path]:
    """Return the path that each name stands for; where a file has several sizes, that path with a letter in it."""
    _check_packages()
    from models.scales import model_names

    sizes = {name: path.with_name(f"{name}.yaml") for name, path in model_names()}
    return {path.stem: path for path in sorted((ROOT / "models").glob("**/yolo*.yaml"))} | sizes


def _check_packages() -> None:
    """Raises: ImportError where the program has packages of the same names as ours, which would be taken for them."""
    for name in ("models", "utils"):
        package = sys.modules.get(name)
        places = [Path(place).resolve().parent for place in getattr(package, "__path__", [])]
        if package is not None and ROOT not in places:
            raise ImportError(
                f"this program has a package {name!r} of its own ({places}); run the detector in a process apart"
            )


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and name in _models():
        return partial(_create, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_models()]
