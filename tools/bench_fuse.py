"""Compare backbones before and after ``fuse()`` at 640×640 on the CPU, in interleaved runs.

python -m tools.bench_fuse [NAME …]
"""

import copy
import logging
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from models.backbones import resolve_backbone

log = logging.getLogger(__name__)
ROUNDS = 15
BARS = {"repvgg_a0": 1.3, "repvit_m0_9": 1.2, "timm/mobileone_s0": 3.0}  # smallest acceptable ratio of the medians


def seconds(module: nn.Module, image: Tensor) -> float:
    """Return the wall time of one forward pass."""
    start = time.perf_counter()
    module(image)
    return time.perf_counter() - start


@torch.inference_mode()
def speed_up(plain: nn.Module, image: Tensor) -> tuple[float, float]:
    """Return the median seconds of ``plain`` and of its fused copy, measured in turns."""
    fused = copy.deepcopy(plain)
    fused.fuse()
    for module in (plain, fused):
        seconds(module, image)  # warm-up
    pairs = [(seconds(plain, image), seconds(fused, image)) for _ in range(ROUNDS)]
    before, after = zip(*pairs, strict=True)
    return statistics.median(before), statistics.median(after)


def main(names: list[str]) -> None:
    torch.set_num_threads(2)  # on one thread PyTorch leaves oneDNN for batch 1, which no user meets
    image = torch.rand(1, 3, 640, 640).to(memory_format=torch.channels_last)
    for name in names or BARS:
        plain = resolve_backbone(name)(reductions=(8, 16, 32)).eval().to(memory_format=torch.channels_last)
        before, after = speed_up(plain, image)
        bar = f", bar {BARS[name]:.1f}×" if name in BARS else ""
        log.info("%s: %.1f ms → %.1f ms, %.2f×%s", name, 1e3 * before, 1e3 * after, before / after, bar)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(sys.argv[1:])
