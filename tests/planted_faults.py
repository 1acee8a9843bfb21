"""A small data set of drawn shapes with one fault of each kind, and what has to be found."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from utils.data.shapes.dataset import draw_picture
from utils.data.shapes.scene import CLASSES

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [{}]\n"


@cache
def drawn(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of a drawn picture, which are only read."""
    return draw_picture(split, index)


class Planted:
    """A folder with images and labels; ``faults`` are (check, end of the place) that must be found."""

    def __init__(self, root: Path, counts: dict[str, int]) -> None:
        self.root, self.faults = root, []
        self.yaml = root / "data.yaml"
        self.rows = {}
        for split, count in counts.items():
            for folder in ("images", "labels"):
                (root / folder / split).mkdir(parents=True)
            for index in range(count):
                image, rows = drawn(split, index)
                self.add(split, f"{index:03d}", image, rows)
        self.yaml.write_text(YAML.format(", ".join(CLASSES)))

    def image(self, split: str, name: str) -> Path:
        return self.root / "images" / split / f"{name}.jpg"

    def label(self, split: str, name: str) -> Path:
        return self.root / "labels" / split / f"{name}.txt"

    def add(self, split: str, name: str, image: np.ndarray, rows: np.ndarray, *options: int) -> None:
        self.image(split, name).write_bytes(cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes())
        self.write(split, name, rows)

    def write(self, split: str, name: str, rows: np.ndarray) -> None:
        self.rows[split, name] = np.array(rows, float)
        lines = [f"{row[0]:.0f} {' '.join(f'{value:.6f}' for value in row[1:])}\n" for row in rows]
        self.label(split, name).write_text("".join(lines))

    def append(self, split: str, name: str, text: str) -> int:
        """Add a row to a label file and return its line."""
        file = self.label(split, name)
        file.write_text(file.read_text() + text + "\n")
        return len(file.read_text().splitlines())

    def plant(self, check: str, place: str) -> None:
        self.faults.append((check, place))


