"""YOLO's label files as annotations: a ``.txt`` for each image, see ``label_file``."""

from collections.abc import Sequence

from utils.data.image.read import open_regular, why
from utils.data.scan.annotations import Outcome
from utils.data.scan.label_file import parse_labels
from utils.data.scan.scan_result import Problem


class YoloAnnotations:
    """The label files of images; an image without one is a background."""

    def __init__(self, images: Sequence[str], label_files: Sequence[str], nc: int) -> None:
        self.images, self.files, self.nc = images, label_files, nc
        self.facts = str(nc)
        self.problems: list[Problem] = []

    def reader(self) -> "YoloAnnotations":
        return self

    def __call__(self, index: int, shape: tuple[int, int]) -> Outcome:
        label_file = self.files[index]
        try:
            with open_regular(label_file) as file:
                text = file.read().decode("utf-8-sig")
        except FileNotFoundError:
            return Outcome(shape)
        except OSError as error:  # without its labels the image would teach that nothing is there
            return Outcome(problems=[Problem(label_file, 0, why(error))])
        except UnicodeDecodeError:
            return Outcome(problems=[Problem(label_file, 0, "not UTF-8 text")])
        rows = parse_labels(text, self.nc, shape)
        return Outcome(
            shape,
            rows,
            has_file=True,
            problems=[Problem(label_file, *problem) for problem in rows.bad_rows],
            bad_classes=[Problem(label_file, *problem) for problem in rows.bad_classes],
        )
