"""Where the tensors of a training's model come from: --weights, --backbone-weights, the model YAML."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.backbones import resolve_backbone
from models.detector import DetectionModel
from models.parse import read_model_yaml
from utils.checkpoint.native import save_checkpoint
from utils.configs.train import TrainConfig
from utils.errors import CheckpointError, ConfigError
from utils.pixels import PixelFormat
from utils.runs import ROOT
from utils.training.inputs import _check_pixels, image_shape
from utils.training.start import build_model, fit_head, plan_model
from utils.yaml_file import write_yaml

NAMES = {0: "cat", 1: "dog"}
BACKBONE = "repvit_m0_6"
FIRST = "model.0.features.0.0.c.weight"  # of RepViT


def start(**flags) -> DetectionModel:
    """Return the model that ``python train.py`` with these flags starts from."""
    torch.manual_seed(1)
    return build_model(plan_model(TrainConfig(**flags)), NAMES, None)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> str:
    """A file of backbone weights, of ones, in the layout of the backbone's authors."""
    state = DetectionModel("yolov5n-repvit").backbone.state_dict()
    path = tmp_path_factory.mktemp("published") / "repvit.pth"
    torch.save({"model": {key: torch.ones_like(value) for key, value in state.items()}}, path)
    return str(path)


@pytest.fixture(scope="module")
def model_yaml(published, tmp_path_factory) -> str:
    """yolov5n-repvit.yaml with these weights in its row, and an option."""
    data, _ = read_model_yaml("yolov5n-repvit.yaml")
    data["backbone"][0][3] = [published]
    path = tmp_path_factory.mktemp("yaml") / "m.yaml"
    write_yaml(path, data)
    return str(path)


@pytest.fixture(scope="module")
def pretrained(model_yaml, tmp_path_factory) -> str:
    """A checkpoint of a training that began with the published weights: the backbone is full of twos now."""
    model = start(cfg=model_yaml)
    assert (model.backbone.state_dict()[FIRST.removeprefix("model.0.")] == 1).all()
    for parameter in model.parameters():
        parameter.data.fill_(2)
    return saved(model, tmp_path_factory.mktemp("pretrained") / "best.pt")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    """A checkpoint of yolov5n as it is, full of threes."""
    model = start(cfg="yolov5n.yaml")
    for parameter in model.parameters():
        parameter.data.fill_(3)
    return saved(model, tmp_path_factory.mktemp("plain") / "yolov5n.pt")


def saved(model: DetectionModel, path) -> str:
    save_checkpoint(path, model, epoch=0, fitness=0.0, training={}, imgsz=64)
    return str(path)


def backbone_is(model: DetectionModel, value: float) -> bool:
    return all((p == value).all() for p in model.backbone.parameters())


def test_weights_of_the_row_are_loaded_with_their_normalisation(model_yaml):
    model = start(cfg=model_yaml)

    assert backbone_is(model, 1)
    assert model.load_report.missing == []
    assert model.yaml["normalize"]["mean"] == pytest.approx([0.485, 0.456, 0.406])


def test_a_checkpoint_of_the_same_backbone_goes_before_the_rows_weights_and_keeps_its_normalisation(
    model_yaml, pretrained
):
    for flags in ({"cfg": model_yaml}, {}, {"cfg": "yolov5n.yaml", "backbone": BACKBONE}, {"backbone": BACKBONE}):
        model = start(weights=pretrained, **flags)

        assert backbone_is(model, 2), flags
        assert model.load_report is None
        assert model.yaml["normalize"]["mean"] == pytest.approx([0.485, 0.456, 0.406]), flags
        assert model.normalize(torch.zeros(1, 3, 2, 2))[0, 0, 0, 0] == pytest.approx(-0.485 / 0.229, rel=1e-4)


def test_a_checkpoint_that_was_trained_without_normalisation_stays_without(model_yaml, tmp_path):
    scratch = saved(start(cfg="yolov5n-repvit.yaml"), tmp_path / "scratch.pt")

    model = start(cfg=model_yaml, weights=scratch)

    assert "normalize" not in model.yaml
    assert isinstance(model.normalize, torch.nn.Identity)


def test_a_detectors_neck_and_published_backbone_weights_come_together(plain, published):
    model = start(weights=plain, backbone=BACKBONE, backbone_weights=published)

    assert backbone_is(model, 1)
    assert model.load_report.missing == []
    assert "normalize" in model.yaml
    neck = [model.model[16 - 1].cv2.conv.weight, model.model[13].conv.weight]  # rows 24 → 15, 21 → 13 … of yolov5n
    assert all((weight == 3).all() for weight in neck)


