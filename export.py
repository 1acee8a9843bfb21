"""Export a trained model to ONNX and check that the file gives the same answers.

python export.py --weights runs/train/exp/weights/best.pt --include onnx
python export.py --dynamic --imgsz 320 416                         # newest run; any batch and image size
"""

import logging

from utils.config import run_command
from utils.engine.configs import ExportConfig
from utils.runs import newest_weights

log = logging.getLogger("export")


def main(cfg: ExportConfig) -> None:
    from utils.checkpoint.load import load_model  # here, because PyTorch takes seconds to import and --help should not
    from utils.export.onnx import export_onnx

    weights = cfg.weights or newest_weights()
    height, width = cfg.imgsz * 2 if len(cfg.imgsz) == 1 else cfg.imgsz
    model = load_model(weights)
    path = weights.with_suffix(".onnx")
    report = export_onnx(model, path, (height, width), batch=cfg.batch_size, dynamic=cfg.dynamic, opset=cfg.opset)
    log.info("\n".join(report.lines()))
    log.info("python detect.py --weights %s", path)


if __name__ == "__main__":
    run_command(main, ExportConfig)
