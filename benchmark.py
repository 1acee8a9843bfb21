"""Compare backbones in one detector: size, latency, training speed, memory and mAP, on this machine and your data.

python benchmark.py                                                        # six backbones, embedded data set, 30 epochs
python benchmark.py --backbones own repvit_m0_9 timm/mobilenetv4_conv_small --data my.yaml --imgsz 640 --epochs 50
python benchmark.py --backbones repvgg_a0 timm/mobileone_s0 --imgsz 640 --epochs 0             # sizes and speeds only

python benchmark.py --weights best.pt --formats            # one file in all formats that this machine can write
python benchmark.py --weights best.pt --formats onnx openvino --half --batch-size 1
python benchmark.py --weights best.pt --formats onnx openvino --int8       # both again in 8-bit integers

The same command again goes on where it was interrupted; further backbones and formats join the table.

python benchmark.py --reparam repvgg_a0 repvit_m0_9 timm/mobileone_s0 --batches 1 2 4 8  # training form, deployed form
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.benchmark.mode import FORMATS_OF, REPARAM, mode_of, wanted_formats
from utils.command import run_command
from utils.config import make_config
from utils.configs.benchmark import BenchmarkConfig
from utils.configs.export import ExportConfig

if TYPE_CHECKING:
    from utils.benchmark.measure_format import FormatsJob
    from utils.export.order import Order

log = logging.getLogger("benchmark")


def main(cfg: BenchmarkConfig) -> None:
    mode = mode_of(cfg)
    if mode == FORMATS_OF:
        compare_formats(cfg)
        return
    # here, because PyTorch takes seconds to import
    from utils.benchmark.reparam import run_reparam
    from utils.benchmark.run import run_benchmark

    show(run_reparam(cfg) if mode == REPARAM else run_benchmark(cfg, measure))


def show(table: Any) -> None:
    """Log a table and where it is."""
    log.info("\n" + table.markdown())
    log.info("\nresults in %s", table.folder)


def compare_formats(cfg: BenchmarkConfig) -> None:
    """Measure one weights file in several formats."""
    wanted = wanted_formats(cfg)
    # here, for the same reason
    from utils.benchmark.formats import judge, run_formats

    board = run_formats(cfg, wanted, measure_file)
    show(board)
    judge(board, wanted, cfg.hard_fail)


def measure_file(job: "FormatsJob", name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of one format; runs in a process of its own."""
    from utils.benchmark.measure_format import measure_format

    yield from measure_format(job, name, folder, make_order)


def make_order(job: "FormatsJob", batch: int) -> "Order":
    """Return what ``export.py`` would be asked for."""
    from export import build_order

    options = {name: getattr(job, name) for name in ("weights", "backbone", "half", "device")}
    cfg = make_config(ExportConfig, options | {"imgsz": (job.imgsz,), "batch_size": batch})
    return build_order(cfg, Path(job.weights))


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
