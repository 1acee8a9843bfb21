"""The detector equals the reference's figures, and building it leaves no trace in norms or random numbers."""

import copy
import weakref

import numpy as np
import pytest
import torch
from golden_models import FOLDER, fill_random, fill_sine, random_image, sine_image
from torch import nn

from models import common
from models.detector import DetectionModel, Model, parse_model
from models.keys import check_model_yaml
from models.parse import read_model_yaml
from utils.errors import DataError

SINE = {  # name → gain, rows, Σz, Σz², Σ(first map)²; first box; last box; float64, 64×64
    "yolov5n": (
        "2.5 252 46163.559 2835472.1 1529.6621",
        "6.390208 4.641073 11.66202 16.54416",
        "49.40093 49.49751 388.812 363.9718",
    ),
    "yolov5s": (
        "2.5 252 46995.656 3236447.6 2025.7361",
        "5.975743 5.034005 10.86293 14.55877",
        "51.73167 45.51004 486.0081 365.6475",
    ),
    "yolov5n6": (
        "2.5 255 69369.159 9584414.2 2086.2115",
        "6.717237 4.782473 22.99943 18.91308",
        "32.56394 24.48456 905.9428 775.9182",
    ),
    "yolov5s-ghost": (
        "2.5 252 49494.987 3623770 17952.8",
        "4.099244 2.347133 5.734321 24.96871",
        "44.61229 43.82198 262.6939 639.57",
    ),
    "yolov5s-transformer": (
        "2 252 45885.894 2875535.6 301.70769",
        "5.534187 4.902771 10.91005 12.86207",
        "50.06907 46.71912 450.2 313.6454",
    ),
    "yolov3-tiny": (
        "3 60 16615.846 5278721.3 10884.992",
        "-2.482646 10.91861 28.11909 17.72101",
        "18.2613 18.09082 1212.242 47.60884",
    ),
    "yolov5-bifpn": (
        "2 252 45838.533 2871592.4 226.87572",
        "6.578229 3.809524 10.61583 11.53213",
        "45.8218 48.011 423.1972 327.3652",
    ),
}
INITIAL_SUM = {
    "yolov5n": 1209.3161,
    "yolov5s": 5991.4149,
    "yolov5n6": 2301.2774,
    "yolov3-tiny": 817.1115,
    "yolov5-bifpn": 26592.5452,
}
FUSED_DIFFERENCE = dict.fromkeys(SINE, 1e-3) | {"yolov5s-ghost": 2.5e-3, "yolov3-tiny": 2.5e-3}


def sum_of_parameters(model):
    return sum(p.detach().double().sum().item() for p in model.parameters())


