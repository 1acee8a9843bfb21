"""Train a detector.

python train.py --cfg models/yolov5s-emo.yaml                      # the embedded data set, from scratch
python train.py --cfg models/yolov5s-emo.yaml --data my.yaml       # your own data
python train.py --weights yolov5s.pt --data my.yaml --epochs 50    # fine-tune an official checkpoint
python train.py --resume                                           # go on with the newest run
python train.py --data my.yaml --show-aug                          # pictures of what it would see
python train.py --config runs/train/exp/opt.yaml --dry-run         # the options of a run; what would it take?
python train.py --data my.yaml --device 0,1                        # on two GPUs; torchrun starts it too
python train.py --data my.yaml --epochs 30 --evolve 100            # search for better hyper-parameters
python train.py --data my.yaml --seeds 3                           # by how much is the result chance?
"""

import argparse
from pathlib import Path
from typing import Any

from utils.command import run_command
from utils.config import make_config, option_values, read_options
from utils.configs.train import TrainConfig
from utils.freed_memory import keep_freed_memory
from utils.search.which import EVOLVE, SEEDS, kind_of


def main(cfg: TrainConfig) -> Path | None:
    # the rest is imported here, because PyTorch takes seconds to import and --help should not
    kind = kind_of(cfg)
    if kind == EVOLVE:
        from utils.search.evolve import evolve

        return evolve(cfg)
    if kind == SEEDS:
        from utils.search.seeds import train_seeds

        return train_seeds(cfg)
    if cfg.print_config:
        from utils.training.print_config import print_config

        return print_config(cfg)
    if cfg.dry_run:
        from utils.training.dry_run import dry_run

        return dry_run(cfg)
    if cfg.show_aug is not None:
        from utils.training.show_aug import show_aug

        return show_aug(cfg)
    from utils.training.loop import train

    return train(cfg)


def run(**options: Any) -> argparse.Namespace:
    """Train from a program, ``run(data="my.yaml", imgsz=320)``; return the options, with ``resume`` those of the run,
    and its folder ``save_dir``, empty where none was made.
    """
    cfg = make_config(TrainConfig, options)
    run_dir = main(cfg)
    if run_dir is not None and cfg.resume is not None:
        cfg = make_config(TrainConfig, read_options(TrainConfig, str(run_dir / "opt.yaml")))
    return argparse.Namespace(**option_values(cfg), save_dir=str(run_dir or ""))


if __name__ == "__main__":
    keep_freed_memory()
    run_command(main, TrainConfig, goes_on=True, is_shared=True)
