"""torchvision's models as backbones: levels, weights, fusing, refusals."""

import copy

import pytest
import torch
from backbone_checks import largest_error, randomise_norms
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models.feature_extraction import create_feature_extractor

from models.backbones import _weights, resolve_backbone
from models.backbones._weights import load_backbone_weights
from utils.errors import CheckpointError, ConfigError

NECK = (8, 16, 32)
NODES = {  # name → channels and nodes of the last block of strides 8, 16, 32
    "resnet18": ([128, 256, 512], ["layer2", "layer3", "layer4"]),
    "mobilenet_v3_small": ([24, 48, 576], ["features.3", "features.8", "features.12"]),
    "shufflenet_v2_x0_5": ([48, 96, 1024], ["stage2", "stage3", "conv5"]),
    "regnet_y_400mf": ([104, 208, 440], ["trunk_output.block2", "trunk_output.block3", "trunk_output.block4"]),
    "densenet121": ([512, 1024, 1024], ["features.denseblock2", "features.denseblock3", "features.norm5"]),
    "efficientnet_b0": ([40, 112, 1280], ["features.3", "features.5", "features.8"]),
    "googlenet": ([480, 832, 1024], ["inception3b", "inception4e", "inception5b"]),
    "mnasnet0_5": ([24, 48, 1280], ["layers.10", "layers.12", "layers.16"]),
    "swin_t": ([192, 384, 768], ["features.3", "features.5", "norm"]),
    "convnext_tiny": ([192, 384, 768], ["features.3", "features.5", "features.7"]),
    "vgg11_bn": ([512, 512, 512], None),
    "squeezenet1_1": ([256, 512, 512], None),  # its maps lack a row and a column; P5 is pooled from the last of them
}
LIGHT = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")


@pytest.fixture(
    params=[name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in NODES], scope="module"
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def backbone(name):
    torch.manual_seed(0)
    return randomise_norms(build(name), image(2, 128, 160))


def build(name: str, reductions: tuple[int, ...] = NECK) -> nn.Module:
    return resolve_backbone(f"torchvision/{name}")(reductions=reductions)


def image(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [False, True])
def test_maps_have_the_declared_channels_and_strides(backbone, name, training):
    module = copy.deepcopy(backbone).train(training)

    for height, width in ((64, 64), (64, 96)):
        maps = module(image(1, height, width))
        declared = zip(NODES[name][0], NECK, strict=True)
        assert [tuple(m.shape) for m in maps] == [(1, c, height // r, width // r) for c, r in declared]
    assert (module.feature_channels, module.reductions) == (NODES[name][0], NECK)


def test_maps_are_those_of_torchvisions_feature_extractor(backbone, name):
    nodes = NODES[name][1]
    if nodes is None:
        pytest.skip("its blocks have no names")
    whole = zoo.get_model(name, weights=None).eval()
    whole.load_state_dict(backbone.body.state_dict(), strict=False)
    oracle = create_feature_extractor(whole, nodes)

    with torch.no_grad():
        expected = list(oracle(image(1, 64, 96)).values())
        found = backbone(image(1, 64, 96))
    expected = [e.permute(0, 3, 1, 2) if name.startswith("swin") else e for e in expected]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_every_parameter_gets_a_gradient(backbone):
    module = copy.deepcopy(backbone).train()

    sum(m.square().sum() for m in module(image(2, 64, 64))).backward()

    assert not [key for key, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert all(p.requires_grad for p in module.parameters())


def test_building_runs_no_norm(name):
    state = build(name).state_dict()

    assert not any(v.any() for key, v in state.items() if key.endswith(("running_mean", "num_batches_tracked")))


def test_fusing_changes_no_map(backbone):
    exact = copy.deepcopy(backbone).double()
    fused = copy.deepcopy(exact)
    fused.fuse()
    keys = fused.state_dict().keys()
    fused.fuse()

    assert fused.state_dict().keys() == keys
    assert {p.dtype for p in fused.parameters()} == {torch.float64}
    assert largest_error(fused, exact, image(1, 64, 96).double()) <= 1e-9


def test_fusing_a_resnet_leaves_no_norm():
    module = build("resnet18").eval()
    module.fuse()

    assert not [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_depth_of_the_chain_follows_the_coarsest_level():
    assert not [key for key in build("resnet18", (8,)).state_dict() if "layer3" in key]


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(ConfigError, match="unknown torchvision model 'resnet19'") as error:
        resolve_backbone("torchvision/resnet19")
    assert "did you mean resnet18" in str(error.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_b_16", "it takes images of 224×224 only"),
        ("vit_h_14", "it takes images of 224×224 only"),
        ("maxvit_t", "it takes images of 224×224 only"),
        ("inception_v3", "not padded: a map has 157×157 cells where its stride gives 160×160"),
        ("convnext_tiny", r"no map of stride 2 is|no map of stride 1"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(name, reason):
    with torch.device("meta"), pytest.raises(ConfigError, match=f"^torchvision/{name}.*({reason})"):
        build(name, (1, *NECK))


def test_the_convolutions_of_a_classifier_are_no_level():
    assert not [key for key in build("squeezenet1_1").state_dict() if "classifier" in key]


def test_input_channels_reach_the_first_convolution():
    module = resolve_backbone("torchvision/resnet18")(reductions=NECK, in_channels=5)

    assert module.body.conv1.weight.shape == (64, 5, 7, 7)
    assert len(module(torch.rand(1, 5, 64, 64))) == 3


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    return zoo.get_model("resnet18", weights=None).state_dict()


def load(source) -> tuple[nn.Module, object]:
    module = build("resnet18")
    return module, load_backbone_weights(
        module, resolve_backbone("torchvision/resnet18"), source, "torchvision/resnet18"
    )


@pytest.mark.parametrize("classes", [1000, 3])
def test_a_file_of_the_classifier_fills_the_backbone(trained, classes, tmp_path):
    head = {"fc.weight": torch.zeros(classes, 512), "fc.bias": torch.zeros(classes)}
    torch.save(trained | head, tmp_path / "weights.pth")

    module, report = load(tmp_path / "weights.pth")

    assert all(torch.equal(value, trained[key]) for key, value in module.body.state_dict().items())
    assert report.matched == list(module.state_dict())


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "layer1.0.conv1.weight"}, "layer1.0.conv1.weight"),
        (lambda state: state | {"conv1.weight": torch.zeros(1, 3, 3, 3)}, "conv1.weight is .1, 3, 3, 3. instead of"),
        (lambda state: state | {"layer9.weight": torch.zeros(1)}, "layer9.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(trained, spoil, text, tmp_path):
    torch.save(spoil(trained), tmp_path / "weights.pth")

    with pytest.raises(CheckpointError, match=text):
        load(tmp_path / "weights.pth")


def test_true_takes_the_default_weights_of_torchvision(trained, tmp_path, monkeypatch):
    torch.save(trained, tmp_path / "weights.pth")
    asked = []
    monkeypatch.setattr(_weights, "download", lambda url: asked.append(url) or tmp_path / "weights.pth")

    module, _ = load(True)

    assert asked == [zoo.ResNet18_Weights.DEFAULT.url]
    assert torch.equal(module.body.conv1.weight, trained["conv1.weight"])


def test_the_normalisation_is_that_of_the_default_weights():
    assert resolve_backbone("torchvision/efficientnet_v2_l").mean == (0.5, 0.5, 0.5)
    assert resolve_backbone("torchvision/resnet18").std == (0.229, 0.224, 0.225)
