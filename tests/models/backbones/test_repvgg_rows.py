"""RepVGG in model YAMLs: by widths and depths, block by block, by the names of the tutorials; what is refused."""

import copy

import pytest
import torch
from backbone_checks import detector_on_meta, parameter_count, randomise_norms
from torch import nn

from models.backbones import resolve_backbone
from models.build import backbone_args
from models.detector import DetectionModel
from models.layers.repvgg_block import RepVGGBlock
from models.parse import read_model_yaml
from models.swap import swap_backbone
from utils.errors import CheckpointError, ConfigError

ARTICLE = {"widths": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
TRAINING, DEPLOYED = 5_172_096, 4_648_448  # parameters, by hand: 10 c₁c₂ (9 c₁c₂) and the norms of each block
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def detector(row: list, **top) -> DetectionModel:
    """Return YOLOv5n's neck and head behind a backbone row."""
    data = read_model_yaml("yolov5n-repvgg.yaml")[0] | {"nc": 3} | top
    data["backbone"][0] = row
    return DetectionModel(data)


def of_blocks() -> DetectionModel:
    """Return a detector whose backbone is rows of blocks, at a quarter of their widths."""
    rows = [[-1, 1, "RepVGGBlock", args] for args in ([64, 2], [128, 2], [256, 2], [256])]
    head = [[[1, 3], 1, "Detect", ["nc", "anchors"]]]
    top = {"nc": 3, "depth_multiple": 1.0, "width_multiple": 0.25, "anchors": [[10, 13], [30, 61]]}
    return DetectionModel(top | {"backbone": rows, "head": head})


def test_widths_and_depths_of_a_row_make_the_articles_network():
    model = detector([-1, 1, "RepVGG", [False, ARTICLE]]).eval()
    strides = [block.rbr_dense.conv.stride[0] for block in model.backbone.modules() if isinstance(block, RepVGGBlock)]
    backbone = randomise_norms(copy.deepcopy(model.backbone), IMAGE)
    fused = copy.deepcopy(backbone)
    fused.fuse()

    assert (parameter_count(model.backbone), parameter_count(fused)) == (TRAINING, DEPLOYED)
    assert strides == [2, 2, 1, 2, 1, 2, 1]
    with torch.no_grad():
        for found, expected in zip(fused(IMAGE), backbone(IMAGE), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


def test_levels_behind_the_last_stage_are_pooled_from_it():
    model = detector([-1, 1, "RepVGG", [False, ARTICLE]]).eval()
    with torch.no_grad():
        p3, p4, p5 = model.backbone(IMAGE)

    assert model.backbone.feature_channels == [256, 512, 512]
    assert [tuple(m.shape[1:]) for m in (p3, p4)] == [(256, 8, 12), (512, 4, 6)]
    assert torch.equal(p5, nn.functional.max_pool2d(p4, 2))
    assert model.stride.tolist() == [8, 16, 32]


@pytest.mark.parametrize("depths", [(2, 4, 14, 1), (1, 2, 4, 14, 1)])
def test_five_widths_are_the_published_network(depths):
    options = {"reductions": (8, 16, 32), "in_channels": 3}
    own = resolve_backbone("RepVGG")(widths=[48, 48, 96, 192, 1280], depths=list(depths), **options).eval()
    published = resolve_backbone("repvgg_a0")(**options).eval()

    own.load_state_dict(published.state_dict())

    with torch.no_grad():
        assert all(map(torch.equal, own(IMAGE), published(IMAGE)))


def test_the_log_says_what_was_built():
    lines = detector([-1, 1, "RepVGG", [False, ARTICLE]]).wiring

    assert lines[0] == (
        "RepVGG, blocks × channels: stem 1×64, stages 2×128, 2×256, 2×512; coarser levels by max-pooling"
    )
    assert lines[3].startswith("P5 (stride 32, 512 channels)")


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("EMO", "emo_1m"),
        ("RepViT", "repvit_m0_6"),
        ("create_RepVGG_A0", "repvgg_a0"),
        ("create_RepVGG_B1g2", "repvgg_b1g2"),
        ("RepVGG", "repvgg_a0"),
    ],
)
def test_the_names_of_the_tutorials_stand_for_variants_and_say_which(name, listed):
    model = detector_on_meta("yolov5n-repvgg.yaml", name)

    assert parameter_count(model) == parameter_count(detector_on_meta("yolov5n-repvgg.yaml", listed))
    assert name in model.wiring[0]
    assert listed in model.wiring[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"widths": [64, 128]}, "depths: None is not a list of positive whole numbers"),
        ({"widths": [64, 128], "depths": [2, True]}, r"depths: \[2, True\] is not a list"),
        ({"widths": [64, 128.0], "depths": [2, 2]}, r"widths: \[64, 128.0\] is not a list"),
        ({"widths": [64, 0], "depths": [2, 2]}, r"widths: \[64, 0\] is not a list"),
        ({"widths": 64, "depths": 2}, "widths: 64 is not a list"),
        ({"widths": [64], "depths": [2]}, "1 widths and 1 depths"),
        ({"widths": [64] * 6, "depths": [2] * 6}, "6 widths and 6 depths"),
        ({"widths": [64, 128, 256], "depths": [2]}, "3 widths and 1 depths"),
        ({"widths": [64, 10**6], "depths": [1, 1000]}, "up to 10,000,000,640,000,000 parameters"),
        ({"widths": [1, 1], "depths": [1, 10**7]}, "1000 blocks in a stage"),
        ({"width": [64, 128]}, "unknown option 'width' of the backbone\nfix: did you mean widths"),
    ],
)
def test_impossible_sizes_are_refused_before_anything_is_built(options, reason):
    with pytest.raises(ConfigError, match=f"(?s)row 0: .*{reason}"):
        detector([-1, 1, "RepVGG", [False, options]])


