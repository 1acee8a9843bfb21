"""Weights as a model's authors publish them: keys of their own, converted before anything is judged by its key.

Each layout is written here by hand, from timm's names back to the authors'; a seeded classifier is renamed to it.
"""

import functools
import re

import pytest
import timm
import torch
from torch import Tensor

from models.backbones import resolve_backbone
from models.backbones._weights import load_backbone_weights
from models.registry import BackboneEntry
from utils.errors import CheckpointError

State = dict[str, Tensor]


def renamed(state: State, *rules: tuple[str, str]) -> State:
    """Return ``state`` with every rule (pattern, replacement) applied to its keys."""
    result = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result


def swin(state: State) -> State:
    """Microsoft merges patches at the end of a stage, timm at the start of the next; attention masks are stored."""
    masks = {
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 49, 49),
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.long),
    }
    moved = {
        re.sub(r"layers\.(\d)\.downsample", lambda at: f"layers.{int(at[1]) - 1}.downsample", key): value
        for key, value in state.items()
    }
    return masks | renamed(moved, (r"^head\.fc\.", "head."))


def convnext(state: State) -> State:
    return renamed(
        state,
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    )


def pvt_v2(state: State) -> State:
    def number(at: re.Match) -> str:
        return f"{int(at[1]) + 1}"

    rules = (
        (r"^patch_embed\.", "patch_embed1."),
        (r"^stages\.(\d)\.downsample", lambda at: f"patch_embed{number(at)}"),
        (r"^stages\.(\d)\.blocks", lambda at: f"block{number(at)}"),
        (r"^stages\.(\d)\.norm", lambda at: f"norm{number(at)}"),
        (r"mlp\.dwconv", "mlp.dwconv.dwconv"),
    )
    return renamed(state, *rules)


def regnet(state: State) -> State:
    """torchvision's names, which timm reads too."""
    return renamed(
        state,
        (r"^stem\.conv\.", "stem.0."),
        (r"^stem\.bn\.", "stem.1."),
        (r"^s(\d)\.b(\d+)\.", lambda at: f"trunk_output.block{at[1]}.block{at[1]}-{int(at[2]) - 1}."),
        (r"conv1\.conv", "f.a.0"),
        (r"conv1\.bn", "f.a.1"),
        (r"conv2\.conv", "f.b.0"),
        (r"conv2\.bn", "f.b.1"),
        (r"conv3\.conv", "f.c.0"),
        (r"conv3\.bn", "f.c.1"),
        (r"downsample\.conv", "proj.0"),
        (r"downsample\.bn", "proj.1"),
        (r"^head\.fc\.", "fc."),
    )


SMALL_SWIN = {"embed_dim": 24, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 4, 8)}
AUTHORS = {  # timm's name → its options in this test, the authors' layout
    "swin_tiny_patch4_window7_224": (SMALL_SWIN, swin),
    "convnext_atto": ({}, convnext),
    "pvt_v2_b0": ({}, pvt_v2),
    "regnetx_002": ({}, regnet),
    "deit_tiny_distilled_patch16_224": ({"depth": 3}, dict),
}
HEADS = r"^(head|head_dist|fc)\."
WRAPPERS = {
    "alone": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 299, "config": "x"},
    "state_dict of DataParallel": lambda state: {"state_dict": {f"module.{key}": v for key, v in state.items()}},
    "average": lambda state: {"model_ema": state},
}


@functools.cache
def published(name: str, num_classes: int) -> tuple[State, State]:
    """Return the state dict of a seeded classifier in timm's layout, and in its authors'."""
    torch.manual_seed(2)
    options, layout = AUTHORS[name]
    state = timm.create_model(name, num_classes=num_classes, **options).state_dict()
    return state, layout(state)


@functools.cache
def built(name: str):
    return resolve_backbone(name)(reductions=(8, 16, 32), **AUTHORS.get(name.removeprefix("timm/"), ({},))[0])


def build(name: str):
    """Return the one module of this name, emptied."""
    module = built(name)
    for value in module.state_dict().values():
        value.zero_()
    return module


def load(name: str, module, path):
    return load_backbone_weights(module, resolve_backbone(f"timm/{name}"), path, f"timm/{name}")


def canonical(key: str) -> str:
    """timm's feature extractors name ``layers.0`` as ``layers_0`` or put ``model.`` before it."""
    return key.removeprefix("body.").removeprefix("model.").replace(".", "_")


