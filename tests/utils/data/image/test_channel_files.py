"""Files of any number of channels and of 16 bits: what is read is what was written, and what is odd is refused."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.data.image.read import ImageError, image_facts, image_shape, read_image
from utils.data.image.tiff import tiff_pixels
from utils.pixels import RGB, PixelFormat, as_picture, resize, with_bits

FOUR, GREY = PixelFormat(4), PixelFormat(1)


def noise(channels, dtype=np.uint8, shape=(37, 50)):
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, (*shape, channels), dtype)


def saved(path, content):
    path.write_bytes(content)
    return path


def tiff(image, compression=1, predictor=1):
    """Return a TIFF that OpenCV has written; of several channels it turns the first three round."""
    parameters = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    return cv2.imencode(".tiff", image, [*parameters, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 8])[1].tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 4, 7])
def test_an_array_is_read_as_numpy_saved_it(tmp_path, channels, dtype):
    image = noise(channels, dtype)
    pixels = PixelFormat(channels, 8 * image.itemsize)
    for name, written in (
        ("c", image),
        ("f", np.asfortranarray(image)),
        ("b", image.astype(image.dtype.newbyteorder(">"))),
    ):
        np.save(tmp_path / f"{name}.npy", written)

        read = read_image(tmp_path / f"{name}.npy", pixels)

        assert read.dtype == dtype
        assert read.flags.c_contiguous
        assert np.array_equal(read, image)
        assert image_facts(tmp_path / f"{name}.npy", pixels) == ((37, 50), 8 * image.itemsize, 1)


def test_pages_that_look_like_channels_are_counted_and_others_are_not(tmp_path):
    grey, small = Image.fromarray(noise(1)[..., 0]), Image.fromarray(noise(1)[:9, :9, 0])
    for name, pages in (
        ("one", [grey]),
        ("four", [grey] * 4),
        ("preview", [grey, small]),
        ("rgb", [grey.convert("RGB")] * 2),
    ):
        pages[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=pages[1:])

    found = {name: image_facts(tmp_path / f"{name}.tif").pages for name in ("one", "four", "preview", "rgb")}

    assert found == {"one": 1, "four": 4, "preview": 1, "rgb": 1}


def test_a_grey_array_needs_no_axis_of_channels(tmp_path):
    np.save(tmp_path / "a.npy", noise(1)[..., 0])

    assert np.array_equal(read_image(tmp_path / "a.npy", GREY), noise(1))


def array_bytes(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


GOOD = array_bytes(noise(4))


def with_header(text):
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (array_bytes(noise(3)), "3 channels instead of 4"),
        (array_bytes(noise(1)[..., 0]), "1 channel instead of 4"),
        (array_bytes(noise(4).transpose(2, 0, 1)), "50 channels instead of 4"),
        (array_bytes(np.array([{}], object), allow_pickle=True), "objects"),
        (array_bytes(noise(4).astype(np.float32)), "float32 values; save uint8 or uint16"),
        (array_bytes(noise(4).astype(np.int64)), "int64 values"),
        (array_bytes(np.zeros(3, [("a", np.uint8)])), "records"),
        (array_bytes(noise(4)[None]), r"shape \(1, 37, 50, 4\)"),
        (array_bytes(noise(4)[:0]), r"shape \(0, 50, 4\)"),
        (GOOD[:-1], "7399 bytes behind its header, which says 7400"),
        (GOOD + b"0", "7401 bytes"),
        (GOOD[:9], "damaged header"),
        (GOOD[:40], "damaged header"),
        (b"\x93NUMPY\x09\x00" + GOOD[8:], "version 9.0"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 100000, 4), }"), "says 40000000000"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 5, 4), }"), "shape"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (5.0, 5, 4), }"), "damaged header|shape"),
        (
            with_header("{'descr': exit(), 'fortran_order': False, 'shape': (5, 5, 4), }"),
            "damaged header",
        ),
        (b"", "empty file"),
    ],
)
def test_an_odd_array_is_refused_in_one_sentence_by_the_scan_and_the_reader(tmp_path, content, reason):
    path = saved(tmp_path / "x.npy", content)
    for function in (read_image, image_shape):
        with pytest.raises(ImageError, match=rf"x\.npy: .*({reason})"):
            function(path, FOUR)


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_of_four_channels_is_read_as_it_is_in_every_compression(tmp_path, compression, predictor, dtype):
    image = noise(4, dtype)
    path = saved(tmp_path / "a.tif", tiff(image, compression, predictor))

    read = read_image(path, PixelFormat(4, 8 * image.itemsize))

    assert np.array_equal(read, image[..., [2, 1, 0, 3]])
    assert image_shape(path, PixelFormat(4, 8 * image.itemsize)) == (37, 50)


def test_transparency_in_a_tiff_does_not_darken_its_colours(tmp_path):
    image = noise(4)
    for compression in (None, "tiff_lzw"):
        Image.fromarray(image, "RGBA").save(tmp_path / "a.tif", compression=compression)

        assert np.array_equal(read_image(tmp_path / "a.tif", FOUR), image)
        assert np.array_equal(read_image(tmp_path / "a.tif"), image[..., :3])


@pytest.mark.parametrize(("channels", "dtype"), [(2, np.uint8), (6, np.uint16), (16, np.uint8)])
def test_grey_pages_are_channels(tmp_path, channels, dtype):
    image = noise(channels, dtype)
    cv2.imwritemulti(str(tmp_path / "a.tif"), [np.ascontiguousarray(image[..., i]) for i in range(channels)])

    assert np.array_equal(read_image(tmp_path / "a.tif", PixelFormat(channels, 8 * image.itemsize)), image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
def test_a_page_of_six_channels_is_read_interleaved_or_in_planes(order, planar):
    image = noise(6, np.uint16)
    planes = image.transpose(2, 0, 1) if planar else image[None]
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    tags = {256: 50, 257: 37, 259: 1, 262: 1, 277: 6, 278: 37, 284: 2 if planar else 1}
    lists = {258: ("H", [16] * 6), 273: ("I", [8 + len(strips[0]) * i for i in range(len(strips))])}
    lists[279] = ("I", [len(strip) for strip in strips])
    data = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "I", 8 + sum(map(len, strips)))
        + b"".join(strips)
    )
    start = len(data) + 2 + 12 * (len(tags) + len(lists)) + 4
    entries, behind = [], b""
    for tag, value in tags.items():
        entries.append((tag, struct.pack(order + "HHII", tag, 4, 1, value)))
    for tag, (code, values) in lists.items():
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", start + len(behind))
        behind += packed if len(packed) > 4 else b""
        entries.append((tag, struct.pack(order + "HHI", tag, 3 if code == "H" else 4, len(values)) + place))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entry for _, entry in sorted(entries)) + bytes(4)

    assert np.array_equal(tiff_pixels(data + directory + behind), image)


def test_a_tiff_that_is_cut_or_scrambled_is_refused_without_a_traceback(tmp_path):
    rng, whole = np.random.default_rng(0), tiff(noise(4), 5, 2)
    for index in range(60):
        data = bytearray(whole[: rng.integers(8, len(whole))] if index % 2 else whole)
        for place in rng.integers(4, len(data), 0 if index % 2 else 40).tolist():
            data[place] = rng.integers(256)
        path = saved(tmp_path / "a.tif", bytes(data))
        try:
            assert read_image(path, FOUR).shape[2] == 4
        except ImageError as error:
            assert "a.tif" in str(error)


def test_a_png_with_transparency_has_four_channels(tmp_path):
    Image.fromarray(noise(4), "RGBA").save(tmp_path / "a.png")

    assert np.array_equal(read_image(tmp_path / "a.png", FOUR), noise(4))


def test_a_photo_turned_by_exif_is_upright_in_all_channels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(4), "RGBA").save(tmp_path / "a.png", exif=exif)

    read = read_image(tmp_path / "a.png", FOUR)

    assert np.array_equal(read, np.rot90(noise(4), -1))
    assert image_shape(tmp_path / "a.png", FOUR) == (50, 37)


def test_one_channel_of_a_grey_file_is_its_values_and_of_a_colour_file_their_grey(tmp_path):
    grey = noise(1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "rgb.png")
    Image.fromarray(noise(3)).save(tmp_path / "colour.png")

    assert np.array_equal(read_image(tmp_path / "grey.png", GREY)[..., 0], grey)
    assert np.array_equal(read_image(tmp_path / "rgb.png", GREY)[..., 0], grey)
    expected = noise(3) @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(read_image(tmp_path / "colour.png", GREY)[..., 0] - expected).max() < 1.5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept_where_they_are_wanted(tmp_path, suffix):
    grey, colour = noise(1, np.uint16)[..., 0], noise(3, np.uint16)
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), grey)
    cv2.imwrite(str(tmp_path / f"colour{suffix}"), colour)

    assert np.array_equal(read_image(tmp_path / f"grey{suffix}", PixelFormat(1, 16))[..., 0], grey)
    assert np.array_equal(read_image(tmp_path / f"grey{suffix}", GREY)[..., 0], grey >> 8)
    assert np.array_equal(read_image(tmp_path / f"colour{suffix}", PixelFormat(3, 16)), colour[..., ::-1])
    assert image_facts(tmp_path / f"colour{suffix}")[1] == 16


def test_8_bits_as_16_mean_the_same_part_of_1(tmp_path):
    Image.fromarray(noise(3)).save(tmp_path / "a.png")

    deep = read_image(tmp_path / "a.png", PixelFormat(3, 16))

    assert np.array_equal(deep.astype(np.float32) / 65535, read_image(tmp_path / "a.png").astype(np.float32) / 255)
    assert np.array_equal(with_bits(deep, 8), noise(3))


@pytest.mark.parametrize(("channels", "found"), [(4, 3), (2, 3), (5, 3)])
def test_a_jpeg_has_not_the_channels_of_other_sets(tmp_path, channels, found):
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg")
    for function in (read_image, image_shape):
        with pytest.raises(ImageError, match=rf"{found} channels instead of {channels}"):
            function(tmp_path / "a.jpg", PixelFormat(channels))


def test_channels_that_are_no_colours_are_not_taken_for_some(tmp_path):
    content = tiff(noise(4)).replace(struct.pack("<HHIHH", 262, 3, 1, 2, 0), struct.pack("<HHIHH", 262, 3, 1, 1, 0))
    path = saved(tmp_path / "a.tif", content)

    for function in (read_image, image_shape):
        with pytest.raises(ImageError, match=r"a\.tif"):
            function(path, RGB)
    assert read_image(path, FOUR).shape == (37, 50, 4)


@pytest.mark.parametrize("interpolation", [cv2.INTER_LINEAR, cv2.INTER_AREA])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 9, 16])
def test_resizing_treats_each_channel_by_itself(channels, dtype, interpolation):
    image = noise(channels, dtype)
    expected = [
        cv2.resize(np.ascontiguousarray(image[..., i]), (20, 15), interpolation=interpolation) for i in range(channels)
    ]
    target = np.zeros((15, 20, channels), dtype)

    assert np.abs(resize(image, (20, 15), interpolation).astype(int) - np.stack(expected, 2)).max() <= 1
    resize(image, (20, 15), interpolation, dst=target)
    assert np.array_equal(target, resize(image, (20, 15), interpolation))


def test_a_picture_for_people_has_the_first_three_channels_or_is_grey():
    assert np.array_equal(as_picture(noise(5)), noise(5)[..., :3])
    assert np.array_equal(as_picture(noise(2)), np.repeat(noise(2)[..., :1], 3, 2))
    dark = np.array([[[1000], [1010]], [[1005], [1000]]], np.uint16)
    assert as_picture(dark)[..., 0].tolist() == [[0, 255], [128, 0]]
