"""What the pixels of a data set are: how many channels, of how many bits, and how they change from one to another.

Images are arrays (H, W, C) of uint8 or uint16, whose largest value stands for 1. A value of 8 bits becomes one of 16 by
a factor of 257, which means the same part of 1.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MAX_CHANNELS = 16
BITS = (8, 16)
BYTE = 257  # 65535 / 255
GROUP = 4  # channels that all functions of OpenCV take


@dataclass(frozen=True)
class PixelFormat:
    """``channels``: 3 are RGB, 1 is grey. ``bits``: of files with more, the upper ones are used."""

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def bytes_per_pixel(self) -> int:
        return self.channels * self.bits // 8

    @property
    def has_arrays(self) -> bool:
        """Whether .npy files are images; beside those of RGB sets YOLOv5 leaves its caches in such files."""
        return self.channels != 3

    def __str__(self) -> str:
        return f"{self.channels} × {self.bits} bits"


RGB = PixelFormat()


def with_bits(image: np.ndarray, bits: int) -> np.ndarray:
    """Return values of uint8 or uint16 as those of ``bits``."""
    if image.dtype.itemsize * 8 == bits:
        return image
    return image.astype(np.uint16) * BYTE if bits == 16 else (image >> 8).astype(np.uint8)


def to_colors(image: np.ndarray, channels: int) -> np.ndarray:
    """Return grey or RGB (H, W, C), whose further channels are transparency, as RGB or, for 1 of ``channels``, grey."""
    colors = np.ascontiguousarray(image[..., : 3 if image.shape[2] >= 3 else 1])
    if colors.shape[2] == channels:
        return colors
    return np.repeat(colors, 3, axis=2) if channels == 3 else cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)[..., None]


def frame_pixels(image: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Return a frame (H, W, 3) BGR uint8 of a video as ``pixels``, of one or three channels."""
    if pixels.channels == 1:
        return with_bits(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], pixels.bits)
    return with_bits(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), pixels.bits)


def as_picture(image: np.ndarray) -> np.ndarray:
    """Return (H, W, C) as a picture for people, (H, W, 3) uint8: the first three channels, or the first one in grey.

    Values of 16 bits are stretched from the smallest to the largest, as sensors often use a small part of the range.
    """
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return image
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    if shown.dtype != np.uint8:
        low, high = int(shown.min()), int(shown.max())
        shown = np.rint((shown.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def resize(image: np.ndarray, size: tuple[int, int], interpolation: int, dst: np.ndarray | None = None) -> np.ndarray:
    """Return (H, W, C) at ``size`` (width, height), written into ``dst`` if given."""
    channels = image.shape[2]
    if channels <= GROUP or interpolation != cv2.INTER_AREA:
        resized = cv2.resize(image, size, dst=dst, interpolation=interpolation)
        return resized if resized.ndim == 3 else resized[..., None]  # OpenCV drops an axis of one channel
    result = np.empty((size[1], size[0], channels), image.dtype) if dst is None else dst
    for first in range(0, channels, GROUP):
        part = np.ascontiguousarray(image[..., first : first + GROUP])
        result[..., first : first + GROUP] = resize(part, size, interpolation)
    return result
