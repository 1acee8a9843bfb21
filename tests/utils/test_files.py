"""A file is named by its path, or by the end of its path below a folder of the clone."""

import pytest

from utils.errors import ConfigError
from utils.files import find_file
from utils.runs import ROOT

YAML = (".yaml", ".yml")


@pytest.mark.parametrize("name", ["yolov5n.yaml", "yolov5n", "models/yolov5n.yaml", "models/yolov5n"])
def test_a_name_is_found_below_the_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert find_file(name, "models", YAML) == ROOT / "models/yolov5n.yaml"


def test_a_name_is_found_in_a_subfolder():
    assert find_file("yolov5n6", "models", YAML) == ROOT / "models/hub/yolov5n6.yaml"


def test_an_existing_path_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolov5n.yaml").write_text("own")

    assert find_file("yolov5n.yaml", "models", YAML).read_text() == "own"


def test_a_missing_file_is_answered_with_close_names():
    with pytest.raises(ConfigError, match="yolov5n-emmo: no such file") as error:
        find_file("yolov5n-emmo", "models", YAML)
    assert "did you mean yolov5n-emo" in str(error.value)


def test_several_files_of_one_name_are_listed(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text("")

    with pytest.raises(ConfigError, match=r"x: several files .*a/x\.yaml, .*b/x\.yaml"):
        find_file("x", tmp_path, YAML)
    assert find_file("b/x", tmp_path, YAML) == tmp_path / "b/x.yaml"


@pytest.mark.parametrize("name", ["", ".", "..", "*", "../models", "models"])
def test_what_is_no_file_name_finds_nothing(name):
    with pytest.raises(ConfigError, match="no such file"):
        find_file(name, "models", YAML)


def test_files_of_subfolders_are_not_suggested_where_they_are_of_another_kind(tmp_path):
    (tmp_path / "hyps").mkdir()
    (tmp_path / "hyps" / "pets.yaml").write_text("")
    (tmp_path / "cats.yaml").write_text("")

    with pytest.raises(ConfigError) as caught:
        find_file("pets", tmp_path, YAML, subfolders=False)

    assert "pets" not in caught.value.fix
    assert find_file("pets", tmp_path, YAML) == tmp_path / "hyps/pets.yaml"


def test_another_suffix_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_text("")

    with pytest.raises(ConfigError, match=r"the suffix must be \.yaml or \.yml"):
        find_file(path, "models", YAML)
