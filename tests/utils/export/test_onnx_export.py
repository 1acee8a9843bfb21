"""An exported file computes what PyTorch computes, at every size it claims; if it does not, nothing is written."""

import json
import re
import signal
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_detector import enlivened, tiny_model
from torch import nn

from models.detector import DetectionModel
from models.parse import read_model_yaml
from models.swap import swap_backbone
from utils.errors import ExportError
from utils.export import graph as export
from utils.export import order
from utils.export.compare import RejectedError, example_images
from utils.export.deployed import deployable
from utils.export.onnx import export_onnx
from utils.export.trace import by_program, by_script, exporters, least_ir, oldest_runtime, trace


class Bound(nn.Module):
    """Adds a map of one size, as a position embedding does: the network takes one image size only."""

    def __init__(self):
        super().__init__()
        self.map = nn.Parameter(torch.rand(1, 8, 16, 16))

    def forward(self, x):
        return x + self.map


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output0"], {"images": images.numpy()})[0]


def predictions(model, images):
    with torch.inference_mode():
        return model(images)[0].numpy()


def assert_equal(found, expected):
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def dynamic(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("dynamic") / "tiny.onnx"
    return path, export_onnx(model, path, (64, 96), dynamic=True, data="pets.yaml")


@pytest.fixture(scope="module")
def fixed(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("fixed") / "tiny.onnx"
    return path, export_onnx(model, path, (64, 96), batch=2)


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (3, 3, 64, 64), (2, 3, 160, 32), (1, 3, 16, 16)])
def test_a_dynamic_file_takes_any_batch_and_size(model, dynamic, shape):
    images = torch.rand(shape)

    assert_equal(run(dynamic[0], images), predictions(model, images))


def test_a_fixed_file_is_a_smaller_graph_for_one_shape(model, dynamic, fixed):
    path, report = fixed
    images = torch.rand(2, 3, 64, 96)

    assert_equal(run(path, images), predictions(model, images))
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in onnx_ends(path)]
    assert shapes == [[2, 3, 64, 96], [2, 2 * (8 * 12 + 4 * 6), 8]]
    assert report.nodes < dynamic[1].nodes


def onnx_ends(path):
    graph = onnx.load(path).graph
    return [*graph.input, *graph.output]


def test_inputs_and_outputs_have_the_names_that_other_tools_expect(dynamic):
    images, output = onnx_ends(dynamic[0])

    assert (images.name, output.name) == ("images", "output0")
    assert [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == ["batch", "anchors", 8]


def test_the_file_tells_stride_names_size_data_and_the_comparison(dynamic):
    path, report = dynamic
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}

    told = {"stride", "names", "layout", "imgsz", "input", "output", "letterbox", "license", "data", "verification"}
    assert set(metadata) == told | {"channels", "bits"}
    assert (metadata["channels"], metadata["bits"]) == ("3", "8")
    assert metadata["stride"] == "16"
    assert metadata["layout"] == "BN5C"
    assert metadata["names"] == "{0: 'class 0', 1: 'class 1', 2: 'class 2'}"
    assert json.loads(metadata["imgsz"]) == [64, 96]
    assert metadata["input"] == "RGB, 0 to 1"
    assert metadata["data"] == "pets.yaml"
    stored = json.loads(metadata["verification"])
    assert [tuple(entry["shape"]) for entry in stored] == [comparison.shape for comparison in report.comparisons]
    assert all(entry["box_px"] <= 1e-3 and entry["score"] <= 1e-4 for entry in stored)


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (3, "RGB, 0 to 1; normalized inside, by mean [0.5, 0.25, 0.125] and std [0.5, 0.5, 0.5]"),
        (1, "1 channel, 0 to 1; normalized inside, by mean [0.5] and std [0.5]"),
    ],
)
def test_the_file_says_that_it_normalizes_by_itself(tmp_path, channels, said):
    normalize = {"mean": [0.5, 0.25, 0.125][:channels], "std": [0.5] * channels}
    model = tiny_model(ch=channels, normalize=normalize)
    export_onnx(model, tmp_path / "tiny.onnx", (64, 64))
    images = torch.rand(1, channels, 64, 64)

    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "tiny.onnx").metadata_props}

    assert metadata["input"] == said
    assert_equal(run(tmp_path / "tiny.onnx", images), predictions(model, images))


