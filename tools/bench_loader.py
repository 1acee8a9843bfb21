"""Compare the training loader with bare decoding: images/s of mosaics at 640 against ``cv2.imread`` of the same files.

    OMP_NUM_THREADS=1 python tools/bench_loader.py [cv2 threads, default 1]

One process, no workers; decoding, the loader without a cache and the loader with a RAM cache take turns. The files are
640×480 JPEG, quality 95, about 150 kB, which is what COCO's photographs take.
"""

import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.class_names import numbered_names
from utils.data.loader import build_train_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.scan.scan import scan_dataset

log = logging.getLogger(__name__)
IMAGES, BATCH, IMGSZ, ROUNDS = 128, 16, 640, 9
AUGMENT = AugmentConfig(
    hsv_h=0.015, hsv_s=0.7, hsv_v=0.4, translate=0.1, scale=0.5, fliplr=0.5, mosaic=1.0
)  # hyp.scratch-low


def draw_images(root: Path) -> list[str]:
    """Write photographs of noise and discs with seven objects each, and return their paths."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number in range(IMAGES):
        noise = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
        texture = (cv2.GaussianBlur(noise, (0, 0), 2.0).astype(np.float32) - 128) * 4 + 128
        image = np.clip(texture, 0, 255).astype(np.uint8)
        for index in range(20):
            centre = (int(rng.integers(0, 640)), int(rng.integers(0, 480)))
            color = tuple(rng.integers(0, 256, 3).tolist())
            cv2.circle(image, centre, int(rng.integers(10, 80)), color, 3 if index % 2 else -1)
        cv2.imwrite(str(root / f"images/{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        boxes = np.concatenate([rng.uniform(0.2, 0.8, (7, 2)), rng.uniform(0.05, 0.3, (7, 2))], 1)
        rows = [f"{index} " + " ".join(f"{value:.6f}" for value in box) for index, box in enumerate(boxes)]
        (root / f"labels/{number}.txt").write_text("\n".join(rows))
    return [str(path) for path in sorted((root / "images").iterdir())]


def rate(make) -> float:
    start = time.perf_counter()
    count = make()
    return count / (time.perf_counter() - start)


def main(threads: int) -> None:
    cv2.setNumThreads(threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_images(Path(folder))
        scan = scan_dataset([Path(folder) / "images"], numbered_names(7))
        plain = build_train_loader(scan, IMGSZ, BATCH, AUGMENT, workers=0)
        cached = build_train_loader(scan, IMGSZ, BATCH, AUGMENT, workers=0, cache="ram")
        contestants = {
            "cv2.imread": lambda: len([cv2.imread(path) for path in paths]),
            "loader": lambda: sum(len(batch.images) for batch in plain),
            "loader, RAM cache": lambda: sum(len(batch.images) for batch in cached),
        }
        size = statistics.mean(Path(path).stat().st_size for path in paths)
        rates = {name: [] for name in contestants}
        for round_number in range(ROUNDS + 1):
            plain.set_epoch(round_number)
            cached.set_epoch(round_number)
            for name, make in contestants.items():
                value = rate(make)
                if round_number:  # the first warms up
                    rates[name].append(value)
    log.info("%d files of %.0f kB, %d cv2 threads, %d rounds", IMAGES, size / 1000, threads, ROUNDS)
    for name, values in rates.items():
        shares = [value / bare for value, bare in zip(values, rates["cv2.imread"], strict=True)]
        log.info(
            "%-18s%6.0f images/s, %.2f (%.2f–%.2f) × cv2.imread",
            name,
            statistics.median(values),
            statistics.median(shares),
            min(shares),
            max(shares),
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
