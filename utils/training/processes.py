"""One training on several processes: the model they share, and what of the state is theirs together."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn import functional as differentiable
from torch.nn.parallel import DistributedDataParallel

from models.detector import DetectionModel
from utils.collective import is_shared, mean

LEAST_SIDE = 64  # pixels of the image that finds parameters without a gradient


def share_model(model: DetectionModel, device: torch.device, sync_bn: bool) -> nn.Module:
    """Return what trains the model: itself, or with several processes a wrapper that averages their gradients.

    ``sync_bn`` lets norms take mean and variance over the images of all processes, in place.
    """
    if not is_shared():
        return model
    has_unused = _has_unused(model)
    if sync_bn:
        synchronize_norms(model)
    index = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=index, find_unused_parameters=has_unused)


def without_exchange(network: nn.Module, is_last: bool) -> AbstractContextManager:
    """Return the context of a batch whose gradients wait for others of the same step, unless it ``is_last`` of them."""
    return network.no_sync() if is_shared() and not is_last else nullcontext()


def _has_unused(model: DetectionModel) -> bool:
    """Return whether some parameter gets no gradient; DistributedDataParallel would wait for it."""
    shape = model.fixed_size or (max(LEAST_SIDE, 2 * model.size_multiple),) * 2
    with torch.random.fork_rng(devices=[]):
        probe = copy.deepcopy(model).cpu().train()
        maps = probe(torch.zeros(2, model.yaml["ch"], *shape))
        sum(m.float().mean() for m in maps).backward()
    return any(p.requires_grad and p.grad is None for p in probe.parameters())


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes; PyTorch's SyncBatchNorm runs on GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        # two passes: the mean first, then the squares of what is left, so that nothing is cancelled out
        pixels = x.numel() // x.shape[1]
        count = differentiable.all_reduce(torch.tensor(float(pixels)))
        average = differentiable.all_reduce(x.float().sum((0, 2, 3))) / count
        centred = x.float() - average[:, None, None]
        variance = differentiable.all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            unbiased = variance * (count / (count - 1))
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronize_norms(model: nn.Module) -> None:
    """Make the batch norms of a model take the images of all processes, in place; names and parameters stay."""
    native = dist.get_backend() != "gloo"
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = nn.SyncBatchNorm if native else SharedBatchNorm2d
            module.process_group = None


def averaged(gradients: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return gradients that wait for their step as the mean over all processes, which their sum will come to."""
    return {name: mean(gradient) for name, gradient in gradients.items()}
