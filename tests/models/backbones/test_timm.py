"""timm's models as backbones: what every family keeps to, and the loading of their weights."""

import copy
import functools
import logging
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from backbone_checks import largest_error, parameter_count, randomise_norms
from safetensors.torch import save_file
from torch import Tensor, nn

from models.backbones import resolve_backbone
from models.backbones._names import can_have, registered_names
from models.backbones._weights import load_backbone_weights
from models.detector import DetectionModel
from models.registry import BACKBONES
from utils.errors import CheckpointError, ConfigError, DataError
from utils.runs import ROOT

NECK = (8, 16, 32)
LIGHT = {  # name → (millions of parameters of timm's feature extractor with all its maps, as published; why it is here)
    "lcnet_050": (0.27, "plain"),
    "fastvit_t8": (3.17, "re-parameterised by timm"),
    "mambaout_femto": (5.82, "keeps channels last"),
    "vit_tiny_patch16_224": (5.52, "one stride, 16"),
    "eva02_tiny_patch14_224": (5.50, "one stride, 14"),
}
FAMILIES = {
    "resnet18": 11.18,
    "res2net50_26w_4s": 23.65,
    "regnetx_002": 2.32,
    "dla34": 15.23,
    "hrnet_w18_small": 2.84,
    "densenet121": 6.95,
    "dpn48b": 8.29,
    "mobilenetv3_small_100": 0.93,
    "mobilenetv4_conv_small": 1.26,
    "tf_efficientnetv2_b0": 5.61,
    "lcnetv2_base": 4.10,
    "ghostnetv3_100": 1.92,
    "rexnet_100": 3.28,
    "skresnet18": 11.45,
    "repvgg_a0": 7.83,
    "repvit_m0_9": 4.72,
    "fasternet_t0": 2.21,
    "starnet_s1": 2.68,
    "hgnetv2_b0": 1.85,
    "vovnet39a": 21.58,
    "cs3darknet_focus_s": 2.76,
    "gernet_s": 6.25,
    "convnext_atto": 3.37,
    "inception_next_atto": 2.89,
    "efficientvit_b0": 0.68,
    "edgenext_xx_small": 1.16,
    "mobilevit_xxs": 0.95,
    "mobilevitv2_050": 1.11,
    "mobileone_s0": 4.27,
    "tiny_vit_5m_224": 5.07,
    "swiftformer_xs": 3.03,
    "lowformer_b0": 9.64,
    "poolformer_s12": 11.40,
    "caformer_s18": 23.24,
    "pvt_v2_b0": 3.41,
    "twins_svt_small": 23.55,
    "davit_tiny": 27.59,
    "hieradet_small": 33.96,
    "selecsls42b": 18.32,
    "vgg11_bn": 9.23,
    "efficientvit_m0": 2.16,
    "efficientvim_m1": 5.71,
    "csatv2": 10.72,
    "xcit_nano_12_p16_224": 2.53,
    "sequencer2d_s": 21.79,
    "convmixer_768_32": 20.34,
    "swin_tiny_patch4_window7_224": 27.52,
    "mvitv2_tiny": 23.40,
}
SHALLOW = {"vit_tiny_patch16_224": {"depth": 3}, "eva02_tiny_patch14_224": {"depth": 3}}  # their blocks are all alike
NEEDS_TWO_IMAGES = ("skresnet18", "rexnet_100")  # they normalise maps of one pixel
SIZES = ((64, 64), (64, 96))
LARGER_SIZES = {"hieradet_small": ((128, 128), (128, 160)), "efficientvit_m0": ((128, 128), (128, 192))}
SPARSE = {"hieradet_small", "efficientvim_m1", "shvit_s1"}


@pytest.fixture(params=[*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES)], scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def backbone(name):
    """The levels that necks read, in eval mode, with norms that change something; tests leave it as it is."""
    torch.manual_seed(0)
    return randomise_norms(built(name), image(2, *sizes_for(name)[1]))


