"""A backbone row: five slots, level names, only the levels that are read, its norms and its weights left alone."""

import pytest
import torch
from torch import Tensor, nn

from models.backbones import resolve_backbone
from models.detector import DetectionModel
from models.registry import BACKBONES, BackboneEntry
from utils.errors import ConfigError

WIDTHS = {4: 6, 8: 10, 16: 12, 32: 20}  # reduction → channels of the fake


class Fake(nn.Module):
    """Strided means, repeated to the declared channels, times one weight per level; counts its calls."""

    def __init__(self, reductions, in_channels):
        super().__init__()
        self.reductions, self.calls = tuple(reductions), 0
        self.feature_channels = [WIDTHS[r] for r in self.reductions]
        self.norm = nn.BatchNorm2d(in_channels, eps=1e-6, momentum=0.2)
        self.scale = nn.Parameter(torch.ones(len(self.reductions)))

    def forward(self, x: Tensor) -> list[Tensor]:
        self.calls += 1
        x = self.norm(x).mean(1, keepdim=True)
        return [
            nn.functional.avg_pool2d(x, r).expand(-1, c, -1, -1) * s
            for r, c, s in zip(self.reductions, self.feature_channels, self.scale, strict=True)
        ]


def fake(*, reductions=None, in_channels: int = 3, taps: str = "last") -> Fake:
    absent = [r for r in reductions or () if r not in WIDTHS]
    if absent:
        raise ConfigError(f"reductions {absent}: this backbone has /4, /8, /16, /32")
    return Fake(reductions or tuple(WIDTHS), in_channels)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    resolve_backbone("")  # the real ones register once, not into the copies below
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    monkeypatch.setattr(BACKBONES, "_aliases", dict(BACKBONES._aliases))
    BACKBONES.register("fake_net", "FakeNet")(BackboneEntry(fake, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.125)))


def pan(p3=2, p4=3, row=None):
    """The tutorials' YAML: SPPF in slot 5, the neck from slot 6."""
    return {
        "nc": 2,
        "depth_multiple": 0.33,
        "width_multiple": 0.125,
        "anchors": [[10, 13, 16, 30]] * 3,
        "backbone": [row or [-1, 1, "fake_net", [False]], [-1, 1, "SPPF", [1024, 5]]],
        "head": [
            [-1, 1, "Conv", [512, 1, 1]],
            [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
            [[-1, p4], 1, "Concat", [1]],
            [-1, 3, "C3", [512, False]],
            [-1, 1, "Conv", [256, 1, 1]],
            [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
            [[-1, p3], 1, "Concat", [1]],
            [-1, 3, "C3", [256, False]],
            [-1, 1, "Conv", [256, 3, 2]],
            [[-1, 10], 1, "Concat", [1]],
            [-1, 3, "C3", [512, False]],
            [-1, 1, "Conv", [512, 3, 2]],
            [[-1, 5], 1, "Concat", [1]],
            [-1, 3, "C3", [1024, False]],
            [[13, 16, 19], 1, "Detect", ["nc", "anchors"]],
        ],
    }


def test_a_backbone_row_fills_five_slots():
    model = DetectionModel(pan())

    assert model.backbone is model.model[0]
    assert (model.model[0].i, model.model[1].i, model.head.i) == (4, 5, 20)
    assert model.save == [2, 3, 5, 10, 13, 16, 19]
    assert model.stride.tolist() == [8, 16, 32]
    assert model.model[1].cv1.conv.in_channels == 20  # −1 behind the backbone is P5
    assert model.model[5].cv1.conv.in_channels == 64 + 12  # slot 3 is P4
    assert model.model[9].cv1.conv.in_channels == 32 + 10  # slot 2 is P3
    assert [tuple(m.shape) for m in model(torch.rand(2, 3, 64, 96))] == [
        (2, 2, 8, 12, 7),
        (2, 2, 4, 6, 7),
        (2, 2, 2, 3, 7),
    ]


def test_level_names_mean_the_same_slots():
    torch.manual_seed(0)
    by_number = DetectionModel(pan()).eval()
    torch.manual_seed(0)
    by_name = DetectionModel(pan("P3", "P4")).eval()
    image = torch.rand(1, 3, 64, 64)

    assert torch.equal(by_number(image)[0], by_name(image)[0])


def test_the_maps_arrive_at_the_rows_that_name_them():
    model = DetectionModel(pan()).eval()
    seen = {}
    for index in (1, 4, 8):
        model.model[index].register_forward_pre_hook(lambda _, inputs, index=index: seen.update({index: inputs[0]}))
    image = torch.rand(1, 3, 64, 64)

    model(image)

    p3, p4, p5 = model.backbone(image)
    assert torch.equal(seen[1], p5)
    assert torch.equal(seen[4][1], p4)
    assert torch.equal(seen[8][1], p3)


@pytest.mark.parametrize(
    ("sources", "reductions"),
    [(["P5"], (32,)), ([3, "P5"], (16, 32)), (["P3", 4], (8, 32)), ([1], (4,)), ([-1], (32,))],
)
def test_only_levels_that_are_read_are_built(sources, reductions):
    data = pan() | {"anchors": 1, "head": [[sources, 1, "Detect", ["nc", "anchors"]]]}

    model = DetectionModel(data | {"backbone": data["backbone"][:1]})

    assert model.backbone.reductions == reductions
    assert sorted(model.stride.tolist()) == list(reductions)
    assert len(model(torch.rand(1, 3, 64, 64))) == len(sources)


def test_building_neither_runs_the_backbone_nor_touches_its_norms():
    model = DetectionModel(pan())

    assert model.backbone.calls == 0
    assert (model.backbone.norm.eps, model.backbone.norm.momentum) == (1e-6, 0.2)
    assert model.backbone.norm.num_batches_tracked == 0
    assert (model.model[1].cv1.bn.eps, model.model[1].cv1.bn.momentum) == (1e-3, 0.03)


def test_the_multiples_leave_the_backbone_alone():
    wide = DetectionModel(pan() | {"width_multiple": 1.0, "depth_multiple": 1.0})

    assert wide.backbone.feature_channels == [10, 12, 20]


def test_the_activation_of_the_yaml_leaves_the_backbone_alone():
    model = DetectionModel(pan() | {"activation": "nn.ReLU()"})

    assert isinstance(model.model[1].cv1.act, nn.ReLU)
    assert not [part for part in model.backbone.modules() if isinstance(part, nn.ReLU)]


def test_input_channels_reach_the_backbone():
    assert DetectionModel(pan(), ch=1).backbone.norm.num_features == 1


def test_options_of_the_builder_are_the_last_argument():
    DetectionModel(pan(row=[-1, 1, "FakeNet", [False, {"taps": "pre"}]]))

    with pytest.raises(ConfigError, match="row 0: unknown option 'tap' of the backbone") as error:
        DetectionModel(pan(row=[-1, 1, "FakeNet", [{"tap": "pre"}]]))
    assert "did you mean taps" in str(error.value)


@pytest.mark.parametrize("args", [[], [False], ["None"], [{}], [False, {}]])
def test_a_backbone_without_weights_needs_no_argument(args):
    assert DetectionModel(pan(row=[-1, 1, "fake_net", args])).load_report is None


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ([-1, 3, "fake_net", [False]], "row 0: fake_net is a backbone, its row starts with -1, 3"),
        ([0, 1, "fake_net", [False]], "row 0: fake_net is a backbone, its row starts with 0, 1"),
        ([-1, 1, "fake_nett", [False]], "row 0: unknown layer 'fake_nett'\nfix: did you mean fake_net"),
        ([-1, 1, "fake_net", [False, 7]], "row 0: args [False, 7] of a backbone are not"),
        ([-1, 1, "fake_net", [3.5]], "row 0: args [3.5] of a backbone are not"),
    ],
)
def test_a_wrong_backbone_row_is_named(row, text):
    with pytest.raises(ConfigError) as error:
        DetectionModel(pan(row=row))
    assert text in str(error.value)


