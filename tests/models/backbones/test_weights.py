"""Published weight files load in every layout, or are refused with a reason; never in part."""

import argparse
import copy
import functools
import http.server
import logging
import threading
from collections import OrderedDict

import pytest
import torch
from golden_backbones import read_manifest, seeded_state
from safetensors.torch import save_file
from torch import nn

import models.backbones.emo
import models.backbones.repvit  # noqa: F401 - lists the variants
from models.backbones._weights import load_backbone_weights
from models.registry import BACKBONES, BackboneEntry
from utils.errors import CheckpointError

ENTRY = BACKBONES.get("EMO_1M")
STATE = seeded_state(read_manifest("emo-EMO_1M"))
BODY = {key: value for key, value in STATE.items() if not key.startswith("head.")}
AVERAGE = {key: value + 1 for key, value in STATE.items()}
MMDET = {f"backbone.{key}": value for key, value in BODY.items()} | {"bbox_head.conv.weight": torch.zeros(4)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


LAYOUTS = {
    "flat": STATE,
    "ordered": OrderedDict(STATE),
    "data parallel": prefixed("module."),
    "model": {"model": STATE, "epoch": 299, "optimizer": {"state": {}, "lr": [0.1]}},
    "model beside its average": {"model": STATE, "model_ema": AVERAGE},
    "average alone": {"model_ema": STATE, "epoch": 3},
    "namespace": {"model": STATE, "args": argparse.Namespace(lr=0.1, data="imagenet", nested=argparse.Namespace(a=1))},
    "state_dict": {"state_dict": prefixed("module."), "meta": {"CLASSES": ("a", "b")}},
    "lightning": {"state_dict": prefixed("model.")},
    "net": {"net": STATE, "net_E": AVERAGE},
    "net_E": {"net_E": STATE},
    "detector": {"state_dict": MMDET},
    "detector in data parallel": {"state_dict": {f"module.{key}": value for key, value in MMDET.items()}},
    "data parallel inside a wrapper": prefixed("model.module."),
    "wrappers twice": prefixed("module.model.module."),
    "part in data parallel": {f"backbone.module.{key}": value for key, value in BODY.items()},
    "state_dict_ema": {"state_dict_ema": STATE},
    "ema": {"ema": {"module": STATE, "decay": 0.999}},
    "model after its averages": {"ema": AVERAGE, "model_ema": AVERAGE, "state_dict_ema": AVERAGE, "state_dict": STATE},
    "nested": {"model": {"state_dict": prefixed("module."), "epoch": 3}},
    "model as a description": {"model": {"name": "emo", "depth": 3}, "state_dict": STATE},
    "before batch counters": {key: value for key, value in STATE.items() if "num_batches_tracked" not in key},
    "half precision": {key: value.half() for key, value in STATE.items()},
}


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return ENTRY()


def saved(tmp_path, content, **options):
    path = tmp_path / "weights.pth"
    torch.save(content, path, **options)
    return path


def refusal(backbone, path, entry=ENTRY) -> CheckpointError:
    """Return the error of loading ``path`` after checking that it changed nothing."""
    before = copy.deepcopy(backbone.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_backbone_weights(backbone, entry, path, "EMO_1M")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_load_in_every_layout(tmp_path, backbone, layout):
    counters = {key: value.clone() for key, value in backbone.state_dict().items() if "num_batches" in key}

    report = load_backbone_weights(backbone, ENTRY, saved(tmp_path, LAYOUTS[layout]), "EMO_1M")

    expected = BODY | counters if layout == "before batch counters" else BODY
    for key, value in backbone.state_dict().items():
        stored = expected[key].half() if layout == "half precision" else expected[key]
        assert value.dtype == BODY[key].dtype
        assert torch.equal(value, stored.to(value.dtype))
    assert not report.missing and not report.mismatched
    is_detector = "detector" in layout or layout == "part in data parallel"
    assert report.unexpected == ([] if is_detector else ["head.weight", "head.bias"])


def test_the_format_before_pytorch_1_6_loads(tmp_path, backbone):
    path = saved(tmp_path, STATE, _use_new_zipfile_serialization=False)

    load_backbone_weights(backbone, ENTRY, path, "EMO_1M")

    assert torch.equal(backbone.stage4[2].proj.conv.weight, STATE["stage4.2.proj.conv.weight"])


def test_a_nested_place_is_named_in_the_report(tmp_path, backbone):
    report = load_backbone_weights(backbone, ENTRY, saved(tmp_path, LAYOUTS["nested"]), "EMO_1M")

    assert report.source.endswith("key 'model.state_dict'")


def test_a_prefix_that_the_backbone_has_itself_stays(tmp_path):
    entry = BackboneEntry(lambda: nn.ModuleDict({"model": nn.Linear(1, 1)}))
    weights = {"module.model.weight": torch.full((1, 1), 5.0), "module.model.bias": torch.zeros(1)}
    backbone = entry()

    load_backbone_weights(backbone, entry, saved(tmp_path, weights), "mine")

    assert backbone.model.weight.item() == 5


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_safetensors_file_loads_under_any_name(tmp_path, backbone, name, prefix):
    save_file(prefixed(prefix), tmp_path / name)

    report = load_backbone_weights(backbone, ENTRY, tmp_path / name, "EMO_1M")

    assert not report.missing
    assert all(torch.equal(value, BODY[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("kept", [0.999, 0.01])
def test_a_truncated_safetensors_file_is_called_damaged(tmp_path, backbone, kept):
    path = tmp_path / "weights.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])

    error = refusal(backbone, path)

    assert error.what.startswith(f"{path}: damaged or cut short")
    assert len(error.what.splitlines()) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])  # the last one is infinite in float32
def test_a_tensor_that_is_not_finite_is_named(tmp_path, backbone, bad):
    spoilt = STATE["norm.norm.bias"].double()
    spoilt[-1] = bad
    path = saved(tmp_path, STATE | {"norm.norm.bias": spoilt})

    assert refusal(backbone, path).what == f"{path}: tensor 'norm.norm.bias' holds NaN or infinity"


def test_what_is_not_loaded_may_be_infinite(tmp_path, backbone):
    load_backbone_weights(backbone, ENTRY, saved(tmp_path, STATE | {"head.bias": STATE["head.bias"] / 0}), "EMO_1M")

    assert torch.equal(backbone.norm.norm.bias, STATE["norm.norm.bias"])


def test_the_report_counts_tensors_and_numbers_by_section(tmp_path, backbone):
    path = saved(tmp_path, {"model": STATE})

    report = load_backbone_weights(backbone, ENTRY, path, "EMO_1M")

    assert report.sections()["norm"] == (2, 2)
    assert sum(total for _, total in report.sections().values()) == len(BODY) == 215
    assert report.lines() == [
        f"EMO_1M: 215 of 215 tensors (100.0% of the numbers) loaded from {path}, key 'model'",
        "  stage0 18/18, stage1 28/28, stage2 28/28, stage3 102/102, stage4 37/37, norm 2/2",
        "  left over in the file: 2 tensors (head.weight, head.bias)",
    ]
    facts = report.as_dict()
    assert facts["matched"] == {"tensors": 215, "share": 1.0}
    assert facts["unexpected"] == ["head.weight", "head.bias"]


@pytest.mark.parametrize("options", [{"reductions": (8, 16)}, {"taps": "raw"}])
def test_levels_that_are_not_read_may_be_left_over(tmp_path, options):
    backbone = ENTRY(**options)

    report = load_backbone_weights(backbone, ENTRY, saved(tmp_path, STATE), "EMO_1M")

    assert len(report.matched) == len(backbone.state_dict())
    assert "norm.norm.weight" in report.unexpected
    assert torch.equal(backbone.stage3[7].v.conv.bias, STATE["stage3.7.v.conv.bias"])


def test_deep_legacy_blocks_that_are_not_read_may_be_left_over(tmp_path):
    """The file has RepViT's older structure; what the converter would make of its last blocks is no foreign key."""
    legacy = BACKBONES.get("repvit_m1")().state_dict()
    entry = BACKBONES.get("repvit_m0_9")
    backbone = entry(reductions=(4, 8))

    report = load_backbone_weights(backbone, entry, saved(tmp_path, {"model": legacy}), "repvit_m0_9")

    assert "features.20.token_mixer.0.conv1.c.weight" in report.unexpected
    assert not report.missing


def test_a_file_of_another_variant_is_refused_with_counts(tmp_path, backbone):
    error = refusal(backbone, saved(tmp_path, BACKBONES.get("EMO_5M")().state_dict()))

    assert "not the weights of EMO_1M" in error.what
    assert "stage1.0.proj.conv.weight is [48, 96, 1, 1] instead of [32, 96, 1, 1]" in error.what
    assert "are foreign (stage1.2.norm.weight, stage1.2.norm.bias, stage1.2.norm.running_mean, …)" in error.what


def test_a_file_that_lacks_a_stage_is_refused(tmp_path, backbone):
    partial = {key: value for key, value in BODY.items() if not key.startswith("stage4.")}  # 37, 3 of them counters

    error = refusal(backbone, saved(tmp_path, partial))

    assert "178 of 215 tensors (" in error.what
    assert "34 are missing (stage4.0.norm.norm.weight, stage4.0.norm.norm.bias, " in error.what


def test_keys_that_belong_to_no_form_of_the_backbone_are_refused(tmp_path, backbone):
    error = refusal(backbone, saved(tmp_path, STATE | {"stage5.0.weight": torch.zeros(2)}))

    assert "1 are foreign (stage5.0.weight)" in error.what


def test_a_converter_that_misses_a_tensor_names_it(tmp_path):
    legacy = BACKBONES.get("repvit_m1")().state_dict()
    del legacy["features.1.token_mixer.0.conv1.bn.bias"]
    entry = BACKBONES.get("repvit_m0_9")

    error = refusal(entry(), saved(tmp_path, legacy), entry)

    assert "lacks a tensor 'bn.bias'" in error.what


def test_a_library_that_loads_its_own_weights_is_asked_to(backbone):
    asked = []

    def load(module, source):
        asked.append((module, source))
        return list(module.state_dict())[:-1]

    report = load_backbone_weights(backbone, BackboneEntry(ENTRY.build, load=load), True, "timm/x")

    assert asked == [(backbone, True)]
    assert (len(report.matched), len(report.missing)) == (214, 1)


DAMAGED = {
    b"": "the file is empty",
    b"<!DOCTYPE html><html><body>404": "a web page instead of weights",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5": "a Git LFS pointer",
    b"GIF89a........": "not a file of torch.save",
}


@pytest.mark.parametrize("content", DAMAGED, ids=DAMAGED.values())
def test_a_file_of_another_kind_is_named(tmp_path, backbone, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)

    assert f"{path}: {DAMAGED[content]}" in refusal(backbone, path).what


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.001])
def test_a_truncated_file_is_called_damaged(tmp_path, backbone, zip_format, kept):
    path = saved(tmp_path, STATE, _use_new_zipfile_serialization=zip_format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])

    assert f"{path}: damaged or cut short" in refusal(backbone, path).what