@pytest.mark.parametrize("args", [[True], [True, ARTICLE]])
def test_true_does_not_mean_deployed(args):
    with pytest.raises(CheckpointError, match="the True of the tutorials, the deployed form, is what fuse"):
        detector([-1, 1, "RepVGG", args])


def test_a_file_of_the_own_size_fills_the_levels_that_are_read(tmp_path):
    sizes = {"widths": [8, 8, 8, 8, 16], "depths": [1, 1, 1, 1, 3]}  # the last stage is deeper than A0's
    whole = resolve_backbone("RepVGG")(**sizes)
    torch.save(whole.state_dict(), tmp_path / "own.pth")
    data = read_model_yaml("yolov5n-repvgg.yaml")[0]
    data["backbone"] = [[-1, 1, "RepVGG", [str(tmp_path / "own.pth"), sizes]]]
    data["head"] = [[["P3", "P4"], 1, "Detect", ["nc", "anchors"]]]
    data["anchors"] = data["anchors"][:2]

    backbone = DetectionModel(data).backbone

    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_the_command_line_keeps_the_sizes_of_the_row():
    data = read_model_yaml("yolov5n-repvgg.yaml")[0]
    data["backbone"][0] = [-1, 1, "RepVGG", [False, ARTICLE]]

    row = swap_backbone(data, "RepVGG")["backbone"][0]

    assert backbone_args(resolve_backbone("RepVGG"), row[3]) == (None, ARTICLE)


def test_blocks_are_rows_that_fuse_deploys():
    model = of_blocks()
    blocks = [module for module in model.model if isinstance(module, RepVGGBlock)]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = randomise_norms(model, images).double()
    fused = copy.deepcopy(plain).fuse()

    assert [block.rbr_dense.conv.out_channels for block in blocks] == [16, 32, 64, 64]
    assert [block.rbr_identity is not None for block in blocks] == [False, False, False, True]
    assert [block.rbr_reparam.kernel_size for block in fused.model[:4]] == [(3, 3)] * 4
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        torch.testing.assert_close(fused(images.double())[0], plain(images.double())[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("args", [[64, 3, 2], [64, 2.0], [64, True], [64, 2, 5], [64, 2, 1, "before ReLU"], []])
def test_arguments_that_a_block_does_not_have_are_refused(args):
    data = read_model_yaml("yolov5n.yaml")[0]
    data["backbone"][1] = [-1, 1, "RepVGGBlock", args]

    with pytest.raises(ConfigError, match="row 1"):
        DetectionModel(data)
