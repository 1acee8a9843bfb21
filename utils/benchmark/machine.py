"""What figures of speed depend on: processor, threads, GPU, versions."""

import onnxruntime
import torch

from utils.device import cpu_name, usable_cpus
from utils.text import counted


def machine_facts(device: torch.device) -> dict[str, str]:
    """Return the facts by name, as text."""
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return {
        "CPU": f"{cpu_name()}, cores: {usable_cpus()}",
        "GPU": torch.cuda.get_device_name(device) if device.type == "cuda" else "none used",
        "PyTorch": f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}",
        "ONNX Runtime": f"{onnxruntime.__version__} on the {'GPU' if on_gpu else 'CPU'}",
    }
