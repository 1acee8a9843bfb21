"""The user's own file as a backbone: it runs only when the command line names it, and keeps the contract."""

import pytest
import torch

from models.backbones import allow_user_file, is_user_name, resolve_backbone
from models.detector import DetectionModel
from models.registry import BACKBONES
from models.swap import swap_backbone
from utils.errors import ConfigError

FILE = """
import torch
from dataclasses import dataclass
from torch import nn

@dataclass
class Plan:
    width: "int" = 8

class Tiny(nn.Module):
    def __init__(self, reductions, in_channels, width):
        super().__init__()
        self.reductions = tuple(reductions or (8, 16, 32))
        self.feature_channels = [width] * len(self.reductions)
        self.convs = nn.ModuleList(nn.Conv2d(in_channels, width, r, r) for r in self.reductions)

    def forward(self, x):
        return [conv(x) for conv in self.convs]

def tiny(*, reductions=None, in_channels=3, width=Plan().width):
    return Tiny(reductions, in_channels, width)

def number(**options):
    return 7

def wrong(*, reductions=None, in_channels=3):
    backbone = Tiny(reductions, in_channels, 8)
    backbone.feature_channels = [9] * len(backbone.reductions)
    return backbone

SILENT = 5
"""


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    resolve_backbone("")
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    monkeypatch.setattr(BACKBONES, "_aliases", dict(BACKBONES._aliases))


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    return file


def yaml(name, *args):
    return {
        "nc": 2,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": 1,
        "backbone": [[-1, 1, str(name), [False, *args]]],
        "head": [[["P3", "P4", "P5"], 1, "Detect", ["nc", "anchors"]]],
    }


def test_an_allowed_file_makes_a_backbone(path):
    allow_user_file(f"{path}:tiny")

    model = DetectionModel(yaml(f"{path}:tiny", {"width": 4}))

    assert model.stride.tolist() == [8, 16, 32]
    assert model.backbone.feature_channels == [4, 4, 4]
    assert len(model(torch.rand(1, 3, 64, 64))) == 3


def test_a_name_in_a_yaml_or_checkpoint_runs_nothing(tmp_path):
    file = tmp_path / "trap.py"
    file.write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")

    with pytest.raises(ConfigError, match="runs only if you name it yourself") as error:
        DetectionModel(yaml(f"{file}:tiny"))

    assert "row 0" in str(error.value)
    assert "pass --backbone path/to/trap.py:tiny" in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_file_may_lie_elsewhere_than_when_the_model_was_trained(path):
    allow_user_file(f"{path}:tiny")

    assert resolve_backbone("some/old/place/mine.py:tiny") is resolve_backbone(f"{path}:tiny")
    with pytest.raises(ConfigError, match=r"builder 'other' of a file mine\.py"):
        resolve_backbone("mine.py:other")


@pytest.mark.parametrize("stored", ["sub\\mine.py:tiny", "C:\\nets\\mine.py:tiny", "/home/me/mine.py:tiny"])
def test_the_model_may_have_been_trained_on_another_system(path, stored):
    allow_user_file(f"{path}:tiny")

    assert resolve_backbone(stored) is resolve_backbone(f"{path}:tiny")


def test_a_windows_path_ends_at_the_last_colon():
    assert is_user_name("C:\\nets\\my.py:builder")
    with pytest.raises(ConfigError, match=r"^the backbone is the builder 'builder' of a file my\.py, which"):
        resolve_backbone("C:\\nets\\my.py:builder")
    with pytest.raises(ConfigError, match=r"^C:\\nets\\my\.py: no such file"):
        allow_user_file("C:\\nets\\my.py:builder")


def test_what_was_allowed_is_named_where_another_file_is_needed(path):
    allow_user_file(f"{path}:tiny")

    with pytest.raises(ConfigError, match=r"of a file other\.py.*; you named .*mine\.py:tiny"):
        resolve_backbone("other.py:tiny")


def test_a_windows_checkpoint_name_given_on_linux_and_the_reverse_are_one_file(monkeypatch):
    BACKBONES.register("nets\\my.py:builder")(7)

    assert resolve_backbone("other/my.py:builder") == 7


def test_a_file_without_a_builder_is_answered_with_the_way_to_write_it(path):
    with pytest.raises(ConfigError, match=r"mine\.py: a file, but no builder in it") as error:
        swap_backbone(yaml("repvit_m1"), str(path))
    assert error.value.fix == f"name it as {path}:builder"


def test_two_files_of_one_name_are_not_mixed_up(path, tmp_path):
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / "mine.py"
    twin.write_text(FILE.replace("= 8", "= 16"))
    for file in (path, twin):
        allow_user_file(f"{file}:tiny")

    assert resolve_backbone(f"{path}:tiny")().feature_channels == [8, 8, 8]
    assert resolve_backbone(f"{twin}:tiny")().feature_channels == [16, 16, 16]
    with pytest.raises(ConfigError, match=r"mine\.py"):
        resolve_backbone("mine.py:tiny")


def test_allowing_twice_and_allowing_other_names_does_nothing(path):
    allow_user_file(f"{path}:tiny")
    entry = resolve_backbone(f"{path}:tiny")
    allow_user_file(f"{path}:tiny")
    allow_user_file("repvit_m1")

    assert resolve_backbone(f"{path}:tiny") is entry


def test_the_files_own_registration_keeps_its_facts(tmp_path):
    file = tmp_path / "registered.py"
    file.write_text(
        "from models.registry import register_backbone\n"
        + FILE.replace("def tiny(", "@register_backbone(mean=(0.5,) * 3, head_prefixes=('fc.',))\ndef tiny(")
    )

    allow_user_file(f"{file}:tiny")

    assert resolve_backbone(f"{file}:tiny").head_prefixes == ("fc.",)
    assert resolve_backbone("tiny").mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        ("tinny", "has no builder 'tinny'"),
        ("SILENT", "has no builder 'SILENT'"),
    ],
)
def test_a_missing_builder_is_named(path, builder, text):
    with pytest.raises(ConfigError, match=text) as error:
        allow_user_file(f"{path}:{builder}")
    assert "tiny" in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"no/such\.py: no such file"):
        allow_user_file("no/such.py:tiny")


def test_a_file_that_cannot_be_imported_says_why(tmp_path):
    (tmp_path / "bad.py").write_text("import no_such_module_at_all")

    with pytest.raises(ConfigError, match=r"bad\.py: cannot be imported .ModuleNotFoundError: .*no_such_module_at_all"):
        allow_user_file(f"{tmp_path / 'bad.py'}:tiny")


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        ("number", "row 0: .*number returns int, not a torch.nn.Module"),
        ("wrong", r"row 0: .*wrong returns maps .*\(1, 8, 40, 40\).* of a 320×320 image, declared .*\(1, 9, 40, 40\)"),
    ],
)
def test_a_builder_that_breaks_the_contract_is_refused_when_the_model_is_built(path, builder, text):
    allow_user_file(f"{path}:{builder}")

    with pytest.raises(ConfigError, match=text):
        DetectionModel(yaml(f"{path}:{builder}"))
