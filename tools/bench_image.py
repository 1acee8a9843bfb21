"""Compare ``read_image`` with a bare ``cv2.imread`` on one 640×480 JPEG, in turns.

OMP_NUM_THREADS=1 python tools/bench_image.py
"""

import logging
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from utils.data.image.read import image_shape, read_image

log = logging.getLogger(__name__)

ROUNDS = 500


def main() -> None:
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "picture.jpg"))
        cv2.imwrite(path, picture)
        functions = (cv2.imread, read_image, image_shape)
        times = np.zeros((ROUNDS, len(functions)))
        for row in times:
            for column, function in enumerate(functions):
                start = time.perf_counter()
                function(path)
                row[column] = time.perf_counter() - start
    imread, read, shape = np.quantile(times, 0.1, axis=0)  # of the rounds that nothing else disturbed
    log.info("cv2.imread %.3f ms, read_image %.3f ms: ratio %.3f", imread * 1e3, read * 1e3, read / imread)
    log.info("image_shape, which the scan of a data set calls, %.3f ms", shape * 1e3)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
