"""What the processes of one run tell each other. With one process all of it is the identity, so no caller asks."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from utils.dist import rank, world

T = TypeVar("T")

PATIENCE = timedelta(hours=3)  # a first scan of a large data set may take long; a process that ends is noticed at once
FAILURES = "failures"  # a counter of the store
_apart = False


def join(device: torch.device) -> None:
    """Meet the other processes. Tensors on the CPU travel by Gloo, those on GPUs by NCCL."""
    if world() > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)  # objects are gathered there
        if device.type == "cuda":
            torch.cuda.set_device(device)  # objects are gathered there
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, device_id=device if device.type == "cuda" else None)


def leave() -> None:
    """Part from them."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_shared() -> bool:
    """Return whether there are others to talk to."""
    return dist.is_initialized() and not _apart


@contextmanager
def apart() -> Iterator[None]:
    """Let this process do something by itself that would otherwise be done together, as a loss in validation."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def total(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes, without a gradient."""
    if not is_shared():
        return tensor
    summed = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def mean(tensor: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes, without a gradient."""
    return total(tensor) / world() if is_shared() else tensor


def mean_count(count: int) -> float:
    """Return the mean over all processes of a number; with one process the number itself."""
    return float(mean(torch.tensor(float(count)))) if is_shared() else count


def largest(number: int) -> int:
    """Return the largest of what all processes have."""
    if not is_shared():
        return number
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def gather(value: T) -> list[T]:
    """Return what each process has, plain data, by rank."""
    if not is_shared():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def of_first(value: T) -> T:
    """Return what process 0 has, plain data."""
    if not is_shared():
        return value
    values = [value]
    dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def copy_from_first(tensors: list[torch.Tensor]) -> None:
    """Overwrite tensors with those of process 0, in place."""
    for tensor in tensors if is_shared() else ():
        copied = tensor.contiguous()
        dist.broadcast(copied, 0)
        tensor.copy_(copied)


@contextmanager
def first_goes_first() -> Iterator[None]:
    """Let process 0 do something alone, then the others, which find its caches."""
    if is_shared() and rank() > 0:
        of_first(None)
    yield
    if is_shared() and rank() == 0:
        of_first(None)


def fails_first() -> bool:
    """Return whether this process is the first of the run that fails: it speaks, as the others fail because of it."""
    if not is_shared():
        return rank() == 0  # before they have met, all fail for the same reason
    with suppress(Exception):  # the store has ended with its process, which has spoken
        return dist.distributed_c10d._get_default_store().add(FAILURES, 1) == 1
    return False
