"""Export a trained model to ONNX and check that the file gives the same answers.

python export.py --weights runs/train/exp/weights/best.pt --include onnx
python export.py --dynamic --imgsz 320 416                         # newest run; any batch and image size
"""

import logging
from pathlib import Path
from typing import Any

from utils.command import run_command
from utils.config import make_config
from utils.configs.export import ExportConfig
from utils.runs import newest_weights

log = logging.getLogger("export")


def main(cfg: ExportConfig) -> list[Path]:
    from utils.backends.pt import load_trained  # here, because PyTorch takes seconds to import and --help should not
    from utils.export.onnx import export_onnx

    weights = Path(cfg.weights or newest_weights())
    model, trained = load_trained(weights, cfg.backbone)
    sizes = cfg.imgsz or trained.default_imgsz()
    height, width = (*sizes, *sizes)[:2]
    path = weights.with_suffix(".onnx")
    options = {"batch": cfg.batch_size, "dynamic": cfg.dynamic, "opset": cfg.opset, "data": trained.data}
    report = export_onnx(model, path, (height, width), **options)
    log.info("\n".join(report.lines()))
    log.info("python detect.py --weights %s", path)
    return [path]


def run(**options: Any) -> list[Path]:
    """Export from a program, ``run(weights="best.pt", dynamic=True)``; return the files."""
    return main(make_config(ExportConfig, options))


if __name__ == "__main__":
    run_command(main, ExportConfig)