def test_the_rows_of_a_detector_move_with_its_backbone(plain, caplog):
    caplog.set_level(logging.INFO)
    old, model = DetectionModel("yolov5n", nc=2), start(weights=plain, backbone=BACKBONE)

    kept = {
        f"model.{int(k.split('.')[1]) - 8}.{k.split('.', 2)[2]}": v for k, v in old.state_dict().items() if is_neck(k)
    }
    own = model.state_dict()
    fitting = [key for key in kept if own[key].shape == kept[key].shape and key.endswith("conv.weight")]
    assert len(fitting) >= 20
    assert all((own[key] == 3).all() for key in fitting)
    assert not backbone_is(model, 3)
    assert "the backbone starts from random weights" in caplog.text


def is_neck(key: str) -> bool:
    return int(key.split(".")[1]) >= 9  # SPPF is row 9 of yolov5n


def test_two_sources_of_one_backbone_are_refused(pretrained, published):
    with pytest.raises(ConfigError, match="both --weights and --backbone-weights fill the backbone"):
        start(cfg="yolov5n.yaml", weights=pretrained, backbone=BACKBONE, backbone_weights=published)


def test_backbone_weights_that_are_not_there_are_an_error_beside_weights_too(plain):
    with pytest.raises(CheckpointError, match="nowhere"):
        start(weights=plain, backbone=BACKBONE, backbone_weights="nowhere.pth")


def test_a_model_for_other_than_three_channels_is_refused_before_training(tmp_path):
    data, _ = read_model_yaml("yolov5n.yaml")
    write_yaml(tmp_path / "gray.yaml", data | {"ch": 1})

    with pytest.raises(ConfigError, match=r"gray\.yaml: 'ch: 1', but the images of the data set have 3 channels"):
        start(cfg=str(tmp_path / "gray.yaml"))


def test_a_wrong_row_is_told_while_planning_before_any_data_is_looked_at(tmp_path):
    data, _ = read_model_yaml("yolov5n.yaml")
    data["backbone"][1][2] = "Convv"
    write_yaml(tmp_path / "m.yaml", data)

    with pytest.raises(ConfigError, match=r"m\.yaml: row 1: unknown layer 'Convv'"):
        plan_model(TrainConfig(cfg=str(tmp_path / "m.yaml")))


def test_what_the_data_and_the_hyper_parameters_overrule_may_be_left_out_of_the_yaml(tmp_path):
    data, _ = read_model_yaml("yolov5n.yaml")
    write_yaml(tmp_path / "m.yaml", {key: value for key, value in data.items() if key not in ("nc", "anchors")})

    model = build_model(plan_model(TrainConfig(cfg=str(tmp_path / "m.yaml"))), NAMES, anchors=3)

    assert model.nc == len(NAMES)


def test_a_yaml_that_is_no_model_is_named_with_a_backbone_too():
    with pytest.raises(ConfigError, match=r"anchors\.yaml: missing 'backbone'"):
        start(cfg="models/hub/anchors.yaml", backbone=BACKBONE)


def test_the_backbone_that_the_yaml_has_keeps_its_options_and_recipe(tmp_path):
    data, _ = read_model_yaml("yolov5n-fasternet.yaml")
    data["backbone"][0][3] = [False, {"drop_path": 0.3}]
    write_yaml(tmp_path / "m.yaml", data)

    plan = plan_model(TrainConfig(cfg=str(tmp_path / "m.yaml"), backbone=data["backbone"][0][2]))

    assert plan.data["backbone"][0] == data["backbone"][0]
    assert plan.recipe == data["recipe"]


FAMILIES = sorted((ROOT / "models").glob("yolov5?-*.yaml"))


@pytest.mark.parametrize("file", FAMILIES, ids=lambda path: path.stem)
def test_another_backbone_brings_the_recipe_of_the_yaml_of_its_family(file):
    data, _ = read_model_yaml(file)

    entry = resolve_backbone(data["backbone"][0][2])

    assert entry.recipe == data["recipe"]


@pytest.mark.parametrize("cfg", ["yolov5n.yaml", "yolov5n-repvit.yaml"])
def test_the_recipe_comes_with_the_backbone_of_the_command_line(cfg):
    plan = plan_model(TrainConfig(cfg=cfg, backbone="fasternet_t0"))

    assert plan.recipe == resolve_backbone("fasternet_t0").recipe != read_model_yaml("yolov5n-repvit.yaml")[0]["recipe"]


@pytest.mark.parametrize("backbone", ["", "fasternet_t0"])
def test_a_yaml_may_say_that_there_is_no_recipe(backbone, tmp_path):
    write_yaml(tmp_path / "m.yaml", read_model_yaml("yolov5n.yaml")[0] | {"recipe": "none"})

    plan = plan_model(TrainConfig(cfg=str(tmp_path / "m.yaml"), backbone=backbone))

    assert plan.recipe == {}