def test_a_backbone_elsewhere_than_in_the_first_row_is_refused():
    data = pan()
    data["backbone"][1] = [-1, 1, "fake_net", [False]]

    with pytest.raises(ConfigError, match="row 1: fake_net is a backbone and reads the image"):
        DetectionModel(data)


def test_an_empty_slot_is_answered_with_the_levels_that_exist():
    with pytest.raises(ConfigError, match=r"row 0: reductions \[2\]: this backbone has /4, /8, /16, /32"):
        DetectionModel(pan(p3="P1"))


@pytest.mark.parametrize("level", ["P6", "p3", "stride8"])
def test_an_unknown_level_is_answered_with_the_names(level):
    with pytest.raises(ConfigError, match=f"row 8: .*{level}' is no row") as error:
        DetectionModel(pan(p3=level))
    assert "P1, P2, P3, P4, P5" in str(error.value)


def test_a_backbone_that_breaks_the_contract_is_named():
    BACKBONES.register("liar")(BackboneEntry(lambda *, reductions, in_channels: nn.Identity()))

    with pytest.raises(ConfigError, match=r"row 0: liar declares reductions \[\]"):
        DetectionModel(pan(row=[-1, 1, "liar", []]))


def test_the_wiring_says_which_level_feeds_which_row():
    assert DetectionModel(pan()).wiring == [
        "P3 (stride 8, 10 channels) → row 8 Concat",
        "P4 (stride 16, 12 channels) → row 4 Concat",
        "P5 (stride 32, 20 channels) → row 1 SPPF",
    ]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "fake.pth"
    state = fake(reductions=(8, 16, 32)).state_dict() | {"scale": torch.tensor([2.0, 3.0, 4.0])}
    torch.save(state, path)
    return path


def test_weights_named_by_the_row_are_loaded_and_bring_their_normalisation(weights):
    model = DetectionModel(pan(row=[-1, 1, "fake_net", [str(weights)]])).eval()

    assert model.backbone.scale.tolist() == [2, 3, 4]
    assert model.load_report.matched
    assert model.yaml["normalize"] == {"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 0.125]}
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.full((1, 3, 64, 64), 0.5))
    assert seen[0][0, :, 0, 0].tolist() == [0, 1, 4]


def test_a_stored_yaml_rebuilds_without_the_weight_file(weights):
    model = DetectionModel(pan(row=[-1, 1, "fake_net", [str(weights)]])).eval()
    weights.unlink()

    twin = DetectionModel(model.yaml, load_backbone=False).eval()
    twin.load_state_dict(model.state_dict())

    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(twin(image)[0], model(image)[0])
    assert not [key for key in model.state_dict() if "normalize" in key]


def test_a_model_without_weights_gets_plain_images():
    model = DetectionModel(pan())

    assert "normalize" not in model.yaml
    assert isinstance(model.normalize, nn.Identity)
