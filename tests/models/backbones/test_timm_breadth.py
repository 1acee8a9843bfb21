"""103 models of timm under YOLOv5n: each is built, trained for one step and exported, or refused with the reason.

python -m pytest tests/models/backbones/test_timm_breadth.py -m slow                 # an hour and more
python -m pytest tests/models/backbones/test_timm_breadth.py -m slow -k efficientvit
"""

import re

import onnx
import pytest
import torch

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.swap import swap_backbone
from utils.errors import ConfigError
from utils.export.compare import compare
from utils.export.onnx import deployable, export_onnx
from utils.losses.anchor_loss import DetectionLoss, LossGains

pytestmark = pytest.mark.slow

NAMES = {
    # any multiple of 32
    "plain": """
        resnet18 resnet50d skresnet18 res2net50_26w_4s regnetx_002 dla34 hrnet_w18_small densenet121 dpn48b
        mobilenetv3_small_100 mobilenetv2_050 mobilenetv4_conv_small mobilenetv4_hybrid_medium
        efficientnet_lite0 efficientnet_b0 tf_efficientnetv2_b0 lcnet_050 lcnetv2_base ghostnet_100
        ghostnetv2_100 ghostnetv3_100 rexnet_100 mobileone_s0 repvgg_a0 repvgg_b1g4 repvit_m1 repvit_m0_9
        fasternet_t0 starnet_s1 hgnet_tiny hgnetv2_b0 vovnet39a cs3darknet_focus_s gernet_s convnext_atto
        convnextv2_atto inception_next_atto inception_next_tiny efficientvit_b0 efficientvit_l1
        edgenext_xx_small mobilevit_xxs mobilevitv2_050 fastvit_t8 tiny_vit_5m_224 nextvit_small
        swiftformer_xs lowformer_b0 focalnet_tiny_srf poolformer_s12 poolformerv2_s12 convformer_s18
        caformer_s18 rdnet_tiny pvt_v2_b0 twins_pcpvt_small twins_svt_small davit_tiny sam2_hiera_tiny
        hieradet_small tresnet_m selecsls42b nfnet_f0
    """,
    # any size, but other levels, strides or layouts
    "with_care": """
        vgg11_bn cspdarknet53 efficientvit_m0 shvit_s1 efficientvim_m1 csatv2 mambaout_femto
        vit_small_patch16_dinov3 xcit_nano_12_p16_224 sequencer2d_s convmixer_768_32
    """,
    # any size with the right option
    "made_dynamic": """
        swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 swin_s3_tiny_224 mvitv2_tiny
        vit_tiny_patch16_224 vit_small_patch16_224 deit_tiny_patch16_224 vit_small_patch14_dinov2
        eva02_tiny_patch14_224
    """,
    # the size that they are built for
    "sized": """
        efficientformerv2_s0 coat_lite_tiny gcvit_xxtiny maxvit_nano_rw_256 coatnet_0_rw_224 hiera_tiny_224
        visformer_tiny levit_128 levit_conv_128 beit_base_patch16_224 cait_xxs24_224 volo_d1_224 pit_ti_224
        nest_tiny mixer_s16_224 resmlp_12_224
    """,
}
PLAIN, WITH_CARE, MADE_DYNAMIC, SIZED = (names.split() for names in NAMES.values())
REFUSED = {
    "inception_v3": "its convolutions are not padded",
    "efficientformer_l1": "it takes images of 224×224 only",  # its attention has 7 × 7 positions
    "crossvit_tiny_240": "strides 12, 17",
}
# with open sizes the exporter computes for many minutes over the windows of the first ones, and fails on the last
ONE_SIZE_A_FILE = ("davit_tiny", "sam2_hiera_tiny", "hieradet_small", "mvitv2_tiny")
SMALL, WIDE = (320, 320), (416, 640)


def build(name: str) -> DetectionModel:
    torch.manual_seed(0)
    data = read_model_yaml("yolov5n.yaml")[0] | {"nc": 3}
    return DetectionModel(swap_backbone(data, f"timm/{name}", imgsz=SMALL))


def train_one_step(model: DetectionModel, size: tuple[int, int]) -> None:
    """Take a step of SGD on two images with one box each; every trainable parameter has a part in it."""
    model.train()
    loss = DetectionLoss(model.head.anchors, model.nc, LossGains())
    targets = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.3], [1, 2, 0.3, 0.6, 0.1, 0.2]])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    total, _ = loss(model(torch.rand(2, 3, *size)), targets)
    total.backward()

    assert total.isfinite()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_lists_are_the_103_models():
    names = [*PLAIN, *WITH_CARE, *MADE_DYNAMIC, *SIZED, *REFUSED]

    assert (len(PLAIN), len(WITH_CARE), len(MADE_DYNAMIC) + len(SIZED) + len(REFUSED)) == (63, 11, 29)
    assert len(set(names)) == 103


@pytest.mark.parametrize("name", [*PLAIN, *WITH_CARE, *MADE_DYNAMIC])
def test_a_model_of_any_size_trains_and_exports(name, tmp_path, monkeypatch):
    model = build(name)

    train_one_step(model, SMALL)
    assert model.fixed_size is None
    model.eval()

    if name in ONE_SIZE_A_FILE:
        monkeypatch.setattr("utils.export.graph.OPEN_TRACE_S", 5.0)
        for size in (SMALL, WIDE):
            report = export_onnx(model, tmp_path / "model.onnx", imgsz=size)
            assert report.comparisons[-1].shape == (1, 3, *size)
        return
    export_onnx(model, tmp_path / "model.onnx", imgsz=SMALL, dynamic=True)
    wide = compare(onnx.load(tmp_path / "model.onnx"), deployable(model), (1, 3, *WIDE))
    assert wide.passed, wide


@pytest.mark.parametrize("name", SIZED)
def test_a_model_bound_to_its_size_trains_and_exports_there_and_says_so(name, tmp_path):
    model = build(name)

    assert model.fixed_size == SMALL
    assert model.yaml["backbone"][0][3][-1]["img_size"] == list(SMALL)
    train_one_step(model, SMALL)
    report = export_onnx(model.eval(), tmp_path / "model.onnx", imgsz=SMALL)
    assert all(comparison.passed for comparison in report.comparisons)
    with pytest.raises(ConfigError, match=re.escape("built for images of 320×320, not 416×640")):
        model(torch.rand(1, 3, *WIDE))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_work_is_refused_with_the_reason(name):
    with pytest.raises(ConfigError, match=f"timm/{name} cannot be a detector's backbone: .*{REFUSED[name]}"):
        build(name)
