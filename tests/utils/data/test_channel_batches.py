"""Batches of images with any number of channels: each channel is treated as it is in a batch of grey images."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from utils.class_names import numbered_names
from utils.data.image_store import ImageStore
from utils.data.letterbox import letterbox
from utils.data.loader import build_train_loader, build_val_loader, join_samples
from utils.data.mosaic.augment import AugmentConfig
from utils.data.order import Sampling
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.device import to_float_images
from utils.errors import ConfigError, DataError
from utils.pixels import PixelFormat

CHANNELS = [1, 4, 9]
WARPED = AugmentConfig(
    degrees=20, translate=0.1, scale=0.4, shear=5, perspective=0.0005, fliplr=0.5, flipud=0.5, mosaic=1.0, mixup=0.5,
    copy_paste=0.5, mosaic9=0.4,
)  # fmt: skip


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """Return a function that writes a data set and gives its scan; its channels are those of one stack of noise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(channels, bits=8, first=0, count=6):
        folder = tmp_path / f"{channels}-{bits}-{first}"
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        for index in range(count):
            rng = np.random.default_rng(index)
            size = (96 if index % 2 else 40, 72)  # larger and smaller than the network's
            stack = cv2.GaussianBlur(rng.integers(0, 256, (*size, 16)).astype(np.float32), (0, 0), 2)
            stack = ((stack - stack.min()) / np.ptp(stack) * 255).astype(np.uint8)[..., first : first + channels]
            np.save(folder / f"images/{index}.npy", stack if bits == 8 else stack.astype(np.uint16) * 257)
            rows = "0 0.5 0.5 0.4 0.5\n1 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4\n"
            (folder / f"labels/{index}.txt").write_text(rows)
        (folder / "data.yaml").write_text(
            f"train: images\nval: images\nnames: [a, b]\nchannels: {channels}\nbits: {bits}\n"
        )
        spec = load_data_spec(folder)
        return scan_dataset(spec.train, spec.names, pixels=spec.pixels)

    return write


def pixels_of(loader):
    return [batch.images.permute(0, 2, 3, 1).numpy().astype(int) for batch in loader]


def with_all(scan, **options):
    sampling = Sampling(rect_stride=32) if options.pop("rect", False) else Sampling()
    return build_train_loader(scan, 64, 3, options.pop("augment", WARPED), workers=0, sampling=sampling, **options)