@pytest.mark.parametrize(("cfg", "rows"), [("yolov5n", 10), ("yolov5n-repvit", 1)])
def test_the_backbone_is_its_row_or_the_rows_under_its_heading(cfg, rows):
    with torch.device("meta"):
        assert list(DetectionModel(cfg).backbone_rows) == list(range(rows))


def test_a_backbone_of_one_size_is_built_for_the_size_that_training_rounds_to():
    plan = plan_model(TrainConfig(cfg="yolov5n.yaml", backbone="timm/levit_128", imgsz=120))

    assert plan.data["backbone"][0][3][-1]["img_size"] == [128, 128]


@pytest.mark.parametrize(
    ("flags", "source"),
    [
        ({"cfg": "hub/yolov5-p2.yaml"}, r"yolov5-p2\.yaml"),
        ({"cfg": "yolov8-p2.yaml", "head": "anchor"}, r"yolov8-p2\.yaml with head anchor"),
    ],
)
def test_a_number_of_anchors_needs_autoanchor(flags, source):
    with pytest.raises(ConfigError, match=f"{source}: 'anchors: 3' is a number per level") as error:
        plan_model(TrainConfig(**flags, autoanchor=False))

    assert error.value.fix.startswith("remove --noautoanchor")
    assert plan_model(TrainConfig(**flags)).data["anchors"] == 3


def test_a_checkpoint_brings_the_anchors_that_were_fitted_but_only_to_its_own_model(tmp_path):
    data, _ = read_model_yaml("yolov5n.yaml")
    trained = DetectionModel(data | {"anchors": 3}, nc=2)
    trained.head.anchors.fill_(7)
    weights = saved(trained, tmp_path / "best.pt")

    assert (start(weights=weights, autoanchor=False).head.anchors == 7).all()
    with pytest.raises(ConfigError, match="'anchors: 3' is a number per level"):
        start(weights=weights, backbone=BACKBONE, autoanchor=False)


def test_a_backbone_of_one_size_is_built_for_height_and_width():
    plan = plan_model(TrainConfig(cfg="yolov5n.yaml", backbone="timm/levit_128", imgsz=(120, 192)))

    assert plan.data["backbone"][0][3][-1]["img_size"] == [128, 192]


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"imgsz": 128}, "takes images of 128×192 only, not 128×128", "--imgsz 128 192"),
        ({"imgsz": (192, 128)}, "takes images of 128×192 only, not 192×128", "--imgsz 128 192"),
        ({"imgsz": (128, 192), "rect": True}, "takes images of 128×192 only", "without --rect"),
        ({"imgsz": (128, 192), "quad": True}, "takes images of 128×192 only", "without --quad"),
    ],
)
def test_a_model_of_one_size_refuses_others(options, what, fix):
    model = SimpleNamespace(size_multiple=32, fixed_size=(128, 192))

    assert image_shape(TrainConfig(imgsz=(128, 192)), model) == (128, 192)
    with pytest.raises(ConfigError) as error:
        image_shape(TrainConfig(**options), model)
    assert what in error.value.what
    assert fix in error.value.fix


@pytest.mark.parametrize(("shape", "expected"), [((640, 640), [64, 160]), ((192, 320), [25.6, 64])])
def test_anchors_are_fitted_to_the_sizes_that_boxes_have_on_training_images(shape, expected):
    found = []
    head = SimpleNamespace(fit=lambda sizes, imgsz, hyp, rng: found.append((sizes, imgsz)))
    label = np.array([[0, 0.5, 0.5, 0.1, 1 / 3]])  # of 640×480 pixels on 640×640: 64 × 160, on 192×320: 25.6 × 64
    scan = SimpleNamespace(labels=[label] * 200, shapes=np.array([(480, 640)] * 200))

    fit_head(SimpleNamespace(head=head), scan, shape, {}, seed=0)

    [(sizes, imgsz)] = found
    assert imgsz == max(shape)
    assert sizes.mean(0) == pytest.approx(expected, rel=0.02)  # each is scaled by 0.9 to 1.1
    assert (sizes >= np.array(expected) * 0.9).all() and (sizes <= np.array(expected) * 1.1).all()


def test_a_run_does_not_go_on_with_images_of_another_kind():
    model = DetectionModel("yolov5n.yaml", ch=4)
    model.yaml["bits"] = 16
    spec = SimpleNamespace(file="d.yaml", pixels=PixelFormat(4, 16))

    _check_pixels(model, spec)
    with pytest.raises(ConfigError, match=r"d\.yaml: images of 4 × 8 bits, but the run began with 4 × 16 bits"):
        _check_pixels(model, SimpleNamespace(file="d.yaml", pixels=PixelFormat(4)))