def with_exif(data: bytes, orientation: int) -> bytes:
    """Return a JPEG with an EXIF block that gives this orientation."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes(
        [0, orientation, 0, 0, 0, 0, 0, 0]
    )
    block = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


def plant_all(root: Path) -> Planted:
    """Return a set with a fault of every kind that one set can have."""
    data = Planted(root, {"train": 70, "val": 20})
    _plant_files(data)
    _plant_pictures(data)
    _plant_copies(data)
    _plant_boxes(data)
    return data


def _plant_files(data: Planted) -> None:
    whole = data.image("train", "000").read_bytes()
    data.image("train", "000").write_bytes(whole[: len(whole) // 2])
    data.plant("unusable-pictures", "images/train/000.jpg")
    data.image("train", "001").write_text("<html>404 not found</html>")
    data.plant("unusable-pictures", "images/train/001.jpg")
    data.plant("bad-rows", f"labels/train/002.txt:{data.append('train', '002', '0 160 120 30 40')}")
    data.plant("bad-rows", f"labels/train/003.txt:{data.append('train', '003', '0 0.5 0.5 0.1')}")
    data.plant("repaired-rows", f"labels/train/004.txt:{data.append('train', '004', '0 0.5 0.5 0.1 1.0004')}")
    again = data.label("train", "005").read_text().splitlines()[0]
    data.plant("repaired-rows", f"labels/train/005.txt:{data.append('train', '005', again)}")
    data.plant("wrong-classes", f"labels/train/006.txt:{data.append('train', '006', '6 0.5 0.5 0.1 0.1')}")
    data.label("train", "nobody").write_text("0 0.5 0.5 0.1 0.1\n")
    data.plant("orphan-labels", "labels/train/nobody.txt")
    data.label("train", "007").unlink()
    data.plant("unlabelled-pictures", "images/train/007.jpg")
    image, _ = draw_picture("train", 900)
    cv2.imwrite(str(data.root / "images/train/008.png"), image)
    data.plant("shared-labels", "images/train/008.png")


def _plant_pictures(data: Planted) -> None:
    def replace(name: str, change) -> None:
        path = data.image("train", name)
        cv2.imwrite(str(path), change(cv2.imread(str(path))))

    replace("010", lambda image: np.full_like(image, 90))
    data.plant("one-colour", "images/train/010.jpg")
    replace("011", lambda image: np.full_like(image, 1) * np.linspace(0, 14, image.shape[1])[:, None].astype(np.uint8))
    data.plant("dark-or-bright", "images/train/011.jpg")
    whole = data.image("train", "012").read_bytes()
    data.image("train", "012").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    data.plant("lost-data", "images/train/012.jpg")
    for name, convert in (
        ("013", lambda image: np.dstack((image, np.full(image.shape[:2], 200, np.uint8)))),
        ("014", lambda image: image[..., 0].astype(np.uint16) * 256),
    ):
        image = cv2.imread(str(data.image("train", name)))
        data.image("train", name).unlink()
        cv2.imwrite(str(data.image("train", name).with_suffix(".png")), convert(image))
        data.plant("kinds-of-pixels", f"images/train/{name}.png")
    replace("015", lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    data.plant("kinds-of-pixels", "images/train/015.jpg")
    replace("016", lambda image: cv2.resize(image, (48, 36)))
    data.plant("odd-sizes", "images/train/016.jpg")
    data.image("train", "017").write_bytes(with_exif(data.image("train", "017").read_bytes(), 3))
    data.plant("turned-by-exif", "images/train/017.jpg")


def _plant_copies(data: Planted) -> None:
    image, rows = draw_picture("train", 20)
    data.image("val", "same").write_bytes(data.image("train", "020").read_bytes())
    data.write("val", "same", rows)
    data.plant("leaks", "images/val/same.jpg")
    image, rows = draw_picture("train", 21)
    smaller = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    data.add("val", "alike", np.clip(smaller * 0.9 + 12, 0, 255).astype(np.uint8), rows, cv2.IMWRITE_JPEG_QUALITY, 50)
    data.plant("leaks", "images/val/alike.jpg")
    data.image("train", "copy").write_bytes(data.image("train", "022").read_bytes())
    data.write("train", "copy", data.rows["train", "022"][:0])
    data.plant("repeated-pictures", "images/train/copy.jpg")
    data.plant("labelled-differently", "labels/train/copy.txt")
    data.write("train", "024", data.rows["train", "023"])
    data.plant("equal-label-files", "labels/train/024.txt")
    for name in ("025", "026", "027", "028"):
        line = data.append("train", name, "1 0.912345 0.087655 0.1 0.1")
        data.plant("repeated-boxes", f"labels/train/{name}.txt:{line}")


def _plant_boxes(data: Planted) -> None:
    for name, check, row in (
        ("030", "tiny-boxes", "0 0.5 0.5 0.002 0.002"),
        ("031", "long-boxes", "0 0.5 0.5 0.9 0.02"),
        ("032", "whole-picture", "0 0.5 0.5 1 1"),
        ("033", "outside", "0 0.05 0.5 0.3 0.1"),
    ):
        data.plant(check, f"labels/train/{name}.txt:{data.append('train', name, row)}")
    class_id, *box = data.rows["train", "034"][0]
    again = f"{class_id:.0f} {box[0] + 0.001:.6f} {box[1]:.6f} {box[2]:.6f} {box[3]:.6f}"
    data.plant("doubled", f"labels/train/034.txt:{data.append('train', '034', again)}")
    class_id, *box = data.rows["train", "035"][0]
    other = f"{(class_id + 1) % 6:.0f} {' '.join(f'{value:.6f}' for value in box)}"
    data.plant("two-classes", f"labels/train/035.txt:{data.append('train', '035', other)}")
    for split, names in (("val", [name for kind, name in data.rows if kind == "val"]),):
        for name in names:  # no ring in val
            rows = data.rows[split, name]
            data.write(split, name, rows[rows[:, 0] != CLASSES.index("ring")])
    data.plant("missing-classes", "data.yaml")
