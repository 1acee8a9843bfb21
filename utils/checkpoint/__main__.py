"""Say what a weights file holds, or write it in another format; nothing of a file is run.

python -m utils.checkpoint info yolov5s.pt                          # or .onnx, .safetensors, a file of other projects
python -m utils.checkpoint convert best.pt --to official --half     # best_yolov5.pt, which a YOLOv5 checkout opens
"""

import logging
from pathlib import Path

from utils.command import run_command
from utils.configs.checkpoint import CheckpointConfig
from utils.errors import ConfigError

log = logging.getLogger("utils.checkpoint")


def main(cfg: CheckpointConfig) -> None:
    """Raises: ConfigError, CheckpointError."""
    verb, files = check_words(cfg)

    # here, because PyTorch takes seconds to import and --help should not
    from models.backbones import allow_user_file
    from utils.checkpoint.convert import convert
    from utils.checkpoint.info import info_lines

    if verb == "info":
        for file in files:
            log.info("\n".join(info_lines(Path(file))))
        return
    if cfg.backbone:
        allow_user_file(cfg.backbone)
    written = convert(Path(files[0]), cfg.to, cfg.half, Path(cfg.out) if cfg.out else None)
    log.info("written: %s, %.1f MB", written, written.stat().st_size / 1e6)


def check_words(cfg: CheckpointConfig) -> tuple[str, tuple[str, ...]]:
    """Return what is to be done, and the files. Raises: ConfigError."""
    verb, *files = cfg.words or ("",)
    if verb not in ("info", "convert") or not files:
        fix = "python -m utils.checkpoint info FILE, or convert FILE --to official"
        raise ConfigError(f"'{' '.join(cfg.words)}' does not say what to do with which file", fix)
    given = [flag for flag, value in (("--to", cfg.to), ("--half", cfg.half), ("--out", cfg.out)) if value]
    if verb == "info" and given:
        raise ConfigError(f"{given[0]} belongs to convert", "leave it out")
    if verb == "convert" and len(files) > 1:
        raise ConfigError(f"convert takes one file, not {len(files)}", "convert one after the other")
    if verb == "convert" and not cfg.to:
        raise ConfigError("convert does not say into what", "give --to pt, safetensors or official")
    return verb, tuple(files)


if __name__ == "__main__":
    run_command(main, CheckpointConfig)
