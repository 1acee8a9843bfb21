"""Files that YOLOv5 and its forks wrote over the years: each becomes the model that it holds, whatever its age."""

import numpy as np
import pytest
import torch
from official_layout import Call, Tree, save_official
from tiny_detector import TINY, tiny_model

from utils.backends.several import load_backends
from utils.checkpoint.load import load_checkpoint, load_model
from utils.errors import CheckpointError

OLD = {  # the layers that v5.0 and older begin with and pool with
    "backbone": [[-1, 1, "Focus", [32, 3]], *TINY["backbone"][1:5], [-1, 1, "SPP", [64, [5, 9, 13]]]],
}
PLAIN_DTYPE = (3, "<", None, None, None, -1, -1, 0)


def images(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_same(path, model):
    with torch.inference_mode():
        torch.testing.assert_close(load_model(path)(images())[0], model(images())[0], rtol=0, atol=0)


def numpy_number(core, value):
    """Return a NumPy number as version 1 (``numpy.core``) or 2 (``numpy._core``) pickles it."""
    dtype = Call(("numpy", "dtype"), ("f8", False, True), PLAIN_DTYPE)
    return Call((f"{core}.multiarray", "scalar"), (dtype, np.float64(value).tobytes()))


def old_tree(model, names=None):
    """Return a model as v5.0 pickled it: class ``Model``, anchors twice, names in a list or not at all, no strides."""
    levels = len(model.stride)
    grid = model.head.anchors.clone().view(levels, 1, -1, 1, 1, 2) * model.stride.view(-1, 1, 1, 1, 1, 1)
    model.head.register_buffer("anchor_grid", grid)
    tree = Tree(model)
    del model.head._buffers["anchor_grid"]
    tree.path = "models.yolo", "Model"
    for key in ("stride", "names"):
        del tree.state[key]
    return with_names(tree, names)


def with_names(tree, names):
    tree.state |= {} if names is None else {"names": names}
    return tree


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("names", [["a", "b", "c"], None])
def test_files_of_v5_and_older_load(tmp_path, names, zipped):
    model = tiny_model(**OLD)
    save_official(tmp_path / "x.pt", old_tree(model, names), zipped)

    checkpoint = load_checkpoint(tmp_path / "x.pt")

    assert checkpoint.names == dict(enumerate(names or ["0", "1", "2"]))
    assert checkpoint.stride == ()
    assert not [key for key in checkpoint.state if "anchor_grid" in key]
    assert_same(tmp_path / "x.pt", model)


@pytest.mark.parametrize("make", [numpy_number, lambda core, value: value])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_an_unfinished_training_of_any_numpy_loads_with_its_average(tmp_path, core, make):
    model, average = tiny_model(), tiny_model()
    average.model[0].conv.weight.data += 1
    momentum = {"state": {0: {"momentum_buffer": torch.ones(4)}}, "param_groups": [{"lr": numpy_number(core, 0.01)}]}
    entries = {"ema": average, "updates": 90, "optimizer": momentum, "epoch": 2, "best_fitness": make(core, 0.5)}
    save_official(tmp_path / "last.pt", model, **entries, git={"remote": None}, date="2026-01-01", wandb_id=None)

    checkpoint = load_checkpoint(tmp_path / "last.pt")

    assert (checkpoint.epoch, checkpoint.facts["best_fitness"]) == (2, 0.5)
    assert_same(tmp_path / "last.pt", average)


@pytest.mark.parametrize("names", [["a", "b", "c"], {0: "a", 1: "b", 2: "c"}])
def test_names_are_a_list_or_a_table(tmp_path, names):
    tree = with_names(Tree(tiny_model()), names)
    save_official(tmp_path / "x.pt", tree)

    assert load_checkpoint(tmp_path / "x.pt").names == {0: "a", 1: "b", 2: "c"}


def test_weights_in_half_precision_run_in_float32(tmp_path):
    model = tiny_model()
    expected = {key: value.half().float() for key, value in model.state_dict().items() if value.is_floating_point()}
    save_official(tmp_path / "x.pt", model.half())

    state = load_checkpoint(tmp_path / "x.pt").state

    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert load_backends(tmp_path / "x.pt", torch.device("cpu"))(images()).output.dtype == torch.float32


def test_layers_that_older_code_kept_in_another_file_load(tmp_path):
    model = tiny_model()

    def path_of(module):
        tree = Tree(module).path
        return ("models.experimental", "C3") if tree[1] == "C3" else tree

    save_official(tmp_path / "x.pt", Tree(model, path_of))

    assert_same(tmp_path / "x.pt", model)


def test_a_model_of_four_levels_loads(tmp_path):
    backbone = [*TINY["backbone"], [-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    head = [[[2, 3, 6, 7], 1, "Detect", ["nc", "anchors"]]]
    model = tiny_model(backbone=backbone, head=head, anchors=3)
    save_official(tmp_path / "x.pt", model)

    assert load_checkpoint(tmp_path / "x.pt").stride == (4, 8, 32, 64)
    with torch.inference_mode():
        expected = model(images(128, 128))[0]
        assert torch.equal(load_model(tmp_path / "x.pt")(images(128, 128))[0], expected)


@pytest.mark.parametrize("place", ["optimizer", "best_fitness", "opt", "git", "anything"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_at_any_place_is_refused_by_name_and_not_made(tmp_path, place, zipped):
    marker = tmp_path / "executed"
    save_official(tmp_path / "x.pt", tiny_model(), zipped, **{place: Call(("posix", "system"), (f"touch {marker}",))})

    with pytest.raises(CheckpointError, match=r"refused: it contains the name 'posix\.system'"):
        load_backends(tmp_path / "x.pt", torch.device("cpu"))
    assert not marker.exists()
