"""Which file and which scale a name means, what a file says itself, and the names of all models."""

import itertools

import pytest
import torch

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.scales import choose_scale, find_model_yaml, model_names
from utils import yaml_file
from utils.errors import ConfigError
from utils.runs import ROOT
from utils.yaml_file import read_yaml

SCALES = {"n": [0.33, 0.25, 1024], "s": [0.33, 0.5, 1024]}
ARTICLE = """# A detector with a backbone row
nc: 80  # number of classes
scales: # letter: [depth, width, max_channels]
  # how large each is
  n: [0.33, 0.25, 1024]  # nano

  s: [0.33, 0.50, 1024]

# 0-P1/2 1-P2/4 2-P3/8 3-P4/16 4-P5/32
backbone:
  # [from, repeats, module, args]
  - [-1, 1, FasterNet, []]  # 0-4
  - [-1, 1, SPPF, [1024, 5]]  # 5
head:
  -
    - -1
    - 1
    - nn.Upsample
    - [None, 2, 'nearest']
  - [[-1, 3], 1, Concat, [1]]  # cat backbone P4
  - [-1, 3, C2f, [512]]
  - [-1, 1, nn.Upsample, [None, 2, 'nearest']]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 3, C2f, [256]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, 8], 1, Concat, [1]]
  - [-1, 3, C2f, [512]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 5], 1, Concat, [1]]
  - [-1, 3, C2f, [1024]]
  - [[11, 14, 17], 1, Detect, [nc]]  # Detect(P3, P4, P5)
"""
ARTICLE_SIZE = {"n": 15_336_448, "s": 19_932_480}  # without the norm of the level that no row reads


def size(data):
    with torch.device("meta"):
        return sum(p.numel() for p in DetectionModel(data, load_backbone=False).parameters())


@pytest.fixture
def warnings(caplog):
    return lambda: [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run3s").mkdir()
    return tmp_path / "run3s"


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        *(("yolov8n", "n"), ("yolov8s-p2", "s"), ("yolo11m-seg", "m"), ("yolov8", ""), ("yolov8-p2", "")),
        *(("my-yolov8x-cats", "x"), ("yolov5nu", "n"), ("fasternet", ""), ("yolov8n_fasternet", "n")),
        *(("yoloe-v8l", "l"), ("yolo11x", "x"), ("resnet50s", ""), ("YOLOv8s", "s"), ("YOLO11M-cats", "m")),
        *(("yolov8q", ""), ("yolov8-S", "")),
    ],
)
def test_the_letter_stands_behind_the_number_in_the_name_alone(folder, name, letter):
    path = folder / f"{name}.yaml"  # below run3s, which says nothing
    path.write_text("nc: 80\n", encoding="utf-8")

    assert find_model_yaml(path) == (path, letter, {"nc": 80})


@pytest.mark.parametrize(
    ("name", "file", "letter"),
    [
        *(("yolov8n", "yolov8.yaml", "n"), ("yolov8n.yaml", "yolov8.yaml", "n"), ("yolov8", "yolov8.yaml", "")),
        *(("models/yolov8m.yaml", "yolov8.yaml", "m"), ("./models/yolov8m.yaml", "yolov8.yaml", "m")),
        *((f"{ROOT}/models/yolov8l.yaml", "yolov8.yaml", "l"), ("yolo11x.yaml", "yolo11.yaml", "x")),
        *(("yolov8s-p2.yaml", "hub/yolov8-p2.yaml", "s"), ("hub/yolov8s-p2", "hub/yolov8-p2.yaml", "s")),
        *(("yolov8-p6.yaml", "hub/yolov8-p6.yaml", ""), ("yolov8x6.yaml", "hub/yolov8-p6.yaml", "x")),
        *(("yolov8n6", "hub/yolov8-p6.yaml", "n"), ("yolov5nu", "yolov5u.yaml", "n")),
        *(("yolov8s-fasternet", "yolov8-fasternet.yaml", "s"), ("yolov6s", "hub/yolov6.yaml", "s")),
        *(("YOLOv8s", "yolov8.yaml", "s"), ("models/YOLO11X.yaml", "yolo11.yaml", "x")),
        *(("YOLOv8-p2", "hub/yolov8-p2.yaml", ""), ("YOLOv8L6", "hub/yolov8-p6.yaml", "l")),
    ],
)
def test_a_name_with_a_letter_means_the_file_without_it_from_any_folder(folder, name, file, letter):
    assert find_model_yaml(name)[:2] == (ROOT / "models" / file, letter)