def but_slow(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


@pytest.mark.parametrize("name", but_slow(SINE, ("yolov5s", "yolov5-bifpn")))
def test_outputs_equal_the_reference_in_float64_and_fused_in_float32(name):
    figures, first, last = ([float(number) for number in text.split()] for text in SINE[name])
    gain, rows, total, squares, map_squares = figures
    model = DetectionModel(name).double().eval()
    fill_sine(model, gain)

    with torch.no_grad():
        predictions, maps = model(sine_image(3, 64, 64))

    assert tuple(predictions.shape) == (1, rows, 85)
    assert predictions.sum().item() == pytest.approx(total, rel=1e-7)
    assert predictions.square().sum().item() == pytest.approx(squares, rel=1e-7)
    assert maps[0].square().sum().item() == pytest.approx(map_squares, rel=1e-7)
    assert predictions[0, [0, -1], :4].flatten().tolist() == pytest.approx(first + last, rel=5e-7)

    with torch.no_grad():
        fused, _ = model.float().fuse()(sine_image(3, 64, 64).float())

    torch.testing.assert_close(fused.double(), predictions, rtol=0, atol=FUSED_DIFFERENCE[name])


@pytest.fixture(params=but_slow(("yolov5n", "yolov5s"), ("yolov5s",)), scope="module")
def golden(request):
    model = DetectionModel(request.param).eval()
    fill_random(model)
    return model, np.load(FOLDER / f"model_{request.param}.npz")


@pytest.mark.parametrize("size", [(128, 192), (256, 256)])
def test_outputs_equal_the_golden_figures(golden, size):
    model, figures = golden
    prefix = f"{size[0]}x{size[1]}_"

    with torch.no_grad():
        predictions, maps = model(random_image(*size))

    assert list(predictions.shape) == figures[prefix + "shape"].tolist()
    rows = predictions[:, figures[prefix + "idx"]].numpy()
    np.testing.assert_allclose(rows, figures[prefix + "rows"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predictions.mean((0, 1)).numpy(), figures[prefix + "mean"], rtol=1e-4)
    for level, found in enumerate(maps):
        statistics = [found.mean().item(), found.std().item()]
        np.testing.assert_allclose(statistics, figures[f"{prefix}raw{level}_mean"], rtol=1e-4, atol=1e-6)


def test_fused_outputs_equal_the_golden_figures(golden):
    model, figures = golden
    assert model.stride.tolist() == figures["stride"].tolist()
    assert sum(p.numel() for p in model.parameters()) == figures["params"]

    fused = copy.deepcopy(model).fuse()

    with torch.no_grad():
        predictions, _ = fused(random_image(128, 192))
    rows = predictions[:, figures["128x192_idx"]].numpy()
    np.testing.assert_allclose(rows, figures["fused_rows"], rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in fused.parameters()) == figures["fused_params"]


@pytest.mark.parametrize("name", but_slow(INITIAL_SUM, ("yolov5s", "yolov5-bifpn")))
def test_a_seeded_model_starts_from_the_weights_of_the_reference(name):
    torch.manual_seed(0)
    model = DetectionModel(name)

    assert sum_of_parameters(model) == pytest.approx(INITIAL_SUM[name], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "layer", "total"),
    [("yolov5s-ghost", common.C3Ghost, 5361.3247), ("yolov5s-transformer", common.C3TR, 5479.0618)],
)
def test_only_the_blocks_that_the_reference_builds_and_discards_draw_no_weights_here(monkeypatch, name, layer, total):
    inner = layer.inner

    def with_discarded(self, *args):
        common.C3.inner(self, *args)  # the reference builds each variant of C3 as a C3 first
        return inner(self, *args)

    monkeypatch.setattr(layer, "inner", with_discarded)
    torch.manual_seed(0)

    assert sum_of_parameters(DetectionModel(name)) == pytest.approx(total, abs=1e-4)


def test_building_touches_no_norm_buffer_and_draws_no_number_beyond_the_weights():
    data, source = read_model_yaml("yolov5n")
    torch.manual_seed(0)
    parse_model(data, source)
    expected = torch.get_rng_state()
    torch.manual_seed(0)

    model = DetectionModel("yolov5n")

    assert torch.equal(torch.get_rng_state(), expected)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 57
    for norm in norms:
        assert (norm.eps, norm.momentum, norm.num_batches_tracked.item()) == (1e-3, 0.03, 0)
        assert norm.running_mean.abs().max() == 0
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    assert all(part.training for part in model.modules())


def test_training_mode_returns_maps_with_gradients():
    model = DetectionModel("yolov5n", nc=2)

    maps = model(torch.rand(2, 3, 64, 96))
    sum(m.square().mean() for m in maps).backward()

    assert [tuple(m.shape) for m in maps] == [(2, 3, 8, 12, 7), (2, 3, 4, 6, 7), (2, 3, 2, 3, 7)]
    assert all(p.grad is not None for p in model.parameters())


def test_rows_carry_the_attributes_of_the_reference():
    with torch.device("meta"):
        model = DetectionModel("yolov5s")

    assert model.save == [4, 6, 10, 14, 17, 20, 23]
    assert [row.i for row in model.model] == list(range(25))
    assert (model.model[12].f, model.model[13].f) == ([-1, 6], -1)
    assert (model.model[2].type, model.model[2].np) == ("models.layers.csp.C3", 18816)
    assert [row.np for row in model.model] == [
        *(3520, 18560, 18816, 73984, 115712, 295424, 625152, 1180672, 1182720, 656896, 131584, 0, 0, 361984, 33024),
        *(0, 0, 90880, 147712, 0, 296448, 590336, 0, 1182720, 229245),
    ]
    assert [model.rows[i].number for i in (2, 4, 6, 8, 13, 17, 20, 23)] == [1, 2, 3, 1, 1, 1, 1, 1]


def test_arguments_override_the_yaml_and_leave_it_alone():
    data, _ = read_model_yaml("yolov5n")
    before = copy.deepcopy(data)
    with torch.device("meta"):
        model = DetectionModel(data, ch=1, nc=3, anchors=2.6)

    assert data == before
    assert (model.yaml["nc"], model.yaml["ch"], model.yaml["anchors"]) == (3, 1, 3)
    assert model.names == {0: "0", 1: "1", 2: "2"}
    assert model.model[0].conv.in_channels == 1
    with torch.device("meta"):
        assert DetectionModel(data | {"ch": 4}, ch=1).yaml["ch"] == 4


def test_the_stored_yaml_rebuilds_the_model():
    model = DetectionModel("yolov5n", nc=7)

    twin = DetectionModel(model.yaml)

    assert Model is DetectionModel
    check_model_yaml(model.yaml)
    assert twin.load_state_dict(model.state_dict()).missing_keys == []


def test_a_size_that_the_neck_cannot_join_is_an_error_in_pixels():
    model = DetectionModel("yolov5-p34", nc=1)

    assert model.stride.tolist() == [8, 16]
    with pytest.raises(DataError, match="48×64 pixels: both sides must be multiples of 32"):
        model(torch.zeros(1, 3, 48, 64))


def test_only_maps_that_a_later_row_reads_are_kept():
    model = DetectionModel("yolov5n").eval()
    outputs: dict[int, weakref.ref] = {}
    alive_at_head: list[int] = []
    for slot, module in enumerate(model.model[:-1]):
        module.register_forward_hook(lambda *call, slot=slot: outputs.update({slot: weakref.ref(call[2])}))
    model.head.register_forward_pre_hook(
        lambda *_: alive_at_head.extend(slot for slot, output in outputs.items() if output() is not None)
    )

    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))

    assert alive_at_head == [17, 20, 23]


def test_a_call_returns_what_yolov5_returns_and_predict_says_its_layout():
    model = DetectionModel("yolov5n").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        output, maps = model(image)
        predictions = model.predict(image)
        in_training = model.train()(image)

    assert torch.equal(predictions.output, output)
    assert predictions.layout.name == "BN5C"
    assert [m.shape for m in in_training] == [m.shape for m in maps]


def test_channels_last_reaches_the_maps():
    model = DetectionModel("yolov5n").to(memory_format=torch.channels_last)

    maps = model(torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last))

    assert all(m.stride(-1) == 1 for m in maps)  # the outputs of one anchor lie side by side
