"""Draw docs/detections.jpg, the first picture of the README: what a trained model finds in the embedded data set.

python -m tools.readme_picture WEIGHTS     # such as the best.pt of make train
"""

import sys
from pathlib import Path

import cv2

from utils import load
from utils.data.image.read import image_shape
from utils.data.scan.discovery import label_path
from utils.data.shapes.dataset import draw_shapes_dataset
from utils.plots.image_file import write_image
from utils.runs import ROOT

SHAPE, ROWS, COLUMNS = (288, 384), 2, 4  # the pictures have several shapes; those of one that show objects are tiled
SCALE, QUALITY = 2 / 3, 85


def main(weights: str) -> None:
    draw_shapes_dataset(ROOT / "datasets/shapes")
    pictures = sorted((ROOT / "datasets/shapes/images/val").glob("*.jpg"))
    fitting = [path for path in pictures if image_shape(path) == SHAPE and Path(label_path(str(path))).stat().st_size]
    drawn = load(weights)(fitting[: ROWS * COLUMNS]).render()
    rows = [cv2.hconcat(drawn[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    tiled = cv2.resize(cv2.vconcat(rows), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    write_image(ROOT / "docs/detections.jpg", tiled, quality=QUALITY)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