def test_a_name_of_yolov5_is_the_file_of_that_name():
    for name in ("yolov5s", "yolov5s.yaml", "yolov5x6"):
        path, *_ = find_model_yaml(name)
        assert path.stem == name.removesuffix(".yaml")
        assert "scales" not in read_model_yaml(name)[0]


@pytest.mark.parametrize(
    "name",
    ["yolov5q", "yolov8s-seg.yaml", "yolov12q", "..", "YOLOv5s", "yolo12n", "yolov5n-p6", "elsewhere/yolov8s.yaml", ""],
)
def test_a_name_that_means_no_file_is_refused_with_others(name):
    with pytest.raises(ConfigError, match=r"no such file, nor one of that name in models\nfix: ") as error:
        find_model_yaml(name)
    assert str(error.value).startswith(name)


@pytest.mark.parametrize(
    "scales",
    [
        "scales:\n  n: [0.33, 0.25, 1024]\n  s: [0.33, 0.5, 1024]\n",
        "scales: {n: [0.33, 0.25, 1024], s: [0.33, 0.5, 1024]}\n",
        "scales:\n  'n': [0.33, 0.25, 1024]\n\n  # small\n  \"s\": [0.33, 0.5, 1024]\n",
        "scales:\n  n:\n    - 0.33\n    - 0.25\n    - 1024\n  s: [0.33, 0.5, 1024]\n",
    ],
)
@pytest.mark.parametrize("end", ["nc: 2\n", ""])
def test_a_users_file_is_found_without_its_letter_however_its_scales_are_written(folder, scales, end):
    (folder / "yolov8-cats.yaml").write_text(scales + end, encoding="utf-8")  # scales are its first line

    data, source = read_model_yaml("run3s/yolov8s-cats.yaml")

    assert (source, data["scale"], data["scales"]) == ("run3s/yolov8-cats.yaml", "s", SCALES)


@pytest.mark.parametrize("name", ["yolov8s", "yolov8n6", "yolov8.yaml", "yolov5s"])
def test_a_model_yaml_is_parsed_once(name, monkeypatch):
    parsed = []
    monkeypatch.setattr(yaml_file, "parse_yaml", lambda *_, source, **__: parsed.append(source) or {"scales": SCALES})

    read_model_yaml(name)

    assert len(parsed) == 1


def test_a_damaged_file_behind_such_a_name_is_told_as_damaged(folder):
    (folder / "yolov8.yaml").write_text("scales: [", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"run3s/yolov8\.yaml:1"):
        read_model_yaml("run3s/yolov8s.yaml")


@pytest.mark.parametrize(("file", "letter"), [("yolov8s-copy.yaml", "s"), ("copy.yaml", "n"), ("x5s.yaml", "n")])
def test_a_copy_in_any_folder_has_the_scale_of_its_name_else_the_first_with_a_warning(folder, file, letter, warnings):
    path = folder / file
    path.write_text((ROOT / "models/yolov8.yaml").read_text(encoding="utf-8"), encoding="utf-8")

    data, source = read_model_yaml(path)

    assert (data["scale"], source) == (letter, str(path))
    said = [
        f"{path}: scale n, the first of n, s, m, l, x; say which by a letter behind the number in the name, "
        "or by 'scale:'"
    ]
    assert warnings() == ([] if letter == "s" else said)


def test_the_file_may_say_its_scale_but_the_name_goes_before_it(folder, warnings):
    text = (ROOT / "models/yolov8.yaml").read_text(encoding="utf-8")
    for name in ("cats.yaml", "yolov8m-cats.yaml"):
        (folder / name).write_text(f"{text}\nscale: s\n", encoding="utf-8")

    assert read_model_yaml(folder / "cats.yaml")[0]["scale"] == "s"
    assert read_model_yaml(folder / "yolov8m-cats.yaml")[0]["scale"] == "m"
    assert warnings() == []


@pytest.mark.parametrize("given", [None, ""])
def test_an_empty_scale_in_the_file_is_none(given, warnings):
    assert choose_scale({"scales": SCALES, "scale": given}, "m.yaml")["scale"] == "n"
    assert len(warnings()) == 1


@pytest.mark.parametrize("name", ["yolov8q", "yolov8q.yaml", "models/yolov8Q.yaml", "YOLOv8q-p2", "yolov5qu"])
def test_a_letter_that_no_scale_has_is_answered_with_those_that_exist(name):
    with pytest.raises(ConfigError) as error:
        read_model_yaml(name)

    assert error.value.what.endswith(".yaml: no scale 'q'")
    assert error.value.fix == "choose one of n, s, m, l, x"


