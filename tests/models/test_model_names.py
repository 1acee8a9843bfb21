"""Class names in a model YAML are the text as written, and give way to those of the data set."""

import pytest

from models.detector import DetectionModel
from utils.errors import ConfigError
from utils.runs import ROOT


@pytest.fixture
def write(tmp_path):
    def write(names, nc=3):
        text = (ROOT / "models/yolov5n.yaml").read_text().replace("nc: 80", f"nc: {nc}").replace("0.25", "0.125")
        assert f"nc: {nc}" in text
        (tmp_path / "m.yaml").write_text(f"{text}\nnames: {names}\n")
        return tmp_path / "m.yaml"

    return write


@pytest.mark.parametrize("names", ["[02146, no, 1e3]", "{0: 02146, 1: no, 2: 1e3}"])
def test_names_are_the_text_as_written(write, names):
    assert DetectionModel(write(names)).names == {0: "02146", 1: "no", 2: "1e3"}


def test_without_names_or_for_another_number_of_classes_ids_are_the_names(write):
    assert DetectionModel(write("")).names == {0: "0", 1: "1", 2: "2"}
    model = DetectionModel(write("[a, b, c]"), nc=2)
    assert model.names == {0: "0", 1: "1"}
    assert DetectionModel(model.yaml).names == {0: "0", 1: "1"}  # as from a checkpoint


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("[a, b]", "nc is 3, but names has 2 classes"),
        ("cat", "names is 'cat', not a list"),
        ("[a, [b], c]", "not a text"),
    ],
)
def test_names_that_do_not_fit_are_refused(write, names, reason):
    with pytest.raises(ConfigError, match=rf"m\.yaml: .*{reason}") as caught:
        DetectionModel(write(names))
    assert caught.value.fix
