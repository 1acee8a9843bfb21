"""A data set of a few drawn pictures and a narrow model for it, for tests of commands."""

from pathlib import Path

from utils.data.shapes.dataset import draw_picture
from utils.data.shapes.scene import CLASSES
from utils.plots.image_file import write_image
from utils.runs import ROOT
from utils.yaml_file import read_yaml, write_yaml


def write_pictures(root: Path, **counts: int) -> None:
    """Write into ``root`` so many pictures of each split, train and val, and ``pictures.yaml``, which names them."""
    for split, count in counts.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            image, labels = draw_picture(split, index)
            write_image(root / f"images/{split}/{index}.jpg", image)
            rows = "".join(f"{int(row[0])} {' '.join(map(str, row[1:]))}\n" for row in labels.tolist())
            (root / f"labels/{split}/{index}.txt").write_text(rows)
    write_yaml(root / "pictures.yaml", {"train": "images/train", "val": "images/val", "names": list(CLASSES)})


def write_narrow_model(root: Path) -> None:
    """Write ``narrow.yaml`` into ``root``: the rows of yolov5n with channels of a quarter of the width."""
    write_yaml(root / "narrow.yaml", read_yaml(ROOT / "models/yolov5n.yaml") | {"width_multiple": 0.0625})