def test_the_comparison_covers_two_sizes_and_two_batches(dynamic, fixed):
    for report in (dynamic[1], fixed[1]):
        batches, sizes = zip(*((shape[0], shape[2:]) for shape in (c.shape for c in report.comparisons)), strict=True)
        assert len(set(batches)) == len(set(sizes)) == 2


def test_the_report_reads_well(fixed):
    path, report = fixed

    head, limits, *rows = report.lines()
    assert head.startswith(
        f"{path}: images 2×3×64×96, {report.nodes} nodes, opset 17, IR 8 (ONNX Runtime 1.12 and newer), "
    )
    assert "limits 0.001 px, 0.0001" in limits
    assert all(re.fullmatch(r" +\d×3×\d+×\d+  \S+ px  \S+", row) for row in rows)


def test_no_trace_of_the_exporting_machine_is_in_the_file(fixed, dynamic):
    for path, _ in (fixed, dynamic):
        content = path.read_bytes()
        assert b"stack_trace" not in content
        assert b".py" not in content


def test_the_model_is_left_as_it_is(model, dynamic):
    assert isinstance(model.model[0].bn, nn.BatchNorm2d)
    assert model.model[0].conv.weight.requires_grad


def test_a_size_that_is_no_multiple_of_the_stride_is_rounded_up_and_said(caplog):
    assert export.fitting_size((64, 96), 16) == (64, 96)
    assert caplog.text == ""
    assert export.fitting_size((60, 33), 16) == (64, 48)
    assert "using 64×48" in caplog.text


def test_a_model_without_open_sizes_is_exported_for_one(model, tmp_path, monkeypatch, caplog):
    trace = export.trace

    def one_size_only(*args, open_sizes):
        if open_sizes:
            raise RejectedError("height is 64")
        return trace(*args, open_sizes=open_sizes)

    monkeypatch.setattr(export, "trace", one_size_only)
    report = export_onnx(model, tmp_path / "x.onnx", (64, 64))

    assert [comparison.shape for comparison in report.comparisons] == [(1, 3, 64, 64)]
    assert "exported for 64×64 only, not compared at another size: " in caplog.text
    assert "with open sizes: height is 64" in caplog.text
    with pytest.raises(ExportError, match="open sizes: height is 64"):
        export_onnx(model, tmp_path / "y.onnx", (64, 64), dynamic=True)
    assert not (tmp_path / "y.onnx").exists()


def test_open_sizes_that_take_too_long_are_given_up_for_one_size(model, tmp_path, monkeypatch, caplog):
    trace = export.trace

    def endless(*args, open_sizes):
        while open_sizes:
            time.sleep(0.01)
        return trace(*args, open_sizes=open_sizes)

    monkeypatch.setattr(export, "trace", endless)
    monkeypatch.setattr(export, "OPEN_TRACE_S", 0.2)
    report = export_onnx(model, tmp_path / "x.onnx", (64, 64))

    assert [comparison.shape for comparison in report.comparisons] == [(1, 3, 64, 64)]
    assert "exported for 64×64 only, not compared at another size: more than 0.2 s" in caplog.text
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.slow
def test_a_position_embedding_binds_a_model_to_one_size(tmp_path):
    bound = tiny_model()
    bound.model[1] = _inside(bound.model[1], Bound())

    report = export_onnx(bound, tmp_path / "x.onnx", (64, 64))

    assert [comparison.shape for comparison in report.comparisons] == [(1, 3, 64, 64)]
    with pytest.raises(ExportError, match="open sizes"):
        export_onnx(bound, tmp_path / "y.onnx", (64, 64), dynamic=True)


def _inside(first, second):
    """Return both as one row of a model."""
    row = nn.Sequential(first, second)
    row.i, row.f = first.i, first.f
    return row


