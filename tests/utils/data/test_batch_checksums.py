"""Square training batches stay what they are, bit for bit: another number here is another training for every user."""

import hashlib
import platform
from dataclasses import replace

import cv2
import numpy as np
import pytest

from utils.data.loader import build_train_loader
from utils.data.mosaic.augment import AugmentConfig
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.runs import ROOT
from utils.yaml_file import read_yaml

KNOWN = "5.0.0", "x86_64"  # other releases and processors interpolate slightly differently

pytestmark = pytest.mark.skipif(
    (cv2.__version__, platform.machine()) != KNOWN, reason="the sums are those of another OpenCV or processor"
)


@pytest.fixture(scope="module")
def scan():
    spec = load_data_spec(str(ROOT / "data/shapes.yaml"))
    return scan_dataset(spec.train, spec.names, fence=spec.fence)


def checksums(scan, epoch):
    """Return sums of the pixels and of the labels of an epoch with strong augmentation, and the number of labels."""
    augment = AugmentConfig.from_hyp(read_yaml(ROOT / "data/hyps/hyp.scratch-high.yaml"), epochs=100)
    loader = build_train_loader(scan, 128, 16, augment, seed=0, workers=0)
    loader.set_epoch(epoch)
    pixels, labels, count = hashlib.sha256(), hashlib.sha256(), 0
    for batch in loader:
        pixels.update(batch.images.permute(0, 2, 3, 1).numpy().tobytes())
        labels.update(batch.targets.numpy().tobytes())
        count += len(batch.targets)
    return pixels.hexdigest()[:16], labels.hexdigest()[:16], count


def test_batches_of_the_embedded_data_set(scan):
    assert checksums(scan, 0) == ("f41754ff9d44ccc4", "235539f17bfcfbea", 3498)
    assert checksums(scan, 1) == ("4c70a29a55115259", "9066dc63bae8308d", 3297)


def test_batches_with_copied_objects(scan):
    triangle = np.array([[-0.5, 0.5], [0.5, 0.5], [0.0, -0.5]])  # in shares of a box
    segments = [[row[1:3] + triangle * row[3:5] for row in rows] for rows in scan.labels]

    assert checksums(replace(scan, segments=segments), 1) == ("9ee06af83b6db6a1", "0867ad3d83edb49b", 3567)
