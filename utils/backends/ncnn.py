"""Run a folder ``NAME_ncnn_model`` of ours in ncnn, on the CPU: network (``.param``), weights (``.bin``), ``.yaml``."""

from pathlib import Path

import ncnn
import numpy as np
import torch
from torch import Tensor

from utils.backends.exported import ExportedBackend, Network, facts_beside, only_file, refuse_backbone
from utils.checkpoint.export_facts import EXPORT_AGAIN
from utils.errors import CheckpointError

INPUT, OUTPUT = "in0", "out0"  # as pnnx calls them
REDUCED = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


def load(path: Path, device: torch.device, backbone: str = "", layout: str = "") -> ExportedBackend:
    """Return the network on the CPU; ``layout`` as ``utils.backends.choose``. Raises: CheckpointError, ConfigError."""
    refuse_backbone(path, backbone)
    file = only_file(path, "param")
    facts = facts_beside(file, EXPORT_AGAIN)
    if facts.trained.imgsz is None:
        raise CheckpointError(f"{path}: its .yaml names no imgsz", EXPORT_AGAIN)
    net = ncnn.Net()
    for option in REDUCED:  # it would find other boxes
        setattr(net.opt, option, False)
    net.opt.num_threads = torch.get_num_threads()
    if net.load_param(str(file)) or net.load_model(str(file.with_suffix(".bin"))):
        raise CheckpointError(f"{path}: ncnn cannot read it", EXPORT_AGAIN)

    def run(images: Tensor) -> Tensor:
        with net.create_extractor() as extractor:
            extractor.input(INPUT, ncnn.Mat(images[0].cpu().numpy()).clone())
            status, found = extractor.extract(OUTPUT)
        if status:
            raise RuntimeError(f"status {status}")
        return torch.from_numpy(np.array(found))[None]

    network = Network(run, "ncnn", batch=1, size=facts.trained.imgsz)
    return ExportedBackend(path, device, network, facts, layout)