def assert_filled(module, state: State) -> None:
    wanted = {canonical(key): value for key, value in state.items()}
    for key, value in module.state_dict().items():
        if key.startswith("body."):
            assert torch.equal(value, wanted[canonical(key)]), key


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize("classes", [7, None])
def test_a_file_of_the_authors_loads_with_any_classifier(tmp_path, name, classes):
    state, theirs = published(name, classes or 7)
    if classes is None:
        theirs = {key: value for key, value in theirs.items() if not re.match(HEADS, key)}
    module = build(f"timm/{name}")
    torch.save({"model": theirs}, tmp_path / "authors.pth")

    load(name, module, tmp_path / "authors.pth")

    assert_filled(module, state)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_file_of_the_authors_loads_in_every_wrapper(tmp_path, wrapper):
    state, theirs = published("convnext_atto", 7)
    module = build("timm/convnext_atto")
    torch.save(WRAPPERS[wrapper](theirs), tmp_path / "authors.pth")

    load("convnext_atto", module, tmp_path / "authors.pth")

    assert_filled(module, state)


@pytest.mark.parametrize("spoilt", ["missing", "foreign"])
def test_a_file_of_the_authors_that_does_not_fit_is_still_refused(tmp_path, spoilt):
    theirs = dict(published("convnext_atto", 7)[1])
    key = "stages.0.0.dwconv.bias"
    if spoilt == "missing":
        del theirs[key]
    else:
        theirs["stages.0.9.dwconv.bias"] = theirs[key]
    torch.save(theirs, tmp_path / "authors.pth")

    with pytest.raises(CheckpointError, match=r"stages\.0\.blocks\.[09]\.conv_dw\.bias"):
        load("convnext_atto", build("timm/convnext_atto"), tmp_path / "authors.pth")


def test_the_dotted_keys_of_torchvisions_densenets_load(tmp_path):
    """Its files are from before PyTorch 0.4, when modules could be called ``norm.1``."""
    torch.manual_seed(2)
    entry = resolve_backbone("torchvision/densenet121")
    expected = {key: value.clone() for key, value in built("torchvision/densenet121").state_dict().items()}
    state = {key.removeprefix("body."): value for key, value in expected.items()}
    theirs = renamed(state, (r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2"))
    assert "features.denseblock1.denselayer1.norm.1.weight" in theirs
    torch.save(theirs, tmp_path / "densenet.pth")

    target = build("torchvision/densenet121")

    load_backbone_weights(target, entry, tmp_path / "densenet.pth", "torchvision/densenet121")

    for key, value in target.state_dict().items():
        assert torch.equal(expected[key], value), key


def test_a_head_is_known_by_its_key_after_the_conversion(tmp_path):
    """The file calls its classifier what only the converter understands; it is left over, not foreign."""
    entry = BackboneEntry(
        lambda: torch.nn.Sequential(torch.nn.Linear(1, 1)),
        head_prefixes=("head.",),
        convert=lambda state, _: renamed(state, (r"^classifier\.", "head."), (r"^trunk\.", "0.")),
    )
    state = {"trunk.weight": torch.ones(1, 1), "trunk.bias": torch.ones(1), "classifier.x": torch.ones(1)}
    torch.save(state, tmp_path / "x.pth")

    report = load_backbone_weights(entry(), entry, tmp_path / "x.pth", "mine")

    assert (report.matched, report.unexpected) == (["0.weight", "0.bias"], ["head.x"])


OURS = {  # name → keys of the classifier as its authors publish it
    "emo_1m": ("head.weight", "head.bias"),
    "repvit_m0_9": ("classifier.classifier.l.weight", "classifier.classifier_dist.bn.bias"),
    "fasternet_t0": ("avgpool_pre_head.1.weight", "head.weight", "head.bias"),
    "repvgg_a0": ("linear.weight", "linear.bias"),
}


@functools.cache
def seeded_state(name: str) -> State:
    torch.manual_seed(2)
    return resolve_backbone(name)(reductions=(8, 16, 32)).state_dict()


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", OURS)
def test_our_own_backbones_read_every_wrapper(tmp_path, name, wrapper):
    entry = resolve_backbone(name)
    state, target = seeded_state(name), build(name)
    torch.save(WRAPPERS[wrapper](state | {key: torch.ones(3) for key in OURS[name]}), tmp_path / "x.pth")

    report = load_backbone_weights(target, entry, tmp_path / "x.pth", name)

    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    assert report.unexpected == list(OURS[name])
