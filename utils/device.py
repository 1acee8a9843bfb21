"""Where and in which precision a model runs, and what of the machine it uses."""

import ctypes
import gc
import os
import platform
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from utils.dist import local_rank, local_world, world
from utils.errors import ConfigError

if sys.platform == "win32":
    import psutil
else:
    import resource


def select_device(name: str = "") -> torch.device:
    """Return the device called ``cpu``, ``mps``, ``cuda`` or ``0``; an empty name means a GPU, else the CPU.

    Of several names, and of the GPUs where none is named, a process takes the one of its number on this machine.

    Raises: ConfigError when it is not there.
    """
    names = [part.strip().lower().removeprefix("cuda:") for part in name.split(",")]
    if len(names) > 1 and world() == 1:
        raise ConfigError(f"--device {name}: only train.py uses several devices", "give one of them")
    if len(names) not in (1, local_world()):
        raise ConfigError(f"--device {name} for {local_world()} processes on this machine", "name one for each")
    name = names[local_rank() % len(names)]
    if not name:
        return torch.device(f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    index = "0" if name == "cuda" else name
    if index.isdigit() and int(index) < torch.cuda.device_count():
        return torch.device(f"cuda:{index}")
    apple = ["mps"] if torch.backends.mps.is_available() else []
    found = ", ".join(["cpu", *apple, *(str(i) for i in range(torch.cuda.device_count()))])
    raise ConfigError(f"--device {name!r} is not on this machine", f"choose one of: {found}")


def autocast_dtype(device: torch.device, amp: bool) -> torch.dtype | None:
    """Return bfloat16 where the hardware computes in it, float16 on other GPUs, None for plain float32."""
    if not amp:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return None


def _cpu_has_bf16() -> bool:
    """True where Linux lists AVX512-BF16, AMX or Arm BF16 instructions; elsewhere bfloat16 is emulated and slow."""
    flags = _cpuinfo("flags", "Features")
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split()))


def cpu_name() -> str:
    """Return what the processor calls itself."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(*keys: str) -> str:
    """Return what Linux says of the first processor under the first of the keys that it knows; else nothing."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(keys)), "")


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """Return the context in which a forward pass runs in ``dtype``; nothing for None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def to_float_images(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return (B, C, H, W) images, uint8 or uint16, as floats in 0–1 on the device; the memory format is kept."""
    return images.to(device, non_blocking=device.type == "cuda").float().div_(torch.iinfo(images.dtype).max)


def usable_cpus() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def now(device: torch.device) -> float:
    """Return the time in seconds, after all that a GPU has been given to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def clear_memory(device: torch.device) -> None:
    """Give back what no tensor uses: pieces of one size stand in the way of another, and count as in use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # of glibc
        libc.malloc_trim(0)


def memory_gb(device: torch.device) -> float:
    """Return the GPU memory reserved, or without a GPU the peak resident memory of this process, in GB."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / 1e9
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