def built(name: str) -> nn.Module:
    return resolve_backbone(f"timm/{name}")(reductions=NECK, **SHALLOW.get(name, {}))


def sizes_for(name: str) -> tuple[tuple[int, int], ...]:
    return LARGER_SIZES.get(name, SIZES)


def image(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def norm_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the statistics of all norms."""
    return {key: value.clone() for key, value in module.named_buffers() if key.endswith(("running_mean", "tracked"))}


def test_all_maps_together_have_the_published_size(name):
    millions = LIGHT[name][0] if name in LIGHT else FAMILIES[name]
    with torch.device("meta"):
        whole = resolve_backbone(f"timm/{name}")()

    assert parameter_count(whole.body) / 1e6 == pytest.approx(millions, abs=0.0051)


@pytest.mark.parametrize("training", [False, True])
def test_maps_have_the_declared_channels_and_strides(backbone, name, training):
    batch = 2 if name in NEEDS_TWO_IMAGES else 1
    module = copy.deepcopy(backbone).train(training)

    for height, width in sizes_for(name):
        with torch.no_grad():
            maps = module(image(batch, height, width))
        declared = zip(module.feature_channels, NECK, strict=True)
        assert [tuple(m.shape) for m in maps] == [(batch, c, height // r, width // r) for c, r in declared]
    assert module.reductions == NECK


def test_every_trainable_parameter_gets_a_gradient(backbone, name):
    module = copy.deepcopy(backbone).train()

    sum(m.square().sum() for m in module(image(2, *sizes_for(name)[0]))).backward()

    assert not [key for key, p in module.named_parameters() if p.requires_grad and p.grad is None]
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    assert frozen <= 0.01 * parameter_count(module)


def test_building_runs_no_norm_and_draws_only_the_weights(name):
    modules = []
    for _ in range(2):
        torch.manual_seed(3)
        modules.append(built(name))
    after = torch.get_rng_state()

    with torch.device("meta"):
        built(name)

    assert torch.equal(torch.get_rng_state(), after)
    for key, value in norm_state(modules[0]).items():
        assert not value.any(), key
    for first, second in zip(*(m.state_dict().values() for m in modules), strict=True):
        assert torch.equal(first, second)


def test_a_state_dict_makes_another_module_the_same(backbone, name):
    other = built(name).eval()

    other.load_state_dict(backbone.state_dict())

    with torch.no_grad():
        for found, expected in zip(other(image(1, *SIZES[1])), backbone(image(1, *SIZES[1])), strict=True):
            assert torch.equal(found, expected)


@torch.no_grad()
def with_random_statistics(backbone: nn.Module) -> nn.Module:
    """Return a copy; statistics of a small image would hold variances near 0, which magnify rounding."""
    module = copy.deepcopy(backbone)
    torch.manual_seed(0)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
    return module


def test_fusing_changes_no_map(backbone, name):
    before = norm_state(backbone)
    for dtype, limit in ((torch.float32, 2e-4), (torch.float64, 1e-9)):
        plain = with_random_statistics(backbone).to(dtype)
        fused = copy.deepcopy(plain)
        fused.fuse()
        keys = fused.state_dict().keys()
        fused.fuse()

        assert fused.state_dict().keys() == keys
        assert {p.dtype for p in fused.parameters()} == {dtype}
        assert largest_error(fused, plain, image(1, *sizes_for(name)[1]).to(dtype)) <= limit
    assert all(torch.equal(value, before[key]) for key, value in norm_state(backbone).items())


def test_bfloat16_autocast_is_finite(backbone, name):
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        maps = backbone(image(2, *sizes_for(name)[0]))

    assert all(m.isfinite().all() for m in maps)


def build(name: str, **options) -> nn.Module:
    return resolve_backbone(name)(reductions=NECK, **options)


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return build(name, **options)


def test_a_registered_name_goes_before_timm_and_a_bare_name_is_timms():
    assert resolve_backbone("repvit_m1") is BACKBONES.get("repvit_m1")
    assert (
        on_meta("lcnet_050.ra2_in1k").feature_channels == on_meta("timm/lcnet_050").feature_channels == [64, 128, 256]
    )
    assert resolve_backbone("no_such_net") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timm/resnet19", "did you mean resnet18"),
        ("timm/lcnet_050.no_tag", "lcnet_050"),
        ("timm/lcnet_050.", "lcnet_050"),
        ("timm/convnext_tiny_in22ft1k", "did you mean convnext_tiny"),  # which timm has renamed
        ("timm/", "python models/yolo.py --list-backbones timm/"),
    ],
)
def test_an_unknown_timm_name_is_answered_with_close_ones(name, hint):
    with pytest.raises(ConfigError, match="unknown timm model") as error:
        resolve_backbone(name)
    assert hint in str(error.value)


def test_a_typo_in_a_row_is_answered_from_all_tables():
    row = {"backbone": [[-1, 1, "vovnet39", [False]]], "head": [[[-1], 1, "Detect", ["nc", "anchors"]]]}
    top = {"nc": 1, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": 1}

    with pytest.raises(ConfigError, match=r"row 0: unknown layer 'vovnet39'\nfix: did you mean vovnet39[ab]"):
        DetectionModel(top | row)


def test_neither_our_own_backbones_nor_a_wrong_name_import_a_library():
    """To import timm takes seconds; the names of its models are read from its files."""
    code = (
        "import sys; from models.parse import dialect_of, find_layer; from utils.errors import ConfigError\n"
        "for name in sys.argv[1:]:\n"
        "    try: sys.exit(f'{name}: {find_layer(name, dialect_of({}))}')\n"
        "    except ConfigError: pass\n"
        "from models.detector import DetectionModel\n"
        "DetectionModel('yolov5n.yaml'), DetectionModel('yolov5n-emo.yaml')\n"
        "sys.exit(bool({'timm', 'torchvision'} & sys.modules.keys()))"
    )
    names = ["Convv", "nn.Upsampel", "C3Typo", "emo_1n", "vovnet39", "__import__('os')"]
    assert subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT).returncode == 0


def test_the_names_that_are_read_are_those_that_the_libraries_list():
    assert registered_names("timm") == sorted(timm.list_models())
    assert registered_names("torchvision") == sorted(torchvision.models.list_models(module=torchvision.models))
    assert not [name for name in timm.list_models()[::50] if not can_have("timm", name)]


def test_a_plain_transformer_gets_a_pyramid_from_its_last_map():
    module = build("timm/vit_tiny_patch16_224").eval()
    fine, middle, coarse = module(image(1, 64, 96))

    (last,) = module.body(image(1, 64, 96))
    assert torch.equal(middle, last)
    assert torch.equal(coarse, nn.functional.max_pool2d(last, 2))
    assert torch.equal(fine, module.upsample(last))
    assert len(module.body.model.blocks) == 12


def test_a_stride_of_14_becomes_16_by_resizing_the_image():
    module = build("timm/eva02_tiny_patch14_224").eval()
    seen = []
    module.body.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))

    maps = module(image(1, 64, 96))

    assert seen == [(1, 3, 56, 84)]
    assert [tuple(m.shape[2:]) for m in maps] == [(8, 12), (4, 6), (2, 3)]


def test_a_model_bound_to_one_size_says_so():
    module = build("timm/coat_lite_tiny", img_size=128)

    assert module.fixed_size == (128, 128)
    with pytest.raises(ConfigError, match=r"built for images of 128×128, not 128×160"):
        module(image(1, 128, 160))


def test_a_model_of_any_size_has_no_fixed_size():
    assert on_meta("timm/lcnet_050").fixed_size is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("inception_v3", "its convolutions are not padded: a map has 157×157 cells where its stride gives 160×160"),
        ("crossvit_tiny_240", "strides 12, 17"),
        ("efficientformer_l1", "it takes images of 224×224 only"),
        ("efficientvit_m0", "no map of stride 4 .it has /16, /32, /64"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason_when_it_is_built(name, reason):
    with torch.device("meta"), pytest.raises(ConfigError, match=f"^timm/{name}.*{reason}"):
        resolve_backbone(f"timm/{name}")(reductions=(4, *NECK))


@pytest.mark.parametrize("name", ["halonet26t", pytest.param("bat_resnext26ts", marks=pytest.mark.slow)])
def test_attention_in_blocks_of_cells_wants_multiples_of_256(name):
    module = on_meta(f"timm/{name}")

    assert (module.size_multiple, module.fixed_size) == (256, None)
    maps = module(torch.empty(1, 3, 256, 512, device="meta"))
    assert [tuple(m.shape[2:]) for m in maps] == [(32, 64), (16, 32), (8, 16)]


def test_a_detector_takes_the_multiples_of_its_backbone():
    data = {"nc": 1, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": 1}
    head = [[["P3", "P5"], 1, "Detect", ["nc", "anchors"]]]
    with torch.device("meta"):
        model = DetectionModel(data | {"backbone": [[-1, 1, "timm/halonet26t", []]], "head": head})

    assert model.size_multiple == 256
    with pytest.raises(DataError, match="multiples of 256"):
        model(torch.empty(1, 3, 320, 320, device="meta"))


def test_a_model_of_square_images_says_so():
    with pytest.raises(ConfigError, match=r"convit_tiny .*: it takes square images only\nfix: use img_size 416"):
        on_meta("timm/convit_tiny", img_size=[320, 416])


def test_wrong_options_are_not_answered_with_another_model():
    with pytest.raises(ConfigError, match="fix: correct the options or leave them out"):
        on_meta("timm/lcnet_050", no_option=1)


def test_further_options_go_to_timm():
    stochastic = on_meta("timm/convnext_atto", drop_path_rate=0.5)

    rates = [m.drop_prob for m in stochastic.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.5)
    with pytest.raises(ConfigError, match=r"lcnet_050 with .*no_option.* cannot .*unexpected keyword argument"):
        on_meta("timm/lcnet_050", no_option=1)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained", "pretrained_cfg", "features_only", "num_classes"])
def test_options_that_would_read_files_or_change_the_kind_of_model_are_refused(option):
    with pytest.raises(ConfigError, match=f"{option} is not an option of a backbone"):
        on_meta("timm/lcnet_050", **{option: "x"})


def test_input_channels_reach_the_first_convolution():
    assert on_meta("timm/lcnet_050", in_channels=5).body.conv_stem.weight.shape[1] == 5


def test_parameters_that_reach_no_map_are_frozen():
    module = on_meta("timm/efficientvim_m1")

    assert len([p for p in module.parameters() if not p.requires_grad]) == 1


def test_the_normalisation_is_that_of_timms_weights():
    entry = resolve_backbone("timm/vit_tiny_patch16_224")

    assert (entry.mean, entry.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert resolve_backbone("timm/lcnet_050").mean == (0.485, 0.456, 0.406)


@functools.cache
def classifier(name: str, num_classes: int = 1000) -> nn.Module:
    torch.manual_seed(1)
    return randomise_norms(timm.create_model(name, num_classes=num_classes), image(2, 224, 224))


def load(name: str, path, **options) -> tuple[nn.Module, object]:
    entry, module = resolve_backbone(f"timm/{name}"), build(f"timm/{name}", **options).eval()
    return module, load_backbone_weights(module, entry, path, f"timm/{name}")


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, lambda s: s) for name in ("lcnet_050", "mambaout_femto", "vit_tiny_patch16_224")),
        ("lcnet_050", lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}),
    ],
)
def test_a_file_of_timms_classifier_loads_whole(name, layout, tmp_path):
    whole = classifier(name)
    torch.save(layout(whole.state_dict()), tmp_path / "weights.pth")

    module, report = load(name, tmp_path / "weights.pth")

    oracle = whole.forward_intermediates(image(1, 224, 224), intermediates_only=True)
    with torch.no_grad():
        found = module.body(image(1, 224, 224))
    for feature in found:
        assert any(feature.shape == o.shape and torch.allclose(feature, o, rtol=1e-4, atol=1e-4) for o in oracle)
    assert report.matched == [key for key in module.state_dict() if key.startswith("body.")]
    assert report.missing == [key for key in module.state_dict() if key.startswith("upsample.")]


def test_a_safetensors_file_loads(tmp_path):
    save_file(classifier("lcnet_050").state_dict(), tmp_path / "model.safetensors")

    module, _ = load("lcnet_050", tmp_path / "model.safetensors")

    assert torch.equal(module.body.conv_stem.weight, classifier("lcnet_050").conv_stem.weight)


def test_a_damaged_safetensors_file_is_one_sentence(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(classifier("lcnet_050").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match="damaged or cut short") as error:
        load("lcnet_050", path)
    assert len(str(error.value).splitlines()) == 2  # what, fix


def test_a_file_with_other_classes_loads_too(tmp_path):
    torch.save(classifier("lcnet_050", 7).state_dict(), tmp_path / "weights.pth")

    module, _ = load("lcnet_050", tmp_path / "weights.pth")

    assert torch.equal(module.body.conv_stem.weight, classifier("lcnet_050", 7).conv_stem.weight)


def test_positions_are_resized_to_the_size_that_the_model_is_built_for(tmp_path):
    torch.save(classifier("vit_tiny_patch16_224").state_dict(), tmp_path / "weights.pth")

    module, _ = load("vit_tiny_patch16_224", tmp_path / "weights.pth", img_size=128)

    assert module.body.model.pos_embed.shape == (1, 1 + 8 * 8, 192)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "blocks.0.0.bn1.weight"}, "blocks.0.0.bn1.weight"),
        (lambda state: state | {"extra.weight": torch.zeros(1)}, "extra.weight"),
        (lambda state: {"a": torch.zeros(2)}, "not loaded"),
        (lambda state: state | {"bn1.bias": state["bn1.bias"] / 0}, "tensor 'bn1.bias' holds NaN or infinity"),
        (lambda state: state | {"conv_stem.weight": torch.zeros(1, 3, 3, 3)}, "conv_stem.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(spoil, text, tmp_path):
    torch.save(spoil(classifier("lcnet_050").state_dict()), tmp_path / "weights.pth")
    module = build("timm/lcnet_050")
    before = copy.deepcopy(module.state_dict())

    with pytest.raises(CheckpointError, match=text):
        load_backbone_weights(module, resolve_backbone("timm/lcnet_050"), tmp_path / "weights.pth", "timm/lcnet_050")

    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(CheckpointError, match=r"no/such\.pth: no such file"):
        load("lcnet_050", "no/such.pth")


def test_true_takes_timms_own_weights(monkeypatch):
    create = timm.create_model

    def with_weights(name, pretrained=False, **options):
        return classifier(name) if pretrained else create(name, **options)

    monkeypatch.setattr(timm, "create_model", with_weights)
    module, report = load("lcnet_050", True)

    assert torch.equal(module.body.conv_stem.weight, classifier("lcnet_050").conv_stem.weight)
    assert "official weights" in report.lines()[0]


def test_a_failing_download_is_one_sentence(monkeypatch):
    create = timm.create_model

    def without_network(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no route to huggingface.co\nmore\nlines")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    with pytest.raises(CheckpointError, match="timm/lcnet_050: its published weights not loaded: no route") as error:
        load("lcnet_050", True)
    assert len(str(error.value).splitlines()) == 2


def test_the_attempts_of_a_failing_download_are_not_logged(monkeypatch, caplog):
    create, chatty = timm.create_model, logging.getLogger("huggingface_hub.utils._http")

    def without_network(name, pretrained=False, **options):
        if pretrained:
            chatty.warning("Retrying in 1s")
            raise OSError("no route")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    with pytest.raises(CheckpointError, match="no route"):
        load("lcnet_050", True)

    assert "Retrying" not in caplog.text
    chatty.warning("afterwards it speaks again")
    assert "speaks again" in caplog.text