LOADERS = {
    "mosaics": with_all,
    "rect": lambda scan: with_all(scan, rect=True),
    "quad": lambda scan: join_samples(with_all(scan), 0),
    "ram": lambda scan: with_all(scan, cache="ram"),
    "blur": lambda scan: with_all(scan, augment=AugmentConfig(extra={"blur": 1.0})),
    "val": lambda scan: build_val_loader(scan, 64, 4, workers=0),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_each_channel_is_what_a_grey_set_of_it_gives(data_set, channels, kind):
    together = pixels_of(LOADERS[kind](data_set(channels)))

    last = channels - 1
    alone = pixels_of(LOADERS[kind](data_set(1, first=last) if last else data_set(1, first=0, bits=16)))

    for batch, grey in zip(together, alone, strict=True):
        assert batch.shape == (*grey.shape[:3], channels)
        assert batch.std() > 5
        difference = np.abs(batch[..., -1:] - (grey if last else grey / 257))
        assert np.quantile(difference, 0.99) <= 2, kind  # OpenCV rounds differently by the number of channels and bits
        assert difference.mean() < 0.75  # mixing cuts to whole numbers


def test_a_set_of_three_arrays_is_no_set_of_images(data_set):
    with pytest.raises(DataError, match="no images in"):  # beside images, YOLOv5 keeps its cache in .npy files
        data_set(3)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("channels", [1, 5])
def test_16_bits_reach_the_network_as_the_same_numbers(data_set, channels, kind):
    shallow, deep = (list(LOADERS[kind](data_set(channels, bits))) for bits in (8, 16))

    for few, many in zip(shallow, deep, strict=True):
        assert (few.images.dtype, many.images.dtype) == (torch.uint8, torch.uint16)
        assert torch.equal(few.targets, many.targets)
        floats = [to_float_images(batch.images, torch.device("cpu")) for batch in (few, many)]
        assert floats[1].max() <= 1
        assert (floats[0] - floats[1]).abs().mean() < 0.75 / 255


def test_values_of_16_bits_are_divided_by_their_largest_and_keep_their_precision():
    images = torch.from_numpy(np.array([0, 1, 256, 65535], np.uint16)).view(1, 1, 2, 2)

    assert to_float_images(images, torch.device("cpu")).flatten().tolist() == pytest.approx(
        [0, 1 / 65535, 256 / 65535, 1], abs=1e-9
    )


@pytest.mark.parametrize(("dtype", "gray"), [(np.uint8, 114), (np.uint16, 29298)])
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_border_of_a_letterbox_is_gray_in_every_channel(channels, dtype, gray):
    boxed, _, _ = letterbox(np.zeros((20, 40, channels), dtype), 64)

    assert boxed.shape == (64, 64, channels)
    assert boxed.dtype == dtype
    assert (boxed[:16] == gray).all()
    assert (boxed[16:48] == 0).all()


def test_the_disk_cache_keeps_formats_apart(data_set, tmp_path):
    scan = data_set(4, bits=16)
    stores = {
        bits: ImageStore(scan.image_paths, scan.shapes, 64, cache="disk", pixels=PixelFormat(4, bits))
        for bits in (8, 16)
    }
    for _ in range(2):
        loaded = {bits: store.load(0) for bits, store in stores.items()}
        assert (loaded[8].dtype, loaded[16].dtype) == (np.uint8, np.uint16)
        assert np.abs(loaded[16] // 257 - loaded[8].astype(int)).max() <= 1


def test_colour_transforms_are_off_for_other_images_which_is_said(data_set, caplog):
    augment = AugmentConfig(hsv_h=0.5, hsv_s=0.5, hsv_v=0.5, extra={"blur": 0.0, "clahe": 1.0})
    with caplog.at_level("INFO"):
        varied = pixels_of(with_all(data_set(4), augment=augment))
    plain = pixels_of(with_all(replace(data_set(4, first=1, count=1), pixels=PixelFormat(4)), augment=AugmentConfig()))

    said = [record.message for record in caplog.records if "switched off" in record.message]
    assert said == ["clahe, hsv_h, hsv_s, hsv_v: for RGB of 8 bits only, not for 4 × 8 bits: switched off"]
    assert len(varied) == 2
    assert len(plain) == 1


def test_files_of_other_channels_are_left_out_and_listed(data_set, tmp_path):
    scan = data_set(4, count=12)
    images = tmp_path / "4-8-0/images"
    np.save(images / "3.npy", np.zeros((40, 72, 3), np.uint8))

    again = scan_dataset([images], numbered_names(2), pixels=PixelFormat(4))

    assert (len(scan), len(again), again.unreadable) == (12, 11, 1)
    assert str(again.problems[0]).endswith("3.npy: 3 channels instead of 4")


def test_a_scan_for_other_channels_is_not_taken_from_the_cache(data_set, tmp_path):
    data_set(4)

    with pytest.raises(DataError, match=r"6 of 6 images cannot be used.*\n.*4 channels instead of 5"):
        scan_dataset([tmp_path / "4-8-0/images"], numbered_names(2), pixels=PixelFormat(5))


def test_upper_bits_alone_are_read_with_a_word(data_set, tmp_path, caplog):
    data_set(4, bits=16)

    scan = scan_dataset([tmp_path / "4-16-0/images"], numbered_names(2), pixels=PixelFormat(4, 8))

    assert scan.deep == 6
    assert "6 images of 16 bits: the upper 8 of each value are read; 'bits: 16' in the data-set YAML" in caplog.text


def test_the_first_of_several_pages_is_read_with_a_word_once_for_the_data_set(tmp_path, caplog):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    page = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8))
    for index in range(3):
        page.save(tmp_path / f"images/{index}.tif", save_all=True, append_images=[page] * index)
        (tmp_path / f"labels/{index}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    for _ in range(2):  # the second is from the cache
        caplog.clear()
        scan = scan_dataset([tmp_path / "images"], numbered_names(2))

        assert [path[-5:] for path in scan.paged] == ["1.tif", "2.tif"]
        (line,) = [record.getMessage() for record in caplog.records if "pages" in record.getMessage()]
        assert line.startswith(f"2 images of several grey pages, as {tmp_path}/images/1.tif: the first page of each")
    assert scan.cached


@pytest.mark.parametrize("line", ["channels: 0", "channels: 17", "channels: four", "channels: true", "bits: 12"])
def test_impossible_formats_are_refused(tmp_path, line):
    (tmp_path / "images").mkdir()
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images\nnames: [a]\n{line}\n")

    with pytest.raises(ConfigError, match=rf"data\.yaml: {line.split(':')[0]} is "):
        load_data_spec(tmp_path)
