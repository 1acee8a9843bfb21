"""Compare a training step of EMO with the paper's formulation of its blocks, written with einops.

OMP_NUM_THREADS=2 python tools/bench_emo.py
"""

import logging
import time
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.emo import EMO, InvertedResidual, LayerNorm2d, emo_1m

SIZE, BATCH, ROUNDS = 320, 16, 7

log = logging.getLogger(__name__)


class PlainLayerNorm(nn.Module):
    """Layer norm over the channels, between two contiguous copies."""

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        self.norm = norm.norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(rearrange(x, "b c h w -> b h w c").contiguous())
        return rearrange(x, "b h w c -> b c h w").contiguous()


class PlainBlock(nn.Module):
    """The block as the paper draws it: queries, keys, values and expansion inside the windows."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.norm = PlainLayerNorm(block.norm) if isinstance(block.norm, LayerNorm2d) else block.norm
        self.qk, self.v, self.conv_local, self.proj = block.qk, block.v, block.conv_local, block.proj
        self.drop_path, self.skip = block.drop_path, block.skip

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(x)
        expanded = self.v(t) if isinstance(self.qk, nn.Identity) else self._attend(t)
        local = self.conv_local(expanded)
        return x + self.drop_path(self.proj(local + expanded)) if self.skip else self.proj(local)

    def _attend(self, t: Tensor) -> Tensor:
        height, width = t.shape[2:]
        side, heads = self.qk.window, self.qk.heads
        t = F.pad(t, (0, -width % side, 0, -height % side))
        a, b = t.shape[2] // side, t.shape[3] // side
        t = rearrange(t, "n c (p a) (q b) -> (n a b) c p q", a=a, b=b).contiguous()
        qk = rearrange(self.qk.conv(t), "m (two k d) p q -> two m k (p q) d", two=2, k=heads)
        value = rearrange(t, "m (k d) p q -> m k (p q) d", k=heads)
        weights = (qk[0] @ qk[1].transpose(-2, -1) * self.qk.scale).softmax(-1)
        t = rearrange(weights @ value, "m k (p q) d -> m (k d) p q", p=side, q=side).contiguous()
        t = rearrange(self.v(t), "(n a b) c p q -> n c (p a) (q b)", a=a, b=b).contiguous()
        return t[:, :, :height, :width].contiguous()


def plain(net: EMO) -> EMO:
    """Replace, in place, the blocks and the final norm by their plain forms, which share the parameters."""
    for index in range(1, 5):
        stage = net.get_submodule(f"stage{index}")
        for position, block in enumerate(stage):
            stage[position] = PlainBlock(block)
    net.norm = PlainLayerNorm(net.norm)
    return net


def training_step(net: EMO, images: Tensor, amp: bool) -> Callable[[], None]:
    """Return a function that runs forward and backward over all maps once."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            maps = net(images)
        sum(m.float().square().mean() for m in maps).backward()
        net.zero_grad()

    return step


def interleaved(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the shortest time of each step in seconds; the rounds go around all of them."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    images = torch.rand(BATCH, 3, SIZE, SIZE)
    last = images.contiguous(memory_format=torch.channels_last)
    ours = emo_1m().to(memory_format=torch.channels_last)
    best = interleaved(
        {
            "plain, float32, contiguous": training_step(plain(emo_1m()), images, amp=False),
            "plain, float32, channels_last": training_step(
                plain(emo_1m()).to(memory_format=torch.channels_last), last, amp=False
            ),
            "ours, float32, channels_last": training_step(ours, last, amp=False),
            "ours, bfloat16, channels_last": training_step(ours, last, amp=True),
        }
    )
    threads = torch.get_num_threads()
    log.info("emo_1m, training step at %d, batch %d, %d threads, shortest of %d", SIZE, BATCH, threads, ROUNDS)
    slowest = best["plain, float32, contiguous"]
    for name, seconds in best.items():
        log.info("%-32s%8.0f ms %6.2f ×", name, seconds * 1e3, slowest / seconds)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
