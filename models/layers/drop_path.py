"""Stochastic depth.

Paper: Deep Networks with Stochastic Depth, https://arxiv.org/abs/1603.09382
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero a residual branch (B, …) for a share ``rate`` of the samples in training; the others are scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"
