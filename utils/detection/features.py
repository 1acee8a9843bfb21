"""What the rows of a model make of an image: kept while it runs, and written as pictures and arrays."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from utils.checkpoint.facts import Backend
from utils.data.sources import Frame
from utils.detection.found import Detections, Maps
from utils.detection.names import OutputNames
from utils.errors import ConfigError
from utils.plots.image_file import write_image
from utils.runs import atomic_write, make_writable

CHANNELS = 32  # of a map that its picture shows; the array has all
COLUMNS = 8
LEAST = 48  # pixels of the side of a channel in the picture


class FeatureMaps:
    """Keeps the output of every row but the head, which it calls ``0_Conv``, or ``0_P3`` for a level of a backbone."""

    def __init__(self, backend: Backend) -> None:
        """Watch the model of a backend, from now on. Raises: ConfigError where its rows cannot be seen."""
        model = getattr(backend, "model", None)
        if model is None:
            raise ConfigError("--visualize: an exported file does not show what its rows make", "give a .pt file")
        self._maps: dict[str, Tensor] = {}
        for index, row in enumerate(model.model[:-1]):
            row.register_forward_hook(self._keeper(index))

    def _keeper(self, index: int) -> Any:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._maps[f"{index}_{type(module).__name__}"] = _copy(output)
                return
            reductions = getattr(module, "reductions", range(len(output)))
            for reduction, level in zip(reductions, output, strict=False):
                self._maps[f"{index}_stride{reduction}"] = _copy(level)

        return keep

    def take(self, count: int) -> list[Maps]:
        """Return the maps of each of the ``count`` images that the model has run on, and forget them."""
        maps, self._maps = self._maps, {}
        return [
            {name: batch[image].numpy() for name, batch in maps.items() if batch.ndim == 4} for image in range(count)
        ]


def _copy(output: Tensor) -> Tensor:
    """Later rows may work in place."""
    return output.detach().to("cpu", torch.float32, copy=True)


class FeatureWriter:
    """A folder for each image, with a picture of up to 32 channels and the whole array of each row."""

    def __init__(self, folder: Path, outputs: OutputNames) -> None:
        self.folder, self.outputs = folder, outputs

    def write(self, frame: Frame, detections: Detections) -> None:
        """Raises: StorageError."""
        folder = self.folder / self.outputs.of(frame)
        self.folder.mkdir(exist_ok=True)
        make_writable(folder)
        for name, array in (detections.maps or {}).items():
            stem = f"row{re.sub(r'[^0-9A-Za-z_]', '_', name)}"
            write_image(folder / f"{stem}.png", map_picture(array))
            with atomic_write(folder / f"{stem}.npy", sync=False) as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    def close(self) -> None:
        """Every file is already complete."""


def map_picture(array: np.ndarray) -> np.ndarray:
    """Return the first channels of a map (C, h, w) side by side, RGB, each from its least value to its largest."""
    shown = np.nan_to_num(array[:CHANNELS])
    scale = max(1, -(-LEAST // max(shown.shape[1:])))
    tiles = []
    for channel in shown:
        low, high = channel.min(), channel.max()
        gray = np.rint((channel - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
        large = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        tiles.append(
            cv2.copyMakeBorder(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        )
    columns = min(COLUMNS, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return cv2.cvtColor(np.vstack(rows), cv2.COLOR_BGR2RGB)