def test_a_users_scale_may_have_any_letter(folder):
    (folder / "yolov8-cats.yaml").write_text("scales: {t: [0.33, 0.125, 1024]}", encoding="utf-8")

    assert read_model_yaml(folder / "yolov8t-cats.yaml")[0]["scale"] == "t"


@pytest.mark.parametrize(("letter", "given"), [("x", None), ("", "x"), ("", ["s"]), ("", {"s": 1}), ("", 3)])
def test_a_scale_that_the_file_has_not_is_answered_with_those_it_has(letter, given):
    with pytest.raises(ConfigError) as error:
        choose_scale({"scales": SCALES, "scale": given}, "m.yaml", letter)

    assert str(error.value) == f"m.yaml: no scale {letter or given!r}\nfix: choose one of n, s"


def test_a_scale_in_a_file_without_scales_is_told_to_decide_nothing(warnings):
    assert choose_scale({"scale": "s"}, "m.yaml") == {"scale": "s"}
    assert warnings() == ["m.yaml: scale 's' decides nothing without 'scales'"]


def test_the_name_of_a_file_without_scales_decides_nothing(warnings):
    assert choose_scale({"depth_multiple": 1.0}, "m.yaml", "s") == {"depth_multiple": 1.0}
    assert warnings() == []


def test_a_row_may_name_a_module_for_each_scale():
    rows = {"backbone": [[-1, 1, "Conv", [8]]], "head": [[-1, 3, {"n": "C2f", "s": "C3"}, [8, True]]]}

    for letter, name in (("n", "C2f"), ("s", "C3")):
        chosen = choose_scale({"scales": SCALES} | rows, "m.yaml", letter)
        assert chosen["head"] == [[-1, 3, name, [8, True]]]
        assert chosen["backbone"] == rows["backbone"]


def test_a_row_without_a_module_for_the_scale_is_named_by_its_number():
    rows = {"backbone": [[-1, 1, "Conv", [8]]], "head": [[-1, 3, {"s": "C3"}, [8]]]}

    with pytest.raises(ConfigError, match=r"m\.yaml: row 1: \{'s': 'C3'\} names no module for scale 'n'"):
        choose_scale({"scales": SCALES} | rows, "m.yaml", "n")


def test_choosing_leaves_the_input_as_it_is():
    data = {"scales": SCALES, "head": [[-1, 3, {"n": "C2f", "s": "C3"}, [8]]]}

    choose_scale(data, "m.yaml", "s")

    assert data == {"scales": SCALES, "head": [[-1, 3, {"n": "C2f", "s": "C3"}, [8]]]}


@pytest.mark.parametrize(("file", "letter"), [("yolov8s_fasternet.yaml", "s"), ("yolov8n-mine.yaml", "n")])
def test_the_yaml_of_the_article_has_its_size_under_another_name_with_a_letter(folder, file, letter):
    (folder / file).write_text(ARTICLE, encoding="utf-8")

    assert size(folder / file) == ARTICLE_SIZE[letter]


def test_the_yaml_of_the_article_is_its_first_scale_under_a_name_without_a_letter(folder, warnings):
    (folder / "detector.yaml").write_text(ARTICLE, encoding="utf-8")

    assert size(folder / "detector.yaml") == ARTICLE_SIZE["n"]
    assert "scale n, the first of n, s" in warnings()[0]


def test_every_model_has_one_name_that_leads_back_to_its_file():
    names = dict(model_names())

    assert len(names) == len(list(model_names()))
    for name, path in names.items():
        assert find_model_yaml(name)[0] == path
    assert {"yolov8n", "yolov8x-p6", "yolo11m", "yolov5lu", "yolov5nu-p6", "yolov5s", "yolov3-tiny"} <= names.keys()
    assert not {"yolov8", "yolo11", "yolov8-p2", "anchors"} & names.keys()


def test_the_names_have_every_letter_that_a_file_has():
    for path, pairs in itertools.groupby(model_names(), key=lambda pair: pair[1]):
        letters = list(read_yaml(path).get("scales", {"": None}))
        assert [find_model_yaml(name)[1] for name, _ in pairs] == letters or letters == [""]


@pytest.mark.parametrize("name", [name for name, _ in model_names()][::9])
def test_a_name_is_built(name):
    assert size(name) > 1_000_000
