"""What a detector answers with: boxes and scores, whatever the order in which a head or a file lays them out."""

from dataclasses import dataclass

from torch import Tensor

BOX = 4  # centre x, centre y, width, height


@dataclass(frozen=True)
class Layout:
    """How the three axes of an output hold images, boxes and numbers.

    The name says it, as metadata of exported files carry it: ``BN5C`` is (B, N, 5 + nc) with an objectness before the
    class scores, YOLOv5's; ``B4CN`` is (B, 4 + nc, N) without, YOLOv8's. ``BN6`` is what is left after suppression:
    (B, N, 6) [x1, y1, x2, y2, confidence, class], best first, filled up with zeros.
    """

    name: str

    @property
    def channel_axis(self) -> int:
        """The axis of the numbers that describe one box."""
        return 2 if self.name.startswith("BN") else 1

    @property
    def box_axis(self) -> int:
        return 3 - self.channel_axis

    @property
    def has_objectness(self) -> bool:
        return "5" in self.name

    @property
    def is_suppressed(self) -> bool:
        return self.name == "BN6"

    def channels(self, nc: int) -> int:
        """Return how many numbers describe one box of ``nc`` classes."""
        if self.is_suppressed:
            return BOX + 2
        return BOX + self.has_objectness + nc

    def shape(self, batch: int | str, boxes: int | str, channels: int | str) -> tuple[int | str, ...]:
        """Return the three sizes in the order of the axes."""
        return (batch, boxes, channels) if self.channel_axis == 2 else (batch, channels, boxes)


BN5C, B4CN = Layout("BN5C"), Layout("B4CN")
LAYOUTS = {layout.name: layout for layout in (BN5C, B4CN)}  # of heads
BN6 = Layout("BN6")
EXPORTED_LAYOUTS = LAYOUTS | {BN6.name: BN6}  # of our files


@dataclass(frozen=True)
class Predictions:
    """The output of a detector with the layout that it has; the parts are views of it, none is copied."""

    output: Tensor
    layout: Layout

    @property
    def boxes(self) -> Tensor:
        """Return (B, N, 4): centre, width and height in pixels of the model's input; corners in ``BN6``."""
        return self._rows[..., :BOX]

    @property
    def objectness(self) -> Tensor | None:
        """Return (B, N) in 0–1, None in a layout without."""
        return self._rows[..., BOX] if self.layout.has_objectness else None

    @property
    def scores(self) -> Tensor:
        """Return (B, N, nc): class probabilities, those of YOLOv5 given that there is an object."""
        return self._rows[..., BOX + self.layout.has_objectness :]

    def pick(self, image: int, boxes: Tensor) -> "Predictions":
        """Return some ``boxes`` (n,) of one image, copied, float32: an output for one image."""
        rows = self._rows[image].index_select(0, boxes).float()
        return Predictions((rows if self.layout.channel_axis == 2 else rows.mT)[None], self.layout)

    def largest(self) -> tuple[float, float]:
        """Return the largest absolute values, of a difference say, among boxes and among the rest."""
        return float(self.boxes.abs().max()), float(self._rows[..., BOX:].abs().max())

    @property
    def _rows(self) -> Tensor:
        """View the output as (B, N, numbers of a box)."""
        return self.output if self.layout.channel_axis == 2 else self.output.mT
