"""The Python API finds what detect.py finds, in images of any kind, and says so as YOLOv5's hub does."""

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detector import tiny_model

from utils import load
from utils.checkpoint.native import save_checkpoint
from utils.data import remote
from utils.detection.predict import Predictor
from utils.errors import ConfigError, DataError
from utils.hub.pictures import read_pictures
from utils.nms import non_max_suppression
from utils.runs import ROOT

NAMES = {0: "cat", 1: "dog", 2: "eel"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A detector that is sure of itself everywhere, trained at 96 px."""
    model = tiny_model()
    model.names = dict(NAMES)
    for layer in model.head.m:
        layer.bias.data.view(model.head.na, -1)[:, 4:] = 2.0
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={}, imgsz=96)
    return path


@pytest.fixture(scope="module")
def model(weights):
    return load(weights, device="cpu")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def test_it_finds_what_detect_finds(model, image):
    predict = Predictor(model.backend, torch.device("cpu"), imgsz=(96,), nms=non_max_suppression)
    expected = predict(image).boxes

    results = model(image)

    assert len(expected) > 3
    torch.testing.assert_close(results.pred[0], expected, rtol=0, atol=1e-4)
    assert results.s == (1, 3, 64, 96)


@pytest.mark.parametrize(
    "kind",
    [
        lambda image, folder: Image.fromarray(image),
        lambda image, folder: str(save_png(image, folder)),
        lambda image, folder: save_png(image, folder),
        lambda image, folder: image.transpose(2, 0, 1),
        lambda image, folder: torch.from_numpy(image),
        lambda image, folder: torch.from_numpy(image).permute(2, 0, 1).float() / 255,
        lambda image, folder: image.astype(np.float64) / 255,
        lambda image, folder: image.astype(np.float32),
        lambda image, folder: image.astype(np.uint16) * 256 + 7,
        lambda image, folder: np.dstack([image, image[..., :1]]),
    ],
    ids=["PIL", "str", "Path", "CHW", "tensor", "float tensor", "0-1", "0-255", "16 bits", "RGBA"],
)
def test_an_image_of_any_kind_is_the_same_image(model, image, kind, tmp_path):
    expected = model(image).pred[0]

    torch.testing.assert_close(model([kind(image, tmp_path)]).pred[0], expected, rtol=0, atol=0)


def save_png(image, folder):
    Image.fromarray(image).save(folder / "a.png")
    return folder / "a.png"


def test_grey_becomes_three_equal_channels_and_a_photo_is_turned_upright(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    turned = Image.fromarray(np.zeros((10, 20, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)

    first, second, third = read_pictures([grey, Image.open(tmp_path / "turned.jpg"), tmp_path / "turned.jpg"])

    assert (first.image == grey[..., None]).all() and first.image.shape == (3, 4, 3)
    assert second.image.shape == third.image.shape == (20, 10, 3)
    assert [first.name, second.name, third.name] == ["image0.jpg", "turned.jpg", "turned.jpg"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 6, 7), np.uint8), r"shape \(5, 6, 7\)"),
        (np.zeros((0, 6, 3), np.uint8), r"shape \(0, 6, 3\)"),
        (np.full((5, 6, 3), -1.0), "float64 values from -1 to -1"),
        (np.full((5, 6, 3), 256), "int64 values from 256 to 256"),
        (np.full((5, 6, 3), np.nan, np.float32), "float32 values from nan to nan"),
        (np.ones((5, 6, 3), bool), "bool values"),
        (Image.new("F", (4, 4)), "mode F"),
        (3.5, "an image is a float"),
        ("missing.jpg", "missing.jpg"),
        (".", "a folder instead of an image"),
        ("http://127.0.0.1/a.jpg", "not a public address"),
        ("http://localhost:8000/a.jpg", "not a public address"),
        ("http://[::1]/a.jpg", "not a public address"),
        ("https:///a.jpg", "not the URL of a file"),
    ],
)
def test_what_is_no_image_is_one_sentence(model, image, message):
    with pytest.raises(DataError, match=message) as error:
        model([image])

    assert error.value.fix


def test_an_image_behind_a_url_is_looked_at_and_a_private_redirect_is_not_followed(monkeypatch, image):
    content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    answers = {
        "http://a.example/x.png": io.BytesIO(content),
        "http://a.example/y.png": Redirect("http://10.0.0.1/secret"),
    }
    monkeypatch.setattr(remote, "_addresses", lambda host: ["93.184.216.34"] if host == "a.example" else [host])
    monkeypatch.setattr(remote, "build_opener", lambda *_: Opener(answers))

    (picture,) = read_pictures("http://a.example/x.png")

    assert (picture.image == image).all() and picture.name == "x.png"
    with pytest.raises(DataError, match=r"10\.0\.0\.1, which is not a public address"):
        read_pictures("http://a.example/y.png")


class Redirect:
    def __init__(self, url):
        self.url = url


class Opener:
    def __init__(self, answers):
        self.answers = answers

    def open(self, url, timeout):
        answer = self.answers[url]
        if isinstance(answer, Redirect):
            raise remote.HTTPError(url, 302, "Found", {"Location": answer.url}, None)
        return answer


def test_images_of_several_shapes_share_the_smallest_rectangle(model):
    # gains 640/1080, 640/810 and 640/600: 640×480 (h, w), 498×640, 640×64; the largest sides, in multiples of 16
    images = [np.zeros(shape, np.uint8) for shape in ((1080, 810, 3), (631, 810, 3), (600, 60, 3))]

    results = model(images, size=640)

    assert results.s == (3, 3, 640, 640)
    assert model(images[:1], imgsz=640).s == (1, 3, 640, 480)
    assert model([images[2]], imgsz=(320, 160)).s == (1, 3, 320, 32)
    assert model(images[1]).s == (1, 3, 80, 96)  # the size of the training, 96; 74.8 rows


def test_settings_are_attributes_and_a_call_may_override_them(weights, image):
    model = load(weights, "cpu", conf=0.3, classes=[1])
    assert (model.conf, model.iou, model.max_det, model.agnostic, model.multi_label) == (0.3, 0.45, 1000, False, False)

    assert set(model(image).pred[0][:, 5].tolist()) <= {1.0}
    assert len(model(image, classes=None, conf_thres=0.0001, max_det=2).pred[0]) == 2
    assert len(model(image, conf=1.0).pred[0]) == 0
    model.max_det = 1
    assert len(model(image, conf=0.0001).pred[0]) == 1
    with pytest.raises(ConfigError, match="unknown option 'agment'"):
        model(image, agment=True)


@pytest.mark.parametrize("size", ["640", 0, -1, 64.0, [], [96, 96, 96], (96, "96"), [96, 40000]])
def test_a_size_that_is_none_is_refused(model, image, size):
    with pytest.raises(ConfigError, match="imgsz is "):
        model(image, imgsz=size)


@pytest.mark.parametrize(
    ("name", "short", "value"),
    [("conf_thres", "conf", 0.9), ("iou_thres", "iou", 0.3), ("agnostic_nms", "agnostic", True), ("size", "imgsz", 64)],
)
def test_every_name_of_a_setting_sets_it(weights, name, short, value):
    model, loaded = load(weights, "cpu"), load(weights, "cpu", **{name: value})

    setattr(model, name, value)

    assert getattr(model, short) == getattr(loaded, short) == getattr(model, name) == value
    assert not hasattr(model, "no_setting")


def test_a_size_that_is_set_counts_until_a_call_gives_another(weights, image):
    model = load(weights, "cpu", imgsz=192)

    assert model(image).s == (1, 3, 128, 192)
    assert model(image, np.int64(48)).s == (1, 3, 32, 48)
    model.imgsz = None
    assert model(image).s == (1, 3, 64, 96)  # the size of the training


def test_a_size_that_a_file_of_one_size_does_not_take_is_told(weights, image, caplog):
    model = load(weights, "cpu")
    model.backend.fixed_size = (64, 128)

    assert model(image).s == model(image, size=128).s == model(image, size=(64, 128)).s == (1, 3, 64, 128)
    assert caplog.text == ""
    assert model(image, size=640).s == (1, 3, 64, 128)
    assert "the model takes images of 128×64 pixels only, not of 640" in caplog.text


@pytest.mark.parametrize(
    "classes", [1, "dog", "DOG", [1], ["dog"], (np.int64(1),), {1}, np.array([1]), torch.tensor([1]), [1, "dog"]]
)
def test_classes_are_ids_or_names(model, image, classes):
    found = model(image, classes=classes, conf=0.001).pred[0]

    assert set(found[:, 5].tolist()) == {1.0}


@pytest.mark.parametrize(("classes", "message"), [([3], "knows 3 classes"), (-1, "knows 3 classes"), ("owl", "owl")])
def test_classes_that_the_model_does_not_know_are_refused(model, image, classes, message):
    with pytest.raises(ConfigError, match=message):
        model(image, classes=classes)


def test_names_may_be_a_list_of_as_many(weights, image):
    model = load(weights, "cpu")

    model.names = ["Katze", "Hund", "Aal"]

    results = model(image, classes="Hund", conf=0.001)
    assert results.names[1] == "Hund" and "Hund" in str(results)
    with pytest.raises(ConfigError, match="names of 2 classes, but the model finds 3"):
        model.names = ["Katze", "Hund"]


@pytest.mark.parametrize("max_det", [0, -1])
def test_at_least_one_detection_may_be_wanted(model, image, max_det):
    with pytest.raises(ConfigError, match=f"max_det is {max_det}"):
        model(image, max_det=max_det)


def test_a_batch_of_tensors_goes_straight_through(model):
    predictions = model(torch.rand(2, 3, 64, 64))

    assert isinstance(predictions, torch.Tensor) and predictions.shape[::2] == (2, 5 + len(NAMES))
    predictions += 1  # it may be changed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_a_batch_of_whole_numbers_is_no_input_of_a_model(model, dtype):
    with pytest.raises(DataError, match=f"a batch of {dtype}, where the model takes 0–1"):
        model(torch.ones(2, 3, 64, 64, dtype=dtype))


def test_results_have_what_programs_for_the_hub_read(model, image, tmp_path, capsys):
    results = model([image, image[:32, :32]], conf=0.3)

    assert (results.n, len(results), results.names, results.files) == (2, 2, NAMES, ["image0.jpg", "image1.jpg"])
    assert len(results.t) == 3 and all(time >= 0 for time in results.t)
    boxes, size = results.xyxy[0], torch.tensor([96.0, 64, 96, 64])
    centre, sides = (boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2]
    torch.testing.assert_close(results.xywh[0], torch.cat((centre, sides, boxes[:, 4:]), dim=1))
    torch.testing.assert_close(results.xyxyn[0][:, :4], boxes[:, :4] / size)
    torch.testing.assert_close(results.xywhn[0][:, :4], results.xywh[0][:, :4] / size)
    table = results.pandas().xyxy[0]
    assert list(table) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert list(results.pandas().xywhn[1])[:4] == ["xcenter", "ycenter", "width", "height"]
    assert table["name"].tolist() == [NAMES[c] for c in table["class"]]
    assert [one.n for one in results.tolist()] == [1, 1] and torch.equal(results.tolist()[1].pred[0], results.pred[1])
    results.print()
    assert capsys.readouterr().out.startswith("image 1/2: 64x96 ") and "Speed: " in str(results)

    assert results.save(save_dir=tmp_path / "s") == tmp_path / "s"
    assert results.save(save_dir=tmp_path / "s") == tmp_path / "s2"
    assert sorted(path.name for path in (tmp_path / "s2").iterdir()) == ["image0.jpg", "image1.jpg"]
    crops = results.crop(save_dir=tmp_path / "c")
    assert len(crops) == sum(map(len, results.pred)) == len(list((tmp_path / "c").rglob("*.jpg")))
    assert set(crops[0]) == {"box", "conf", "cls", "label", "im"}
    assert (results.render()[0] != image).any() and image.shape == results.ims[0].shape


def test_nothing_found_is_said(model, image):
    results = model(image, conf=1.0)

    assert "image 1/1: 64x96 no detections" in str(results)
    assert results.pandas().xyxy[0].empty and results.crop(save=False) == []


def test_supervision_reads_the_results(model, image):
    supervision = pytest.importorskip("supervision")
    results = model(image, conf=0.3)

    detections = supervision.Detections.from_yolov5(results)

    np.testing.assert_array_equal(detections.xyxy, results.xyxy[0][:, :4])
    np.testing.assert_array_equal(detections.class_id, results.xyxy[0][:, 5])


def test_it_moves_and_halves_like_a_module(weights, image):
    model = load(weights, "cpu")
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = model(batch)

    model.to("cpu").eval().double()

    torch.testing.assert_close(model(batch), expected, rtol=1e-4, atol=1e-3)
    assert (model.dtype, model(batch).dtype, model(image).n) == (torch.float64, torch.float32, 1)


@pytest.mark.parametrize("several", [False, True])
def test_images_follow_a_model_that_was_moved(weights, several):
    model = load([weights, weights] if several else weights, "cpu")

    model.to("meta")  # stands for a GPU: what mixes it with the CPU fails

    assert model.device.type == model(torch.rand(1, 3, 64, 64)).device.type == "meta"


def test_no_weights_file_is_refused():
    with pytest.raises(ConfigError, match="the list of weights files is empty"):
        load([])


FIRST_RESULT = """
import sys
from utils import load
results = load(sys.argv[1], device="cpu")(sys.argv[2])
later = {"matplotlib", "onnx", "onnxruntime", "pandas", "scipy", "timm", "torchvision"}
print(len(results.pred[0]) > 0, *sorted(later & sys.modules.keys()))
"""


def test_the_first_result_imports_nothing_that_only_others_need(weights, image, tmp_path):
    command = [sys.executable, "-c", FIRST_RESULT, str(weights), str(save_png(image, tmp_path))]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert result.stdout.split() == ["True"], result.stderr
