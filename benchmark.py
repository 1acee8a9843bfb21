"""Compare backbones in one detector: size, latency, training speed, memory and mAP, on this machine and your data.

python benchmark.py                                                        # six backbones, embedded data set, 30 epochs
python benchmark.py --backbones own repvit_m0_9 timm/mobilenetv4_conv_small --data my.yaml --imgsz 640 --epochs 50
python benchmark.py --backbones repvgg_a0 timm/mobileone_s0 --imgsz 640 --epochs 0             # sizes and speeds only

The same command again goes on where it was interrupted; further backbones join the table.

python benchmark.py --reparam repvgg_a0 repvit_m0_9 timm/mobileone_s0 --batches 1 2 4 8  # training form, deployed form
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.command import run_command
from utils.configs.benchmark import BenchmarkConfig

log = logging.getLogger("benchmark")


def main(cfg: BenchmarkConfig) -> None:
    # here, because PyTorch takes seconds to import
    from utils.benchmark.reparam import run_reparam
    from utils.benchmark.run import run_benchmark

    board = run_reparam(cfg) if cfg.reparam else run_benchmark(cfg, measure)
    log.info("\n" + board.markdown())
    log.info("\nresults in %s", board.folder)


def measure(cfg: BenchmarkConfig, backbone: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of one backbone; runs in a process of its own."""
    from utils.benchmark.measure import measure_backbone

    yield from measure_backbone(cfg, backbone, folder, make_onnx)


def make_onnx(model: Any, path: Path, imgsz: int, device: Any) -> Any:
    """Return ONNX Runtime ready to run a fused, verified export of the model."""
    from utils.backends.choose import load_backend
    from utils.export.onnx import export_onnx

    export_onnx(model, path, (imgsz, imgsz))
    return load_backend(path, device)


if __name__ == "__main__":
    run_command(main, BenchmarkConfig, goes_on=True)