def test_a_graph_that_computes_something_else_is_not_written(model, dynamic, tmp_path, monkeypatch):
    graph = onnx.load(dynamic[0])
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("m.0.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
    monkeypatch.setattr(export, "trace", lambda *args, **kwargs: graph)

    with pytest.raises(
        ExportError, match=r"not written: .* differs .* 1×3×64×64 .*rounding errors of float32"
    ) as error:
        export_onnx(model, tmp_path / "x.onnx", (64, 64))

    assert error.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_the_trace_froze_to_one_size_is_not_written(model, tmp_path, monkeypatch):
    other = tiny_model()
    other.model[1] = _inside(other.model[1], Bound())
    monkeypatch.setattr(export, "trace", lambda *args, **kwargs: _traced_at_64(other))

    with pytest.raises(ExportError, match="ONNX Runtime cannot run the exported graph"):
        export_onnx(model, tmp_path / "x.onnx", (64, 64))
    assert list(tmp_path.iterdir()) == []


def _traced_at_64(model):
    return trace(by_script, deployable(model), (2, 3, 64, 64), 17, open_sizes=False)


def test_the_fastest_exporter_that_writes_an_opset_comes_first():
    tried = {opset: exporters(opset) for opset in (None, 9, 17, 18, 20, 21)}

    assert tried == {
        None: [(by_script, 17), (by_program, 18)],
        9: [(by_script, 9)],
        17: [(by_script, 17)],
        18: [(by_script, 18), (by_program, 18)],
        20: [(by_script, 20), (by_program, 20)],
        21: [(by_program, 21)],
    }


@pytest.mark.parametrize("dynamic", [pytest.param(True, marks=pytest.mark.slow), False])
def test_where_the_fastest_fails_the_other_exporter_writes_the_file(model, tmp_path, monkeypatch, caplog, dynamic):
    def trace_by_program(exporter, *args, **kwargs):
        if exporter is by_script:
            raise RejectedError("no such operator")
        return trace(exporter, *args, **kwargs)

    monkeypatch.setattr(export, "trace", trace_by_program)
    report = export_onnx(model, tmp_path / "x.onnx", (64, 96), dynamic=dynamic)

    images = torch.rand(1, 3, 64, 96)
    assert (report.opset, len(report.comparisons), caplog.text) == (18, 2, "")
    assert_equal(run(tmp_path / "x.onnx", images), predictions(model, images))


# the version of the file format that each opset came with, from ONNX's table of releases
IR_OF_OPSET = {9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


@pytest.mark.parametrize(("opset", "dynamic"), [(9, True), (12, False), (12, True), (17, True)])
def test_the_opset_asked_for_is_written_in_the_oldest_format_that_holds_it(model, tmp_path, opset, dynamic):
    report = export_onnx(model, tmp_path / "x.onnx", (64, 96), dynamic=dynamic, opset=opset)

    graph = onnx.load(tmp_path / "x.onnx")
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", opset)]
    assert (graph.ir_version, report.ir) == (IR_OF_OPSET[opset],) * 2
    images = torch.rand(1, 3, 64, 96)
    assert_equal(run(tmp_path / "x.onnx", images), predictions(model, images))


def test_the_format_is_that_of_the_content():
    imports = {opset: [onnx.helper.make_opsetid("", opset)] for opset in IR_OF_OPSET}
    assert {opset: least_ir(onnx.ModelProto(opset_import=entry)) for opset, entry in imports.items()} == IR_OF_OPSET
    function = onnx.helper.make_function("own", "f", ["x"], ["y"], [], imports[12])
    assert least_ir(onnx.ModelProto(opset_import=imports[12], functions=[function])) == 8


def test_the_runtime_that_reads_an_opset_is_named_where_it_is_known():
    assert [oldest_runtime(opset) for opset in (8, 9, 12, 18, 26, 27)] == ["", "1.2", "1.3", "1.14", "1.25", ""]


class Rounds(nn.Module):
    """A rounding, which ONNX has from opset 11 on."""

    def forward(self, x):
        return x + 0 * torch.round(x)


def test_a_refusal_names_an_opset_that_works(tmp_path, capfd):
    rounding = tiny_model()
    rounding.model[1] = _inside(rounding.model[1], Rounds())

    with pytest.raises(ExportError, match=r"x\.onnx: not written: cannot be exported in opset 9 ") as error:
        export_onnx(rounding, tmp_path / "x.onnx", (64, 64), opset=9)

    assert error.value.fix == "use --opset 11, the nearest that works"
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""
    assert export_onnx(rounding, tmp_path / "x.onnx", (64, 64), opset=11).opset == 11


def test_an_opset_that_nothing_here_writes_is_answered_with_the_newest_that_works(model, tmp_path, monkeypatch):
    newest = onnx.defs.onnx_opset_version()
    tried = []

    def verified(model, shape, opset, dynamic):
        tried.append(opset)
        if opset > 19:
            raise RejectedError(f"no opset {opset}")

    monkeypatch.setattr(order, "verified", verified)
    monkeypatch.setattr(export, "verified", verified)
    with pytest.raises(ExportError, match="no opset 99") as error:
        export_onnx(model, tmp_path / "x.onnx", (64, 64), opset=99)

    assert error.value.fix == "use --opset 19, the nearest that works"
    assert tried == [99, *range(newest, 18, -1)]
    with pytest.raises(RejectedError, match=f"no opset {newest + 1}: the installed packages write 9 to {newest}"):
        exporters(newest + 1)


FAMILIES = ["own", "emo_1m", "repvit_m0_6", "fasternet_t0", "repvgg_a0", "timm/mobilenetv4_conv_small"]


def seeded(cfg, backbone="own"):
    data, _ = read_model_yaml(cfg)
    torch.manual_seed(0)
    network = DetectionModel(data if backbone == "own" else swap_backbone(data, backbone), nc=6, load_backbone=False)
    return enlivened(network)


@pytest.mark.parametrize(
    "backbone", [FAMILIES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[1:])]
)
def test_a_wrong_row_would_be_seen(backbone):
    network, images = seeded("yolov5n.yaml", backbone), example_images((1, 3, 128, 64))
    expected = predictions(network, images)
    for row in network.model[:-1]:
        weights = [layer.weight for layer in row.modules() if isinstance(layer, nn.Conv2d)]
        for weight in weights:
            weight.data *= 1.01
        if weights:
            with pytest.raises(AssertionError):
                assert_equal(predictions(network, images), expected)
        for weight in weights:
            weight.data /= 1.01


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
@pytest.mark.parametrize("opset", [12, 13, 15, 17, 18, 20])
def test_every_family_of_backbones_is_written_in_every_usual_opset(tmp_path, backbone, opset):
    network = seeded("yolov5n.yaml", backbone)

    report = export_onnx(network, tmp_path / "x.onnx", (96, 160), dynamic=True, opset=opset)

    assert report.ir == IR_OF_OPSET[opset]
    assert len(report.comparisons) == 2
    images = example_images((1, 3, 128, 64))
    assert_equal(run(tmp_path / "x.onnx", images), predictions(network, images))


def test_comparison_images_are_neither_constant_nor_random():
    images = example_images((2, 3, 32, 48))

    assert torch.equal(images, example_images((2, 3, 32, 48)))
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1
    assert images[..., -8:, -8:].mean() > images[..., :8, :8].mean() + 0.3


@pytest.mark.parametrize(
    ("cfg", "max_nodes"),
    [
        pytest.param("yolov5n.yaml", 400, id="yolov5n"),
        pytest.param("yolov5s-emo.yaml", 1200, id="yolov5s-emo", marks=pytest.mark.slow),
    ],
)
def test_real_models_export_dynamically_and_agree_where_they_were_not_compared(tmp_path, cfg, max_nodes):
    model = seeded(cfg)

    report = export_onnx(model, tmp_path / "x.onnx", (224, 224), dynamic=True)

    assert report.nodes <= max_nodes
    for size in ((320, 320), (416, 640), (64, 32)):
        images = example_images((1, 3, *size))
        assert_equal(run(tmp_path / "x.onnx", images), predictions(model, images))
