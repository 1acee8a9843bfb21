"""Models of other channels start from weights for RGB as timm's do; grey gives what its copy in every channel gives."""

import pytest
import timm
import torch
from timm.models._manipulate import adapt_input_conv

from models.backbones import resolve_backbone
from models.backbones._weights import load_backbone_weights
from models.detector import DetectionModel
from models.layers.conv import Focus
from models.layers.input_channels import adapt_kernels, adapt_normalization, adapt_state
from utils.checkpoint.native import save_checkpoint
from utils.configs.train import TrainConfig
from utils.errors import ConfigError
from utils.pixels import PixelFormat
from utils.training.start import build_model, plan_model
from utils.yaml_file import write_yaml

FAMILIES = ("EMO_1M", "repvit_m0_9", "fasternet_t0", "repvgg_a0", "torchvision/shufflenet_v2_x0_5", "timm/lcnet_050")


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 16])
def test_kernels_are_adapted_as_timm_adapts_them(channels):
    weight = torch.rand(8, 3, 5, 5)

    torch.testing.assert_close(
        adapt_kernels(weight, 3, channels), adapt_input_conv(channels, weight), rtol=0, atol=1e-6
    )


def test_moved_pixels_stay_together():
    focus, grey = Focus(3, 8, 3).eval(), Focus(1, 8, 3).eval()
    grey.load_state_dict(adapt_state(focus.state_dict(), grey.state_dict(), 3, 1))
    image = torch.rand(1, 1, 32, 32)

    torch.testing.assert_close(grey(image), focus(image.expand(-1, 3, -1, -1)), rtol=0, atol=1e-6)
    weight = torch.rand(8, 12, 3, 3)
    torch.testing.assert_close(adapt_kernels(weight, 3, 1), adapt_input_conv(1, weight), rtol=0, atol=1e-6)


def shaken(model, seed=0):
    """Return the model with norms that have seen something."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("cfg", ["yolov5n.yaml", "yolov8n.yaml"])
@pytest.mark.parametrize("channels", [1, 6])
def test_equal_channels_give_what_they_give_as_rgb(cfg, channels):
    rgb = shaken(DetectionModel(cfg, nc=2)).double()
    other = DetectionModel(cfg, ch=channels, nc=2).double().eval()
    other.load_state_dict(adapt_state(rgb.state_dict(), other.state_dict(), 3, channels))
    grey = torch.rand(1, 1, 64, 64, dtype=torch.float64)

    expected, found = rgb(grey.expand(-1, 3, -1, -1))[1], other(grey.expand(-1, channels, -1, -1))[1]

    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_only_kernels_that_read_the_image_are_adapted():
    state = {
        "a": torch.rand(4, 3, 1, 1),
        "b": torch.rand(4, 3),
        "c": torch.rand(4, 8, 1, 1),
        "d": torch.rand(5, 3, 1, 1),
    }
    own = {"a": torch.rand(4, 4, 1, 1), "b": torch.rand(4, 4), "c": torch.rand(4, 8, 1, 1), "d": torch.rand(6, 4, 1, 1)}

    adapted = adapt_state(state, own, 3, 4)

    assert adapted["a"].shape == (4, 4, 1, 1)
    assert all(adapted[key] is state[key] for key in "bcd")


def test_means_and_deviations_follow_the_kernels():
    facts = {"mean": [0.3, 0.5, 0.7], "std": [0.1, 0.2, 0.3]}

    assert adapt_normalization(facts, 1) == {"mean": pytest.approx([0.5]), "std": pytest.approx([0.2])}
    assert adapt_normalization(facts, 5) == {"mean": [0.3, 0.5, 0.7, 0.3, 0.5], "std": [0.1, 0.2, 0.3, 0.1, 0.2]}
    assert adapt_normalization(facts, 3) == facts
    assert adapt_normalization(None, 4) is None


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_weights_for_rgb_fill_a_backbone_of_other_channels(name, channels, tmp_path):
    entry = resolve_backbone(name)
    rgb, other = (entry(reductions=(8, 16, 32), in_channels=c).eval() for c in (3, channels))
    shaken(rgb)
    prefix = "body." if "/" in name else ""
    torch.save({key.removeprefix(prefix): value for key, value in rgb.state_dict().items()}, tmp_path / "w.pth")
    if name.startswith("timm/"):
        torch.manual_seed(0)
        whole = shaken(timm.create_model(name.removeprefix("timm/")))
        torch.save(whole.state_dict(), tmp_path / "w.pth")
        load_backbone_weights(rgb, entry, tmp_path / "w.pth", name)
    grey = torch.rand(1, 1, 64, 64)

    report = load_backbone_weights(other, entry, tmp_path / "w.pth", name, channels)

    assert not report.mismatched
    assert len(report.matched) == len(other.state_dict())
    with torch.no_grad():
        pairs = zip(other(grey.expand(-1, channels, -1, -1)), rgb(grey.expand(-1, 3, -1, -1)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_a_checkpoint_starts_a_model_for_the_channels_of_the_data(tmp_path, caplog):
    torch.manual_seed(0)
    rgb = shaken(DetectionModel("yolov5n.yaml", nc=2))
    rgb.set_normalization({"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]})
    save_checkpoint(tmp_path / "rgb.pt", rgb, epoch=0, fitness=0.0, training={})
    plan = plan_model(TrainConfig(weights=str(tmp_path / "rgb.pt"), cfg=""))

    with caplog.at_level("INFO"):
        model = build_model(plan, {0: "0", 1: "1"}, None, PixelFormat(4, 16))

    assert (model.yaml["ch"], model.yaml["bits"]) == (4, 16)
    assert model.yaml["normalize"] == {"mean": [0.1, 0.2, 0.3, 0.1], "std": [1.0] * 4}
    first = "model.0.conv.weight"
    expected = adapt_kernels(rgb.state_dict()[first], 3, 4)
    torch.testing.assert_close(model.state_dict()[first], expected, rtol=0, atol=1e-6)
    assert "weights for images of 3 channels are adapted to 4" in caplog.text
    assert model.eval()(torch.rand(1, 4, 64, 64))[0].isfinite().all()


def test_a_yaml_for_other_channels_than_the_data_is_refused(tmp_path):
    write_yaml(tmp_path / "m.yaml", DetectionModel("yolov5n.yaml").yaml | {"ch": 4})
    plan = plan_model(TrainConfig(cfg=str(tmp_path / "m.yaml")))

    with pytest.raises(ConfigError, match=r"m\.yaml: 'ch: 4', but the images of the data set have 1 channel\n"):
        build_model(plan, {0: "a"}, None, PixelFormat(1))
    assert build_model(plan, {0: "a"}, None, PixelFormat(4)).yaml["ch"] == 4
