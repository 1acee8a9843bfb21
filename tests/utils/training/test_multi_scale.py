"""Multi-scale training: which sizes there are, how often, and what becomes of the images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_detector import tiny_model

from utils.data.rng import Stream, generator
from utils.errors import ConfigError
from utils.training.multi_scale import batch_size_px, check_sizes, multi_scale, resized, size_grid


@pytest.mark.parametrize(("multiple", "grid"), [(8, 32), (16, 32), (32, 32), (64, 64), (24, 48), (56, 56), (256, 256)])
def test_the_grid_is_a_multiple_of_what_the_model_needs_and_32_or_more(multiple, grid):
    assert size_grid(multiple) == grid


# randrange(320, 992) // 32 · 32: 672 numbers, 32 for each of 320, 352 … 960
# randrange(96, 320) // 32 · 32: 224 numbers, 32 for each of 96 … 288; randrange(80, 272): 16 for 64 and 256
@pytest.mark.parametrize(
    ("imgsz", "grid", "sizes", "ends"),
    [
        (640, 32, range(320, 961, 32), (32 / 672, 32 / 672)),
        (192, 32, range(96, 289, 32), (32 / 224, 32 / 224)),
        (160, 32, range(64, 257, 32), (16 / 192, 16 / 192)),
        (64, 32, range(32, 97, 32), (32 / 96, 32 / 96)),
        (64, 64, range(64, 129, 64), (96 / 128, 32 / 128)),  # randrange(32, 160): nothing is below one cell
    ],
)
def test_every_whole_number_of_the_range_is_equally_likely(imgsz, grid, sizes, ends):
    rng = np.random.default_rng(0)
    drawn = np.array([batch_size_px(imgsz, grid, rng) for _ in range(20_000)])

    assert sorted(set(drawn.tolist())) == list(sizes)
    for size, share in zip((sizes[0], sizes[-1]), ends, strict=True):
        assert np.mean(drawn == size) == pytest.approx(share, abs=0.012)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((64, 64), 96, (96, 96)), ((64, 96), 128, (96, 128)), ((96, 64), 32, (32, 32)), ((64, 64), 64, (64, 64))],
)
def test_sides_are_rounded_up_to_the_grid(shape, size, expected):
    assert tuple(resized(torch.rand(2, 3, *shape), size, 32).shape) == (2, 3, *expected)


def test_every_size_of_every_square_is_met_exactly():
    for side in (64, 320, 352, 416, 640):
        for size in range(32, 1000, 32):
            assert resized(torch.empty(1, 3, side, side, device="meta"), size, 32).shape[-2:] == (size, size)


def test_pixels_are_interpolated_between_their_centres():
    ramp = torch.arange(64.0).expand(1, 3, 64, 64)

    larger = resized(ramp, 128, 32)[0, 0]

    # pixel i of the larger picture lies at (i + 0.5) / 2 − 0.5 of the smaller one, at its first pixel at least
    assert larger[0, :4].tolist() == pytest.approx([0, 0.25, 0.75, 1.25])
    assert larger[7, 100] == pytest.approx(49.75)


def test_the_memory_format_stays():
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)

    assert resized(images, 96, 32).is_contiguous(memory_format=torch.channels_last)


def test_the_size_is_a_function_of_seed_epoch_and_batch():
    def size(*key):
        return multi_scale(torch.empty(2, 3, 640, 640, device="meta"), 32, *key).shape[-1]

    keys = [(0, 0, batch) for batch in range(20)]
    sizes = [size(*key) for key in keys]

    assert sizes == [size(*key) for key in reversed(keys)][::-1]
    assert len(set(sizes)) > 8
    assert sizes != [size(1, *key[1:]) for key in keys] and sizes != [size(0, 1, key[2]) for key in keys]
    other = [generator(*key, stream).integers(320, 992) // 32 * 32 for key in keys for stream in (Stream.PARTNERS,)]
    assert sizes != other


def test_a_single_image_keeps_two_cells_so_that_norms_have_something_to_average():
    sizes = {
        count: {multi_scale(torch.empty(count, 3, 64, 64, device="meta"), 32, 0, 0, b).shape[-1] for b in range(60)}
        for count in (1, 2)
    }

    assert sizes == {1: {64, 96}, 2: {32, 64, 96}}


def test_a_backbone_that_does_not_take_every_size_is_refused():
    check_sizes(tiny_model(), 64)
    fixed = SimpleNamespace(fixed_size=(224, 224), size_multiple=32)
    with pytest.raises(ConfigError, match="takes images of 224×224 only"):
        check_sizes(fixed, 224)
    limited = SimpleNamespace(fixed_size=None, size_multiple=32, backbone=SimpleNamespace(largest_size=(640, 640)))
    with pytest.raises(ConfigError, match=r"sizes up to 960, but .* up to 640×640"):
        check_sizes(limited, 640)
    check_sizes(limited, 416)  # randrange(208, 656): up to 640
