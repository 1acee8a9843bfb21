"""Train a detector.

python train.py --cfg models/yolov5s-emo.yaml                      # the embedded data set, from scratch
python train.py --cfg models/yolov5s-emo.yaml --data my.yaml       # your own data
python train.py --weights yolov5s.pt --data my.yaml --epochs 50    # fine-tune an official checkpoint
"""

from utils.command import run_command
from utils.engine.configs import TrainConfig


def main(cfg: TrainConfig) -> None:
    from utils.engine.train import train  # here, because PyTorch takes seconds to import and --help should not

    train(cfg)


if __name__ == "__main__":
    run_command(main, TrainConfig, goes_on=True)
