"""How much memory a step of this process takes, and how much there still is."""

import re
from contextlib import suppress
from pathlib import Path

import torch

from utils.data.image_store import available_memory
from utils.device import memory_gb

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Bytes on the GPU, or without a GPU resident bytes of this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._on_gpu = device.type == "cuda"

    def reset(self) -> None:
        """Let the peak be that of what comes; where the system cannot do this, it remains that of the whole process."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):
                CLEAR.write_text("5")  # of Linux: forget the peak

    def peak(self) -> int:
        """Return the most bytes in use since ``reset``."""
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self.device)
        return _status("VmHWM") or int(memory_gb(self.device) * 1e9)

    def now(self) -> int:
        """Return the bytes in use."""
        if self._on_gpu:
            return torch.cuda.memory_allocated(self.device)
        return _status("VmRSS") or int(memory_gb(self.device) * 1e9)

    def free(self) -> int | None:
        """Return the bytes that may still be taken, in a container its own; None where the system does not say."""
        if self._on_gpu:
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return torch.cuda.mem_get_info(self.device)[0] + cached
        return available_memory()


def _status(key: str) -> int:
    """Return a line of Linux's account of this process, in bytes; 0 elsewhere."""
    found = re.search(rf"^{key}:\s*(\d+) kB", STATUS.read_text() if STATUS.exists() else "", re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class Growth:
    """Foretells the peak of a batch from those of the last two sizes, on the line through them."""

    SPARE = 1.25  # a batch is tried when it would fit this many times

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []

    def add(self, batch: int, peak: int) -> None:
        self._points.append((batch, peak))

    def foretell(self, batch: int) -> int:
        """Return the peak to be expected; 0 before there are two points."""
        if len(self._points) < 2:
            return 0
        (before, low), (last, high) = self._points[-2:]
        return high + (batch - last) * max(high - low, 0) // (last - before)

    def refusal(self, batch: int, now: int, free: int | None) -> str:
        """Say why ``batch`` is not to be tried, nothing if it is."""
        need = max(self.foretell(batch) - now, 0)
        if free is None or need * self.SPARE <= free:
            return ""
        return f"would need about {need / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free"