def test_one_flipped_bit_is_called_damage(tmp_path, backbone):
    path = saved(tmp_path, STATE)
    content = bytearray(path.read_bytes())
    content[content.index(STATE["stage1.0.proj.conv.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)

    assert "the checksum (CRC-32) of 'weights/data/" in refusal(backbone, path).what


def test_a_folder_is_called_one(tmp_path, backbone):
    assert "a folder, not a weights file" in refusal(backbone, tmp_path).what


def test_a_pickled_model_is_refused_by_the_name_of_its_class(tmp_path, backbone):
    assert "torch.nn.modules.linear.Linear" in refusal(backbone, saved(tmp_path, {"model": nn.Linear(1, 1)})).what


@pytest.mark.parametrize("content", [{"epoch": 3, "lr": 0.1}, [1, 2], torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(tmp_path, backbone, content):
    assert "no state dict" in refusal(backbone, saved(tmp_path, content)).what


def test_a_missing_file_is_named(tmp_path, backbone):
    assert "nowhere.pth: no such file" in refusal(backbone, tmp_path / "nowhere.pth").what


def test_official_weights_without_a_link_are_asked_for(backbone):
    error = refusal(backbone, True)

    assert "EMO_1M: its authors give no direct link" in error.what
    assert "path" in error.fix


@pytest.fixture
def server(tmp_path):
    """Serve tmp_path/site; yield its URL and the list of requests."""
    (tmp_path / "site").mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(args)

    handler = functools.partial(Handler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=[0.02])
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", requests
        serving.shutdown()
        thread.join()


def test_a_url_is_downloaded_once(tmp_path, backbone, server, caplog):
    url, requests = server
    torch.save(STATE, tmp_path / "site" / "net.pth")
    caplog.set_level(logging.INFO)

    for _ in range(2):
        load_backbone_weights(backbone, ENTRY, f"{url}/net.pth", "EMO_1M")

    assert len(requests) == 1
    assert [record.message.split(" to ")[0] for record in caplog.records] == [f"downloading {url}/net.pth"]


def test_the_official_url_is_used_for_true(tmp_path, backbone, server):
    torch.save(STATE, tmp_path / "site" / "official.pth")
    entry = BackboneEntry(ENTRY.build, url=f"{server[0]}/official.pth", head_prefixes=("head.",))

    load_backbone_weights(backbone, entry, True, "EMO_1M")

    assert torch.equal(backbone.norm.norm.bias, STATE["norm.norm.bias"])


def test_a_download_that_fails_leaves_nothing_behind(tmp_path, backbone, server):
    url, _ = server
    (tmp_path / "site" / "page.pth").write_text("<html>please log in</html>")

    assert "cannot be downloaded (HTTP Error 404" in refusal(backbone, f"{url}/absent.pth").what
    assert "a web page instead of weights" in refusal(backbone, f"{url}/page.pth").what
    torch.save(STATE, tmp_path / "site" / "page.pth")  # the page was not kept
    load_backbone_weights(backbone, ENTRY, f"{url}/page.pth", "EMO_1M")
