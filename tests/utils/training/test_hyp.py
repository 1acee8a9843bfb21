"""Hyper-parameter files are read whole and checked key by key."""

import pytest

from utils.errors import ConfigError
from utils.runs import ROOT
from utils.training.hyp import load_hyp
from utils.yaml_file import read_yaml

SHIPPED = sorted((ROOT / "data/hyps").glob("*.yaml"))
LOW = ROOT / "data/hyps/hyp.scratch-low.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path):
    hyp = load_hyp(path)
    assert hyp["lr0"] == read_yaml(path)["lr0"]
    assert hyp["nominal_batch"] == read_yaml(path).get("nominal_batch", 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr00: 0.1", "unknown key 'lr00'"),
        ("mosaic: 5.0", "mosaic: 5.0 is not a number from 0 to 1"),
        ("momentum: 1.5", "momentum: 1.5"),
        ("box: .nan", "box: nan"),
        ("lr0: fast", "lr0: 'fast'"),
        ("fliplr: true", "fliplr: True"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, change, message):
    key = change.split(":")[0]
    lines = [line for line in LOW.read_text().splitlines() if not line.startswith(f"{key}:")]
    (tmp_path / "hyp.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(ConfigError, match=r"hyp\.yaml") as caught:
        load_hyp(tmp_path / "hyp.yaml")
    assert message in caught.value.what


def test_all_missing_keys_are_listed_at_once(tmp_path):
    (tmp_path / "hyp.yaml").write_text("lr0: 1e-3\n")
    with pytest.raises(ConfigError, match=r"lrf, momentum, .*copy_paste"):
        load_hyp(tmp_path / "hyp.yaml")


def test_a_number_in_exponent_form_is_a_number(tmp_path):
    text = LOW.read_text().replace("lr0: 0.01", "lr0: 1e-3")
    (tmp_path / "hyp.yaml").write_text(text)
    assert load_hyp(tmp_path / "hyp.yaml")["lr0"] == 0.001
