"""The data-set YAML: where paths lead, what the names may be, and that nothing in it is executed."""

import logging
from pathlib import Path

import pytest

from utils.data.scan import spec as spec_module
from utils.data.scan.spec import load_data_spec
from utils.errors import ConfigError, DataError
from utils.runs import ROOT
from utils.yaml_file import read_yaml

NAMES = "names: {0: cat, 1: dog}\n"
BASIC = "train: images/train\nval: images/val\n" + NAMES


@pytest.fixture
def write(tmp_path):
    """Return a function that writes data.yaml into a folder of its own, which has images/{train,val}."""
    folder = tmp_path / "set"
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)

    def write(text):
        (folder / "data.yaml").write_text(text)
        return folder / "data.yaml"

    write.folder = folder
    return write


def test_paths_are_relative_to_the_yaml_file_and_not_to_the_current_folder(write, monkeypatch):
    monkeypatch.chdir("/")

    spec = load_data_spec(write(BASIC))

    assert spec.root == write.folder
    assert spec.train == [write.folder / "images/train"]
    assert spec.val == [write.folder / "images/val"]
    assert spec.test == []
    assert (spec.names, spec.nc) == ({0: "cat", 1: "dog"}, 2)


def test_path_is_the_root_of_the_splits_and_a_split_may_be_a_list(write):
    spec = load_data_spec(write("path: images\ntrain: [train, val]\nval: ./val\n" + NAMES))

    assert spec.root == write.folder / "images"
    assert spec.train == [write.folder / "images/train", write.folder / "images/val"]
    assert spec.val == [write.folder / "images/val"]


def test_two_folders_that_an_exporter_can_mean_are_told(write, caplog):
    """Roboflow's ``../train/images`` is that of another data set where this one was unpacked beside it."""
    text = "train: ../train/images\nval: ../images/val\n" + NAMES
    for folder in (write.folder.parent, write.folder):
        (folder / "train/images").mkdir(parents=True)

    spec = load_data_spec(write(text))

    assert (spec.train, spec.val) == ([write.folder.parent / "train/images"], [write.folder / "images/val"])
    told = f"train: ../train/images is {spec.train[0]}, although there is {write.folder / 'train/images'} too"
    assert [record.message for record in caplog.records] == [f"{spec.file}: {told}"]


def test_labels_of_poses_are_refused(write):
    with pytest.raises(ConfigError, match="kpt_shape: these are labels of poses"):
        load_data_spec(write(BASIC + "kpt_shape: [5, 2]\n"))


def test_where_nothing_lies_beside_the_yaml_the_clone_is_the_root(write, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    (clone / "sets" / "train").mkdir(parents=True)
    monkeypatch.setattr(spec_module, "ROOT", clone)

    spec = load_data_spec(write("path: sets\ntrain: train\nval: train\n" + NAMES))

    assert spec.root == clone / "sets"


def test_two_dots_that_lead_nowhere_are_left_out(write):
    """Some exporters write ../train/images although the folder lies beside the YAML."""
    spec = load_data_spec(write("train: ../images/train\nval: ../images/val\n" + NAMES))

    assert spec.train == [write.folder / "images/train"]


def test_absolute_paths_stay(write, tmp_path):
    spec = load_data_spec(write(f"path: {tmp_path}/set\ntrain: {tmp_path}/set/images/train\nval: images/val\n{NAMES}"))

    assert spec.train == [tmp_path / "set/images/train"]


def test_links_in_a_path_stay_because_labels_are_found_by_it(write, tmp_path):
    (tmp_path / "pool").mkdir()
    (write.folder / "images" / "linked").symlink_to(tmp_path / "pool", target_is_directory=True)

    spec = load_data_spec(write("train: images/linked\nval: images/val\n" + NAMES))

    assert spec.train == [write.folder / "images/linked"]


def test_names_may_be_a_list_and_numbers(write):
    assert load_data_spec(write(BASIC.replace(NAMES, "names: [cat, 7]\n"))).names == {0: "cat", 1: "7"}


def test_equal_names_are_a_warning(write, caplog):
    load_data_spec(write(BASIC.replace(NAMES, "names: [cat, cat]\n")))

    assert "same name" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keys"),
        ("- a\n- b\n", "holds no keys"),
        ("trian: images/train\nval: images/val\n" + NAMES, "'train' is missing; did you mean trian"),
        ("train: images/train\n" + NAMES, "'val' is missing"),
        ("train: images/train\nval:\n" + NAMES, "val is empty"),
        ("train: images/train\nval: images/val\n", "'names' is missing"),
        (BASIC + "nc: 3\n", "nc is 3, but names has 2 classes"),
        (BASIC.replace(NAMES, "names: {0: a, 2: b}\n"), "keys 0 to 1, but 1 is missing among 0, 2"),
        (BASIC.replace(NAMES, "names: {'0': a}\n"), "keys 0 to 0, but 0 is missing among '0'"),
        (BASIC.replace(NAMES, "names: cat\n"), "names is 'cat', not a list or mapping"),
        (BASIC.replace(NAMES, "names: []\n"), "names is empty"),
        (BASIC.replace(NAMES, "names: {0: a, 1: }\n"), "class 1 has no name"),
        (BASIC.replace(NAMES, "names: [a, [b]]\n"), "name of class 1 is ['b'], not a text"),
        (BASIC.replace(NAMES, "names: [a, !!binary aGk=]\n"), "name of class 1 is b'hi', not a text"),
        (BASIC.replace("images/train", "{a: b}"), "train is {'a': 'b'}, not a path"),
        (BASIC.replace("images/train", "[images/train, [b]]"), "not a path or a list of paths"),
        (BASIC + "path: [a]\n", "path is ['a'], not a folder"),
        (BASIC + "allow_outside: maybe\n", "allow_outside is 'maybe'"),
        (BASIC + "generator: circles\n", "unknown generator 'circles'"),
        (BASIC + "hyp: [a]\n", "hyp is ['a'], not a file"),
        (BASIC.replace(NAMES, "backbone: []\nhead: []\n"), "'names' is missing: this is a model YAML"),
        ("lr0: 0.1\n", "'names' is missing: this is a hyper-parameter file"),
        (BASIC + "nc: 2\nnc: 2\n", "stands twice"),
    ],
)
def test_a_wrong_file_is_answered_with_its_path_and_the_value(write, text, message):
    file = write(text)

    with pytest.raises(ConfigError) as caught:
        load_data_spec(file)

    assert message in caught.value.what
    assert str(file) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("layout", ["names: [{}, {}]\n", "names:\n- {}\n- {}\n", "names: {{0: {}, 1: {}}}\n"])
@pytest.mark.parametrize("pair", [("02146", "1_0"), ("3.10", "1e3"), ("no", "null"), ("12:30:45", "2001-01-01")])
def test_names_are_the_text_as_written(write, layout, pair):
    spec = load_data_spec(write(BASIC.replace(NAMES, layout.format(*pair))))

    assert tuple(spec.names.values()) == pair


def test_ids_of_classes_are_decimal(write):
    names = "names:\n" + "".join(f"  {index:03d}: c{index}\n" for index in range(12))

    assert load_data_spec(write(BASIC.replace(NAMES, names))).names == {index: f"c{index}" for index in range(12)}


@pytest.mark.parametrize("name", ["2024", "007", "1e3", "1_0", "no", "3.10", "2024-05-01"])
def test_paths_are_the_text_as_written(write, name):
    (write.folder / name / "images" / name).mkdir(parents=True)
    (write.folder / "h" / name).parent.mkdir()
    (write.folder / name / "h.yaml").write_text("")

    spec = load_data_spec(write(f"path: {name}\ntrain: [images/{name}]\nval: images\nhyp: {name}\n{NAMES}"))

    assert spec.train == [write.folder / name / "images" / name]
    assert spec.hyp == name


@pytest.mark.parametrize("key", ["path", "test", "hyp", "generator", "download"])
@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_a_key_without_a_value_is_as_good_as_none(write, key, nothing):
    assert load_data_spec(write(f"{BASIC}{key}: {nothing}\n")).train == [write.folder / "images/train"]


def test_backslashes_separate_folders_as_in_list_files(write):
    (write.folder / "hyps").mkdir()
    (write.folder / "hyps" / "my.yaml").write_text("")

    spec = load_data_spec(write("path: .\\\ntrain: images\\train\nval: ..\\images\\val\nhyp: hyps\\my.yaml\n" + NAMES))

    assert spec.train == [write.folder / "images/train"]
    assert spec.val == [write.folder / "images/val"]
    assert spec.hyp == str(write.folder / "hyps/my.yaml")


def test_a_folder_with_a_backslash_in_its_name_goes_first(write):
    (write.folder / "images\\train").mkdir()

    assert load_data_spec(write("train: images\\train\nval: images/val\n" + NAMES)).train[0].name == "images\\train"


@pytest.mark.parametrize(
    ("value", "shown", "fix"),
    [
        ('"images\\train"', "train: images\\train does not", "single quotes"),
        ("D:\\sets\\train", "train: D:\\sets\\train does not", "drive letter"),
        ('"images\u200b/train"', "train: images\\u200b/train does not", "correct path"),
        ('"images/train\u00a0"', "train: images/train\\xa0 does not", "correct path"),
    ],
)
def test_what_cannot_be_seen_in_a_path_is_shown(write, value, shown, fix):
    with pytest.raises(DataError) as caught:
        load_data_spec(write(f"train: {value}\nval: images/val\n{NAMES}"))

    assert shown in caught.value.what
    assert caught.value.what.isprintable()
    assert fix in caught.value.fix


def test_a_folder_stands_for_the_yaml_in_it(write):
    write(BASIC)
    (write.folder / "other.yml").write_text("")

    assert load_data_spec(write.folder).file == write.folder / "data.yaml"


def test_a_folder_without_a_yaml_or_with_several_is_answered_with_what_was_looked_for(write, tmp_path):
    with pytest.raises(ConfigError, match=r"set: a folder without a data-set YAML \(looked for data\.yaml") as caught:
        load_data_spec(write.folder)
    assert "data.yaml" in caught.value.fix

    for name in ("a.yaml", "b.yml"):
        (write.folder / name).write_text(BASIC)
    with pytest.raises(ConfigError, match=r"several YAML files: a\.yaml, b\.yml"):
        load_data_spec(write.folder)


def test_a_folder_of_the_same_name_does_not_hide_a_data_set_of_the_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco128").mkdir()

    assert spec_module.find_data_yaml("coco128") == ROOT / "data/coco128.yaml"


def test_only_data_sets_are_suggested_where_a_data_set_is_missing():
    with pytest.raises(ConfigError) as caught:
        load_data_spec("nope.yaml")

    assert "coco128" in caught.value.fix
    assert "hyp" not in caught.value.fix
    assert "yolov5" not in caught.value.fix


def test_lists_and_links_must_stay_in_the_folders_that_the_yaml_names(write, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    text = f"train: images/train\nval: {tmp_path}/elsewhere\n{NAMES}"

    assert load_data_spec(write(text)).fence == [write.folder, write.folder / "images/train", tmp_path / "elsewhere"]
    assert load_data_spec(write(text + "allow_outside: true\n")).fence is None


def test_missing_images_are_named_with_key_value_and_the_place_looked_at(write):
    file = write("path: here\ntrain: images/train\nval: images/train\n" + NAMES)

    with pytest.raises(DataError) as caught:
        load_data_spec(file)

    assert f"{file}: train: images/train does not exist" in caught.value.what
    assert str(write.folder / "here/images/train") in caught.value.what
    assert str(ROOT / "here/images/train") in caught.value.what


def test_only_the_splits_that_are_needed_must_exist(write):
    spec = load_data_spec(write("train: gone\nval: images/val\ntest: gone too\n" + NAMES), required=("val",))

    assert spec.val == [write.folder / "images/val"]


def test_a_download_script_is_never_executed(write, tmp_path):
    script = f"open({str(tmp_path / 'proof')!r}, 'w')"
    for download in (script, f"bash touch {tmp_path / 'proof'}"):
        with pytest.raises(DataError) as caught:
            load_data_spec(write(f'train: gone\nval: gone\ndownload: "{download}"\n' + NAMES))
        assert "never executed" in caught.value.fix
    assert not (tmp_path / "proof").exists()


def test_a_download_address_becomes_a_hint(write):
    with pytest.raises(DataError) as caught:
        load_data_spec(write("train: gone\nval: gone\ndownload: https://example.com/set.zip\n" + NAMES))

    assert f"get the data from https://example.com/set.zip and put them into {write.folder}" in caught.value.fix


def test_a_generator_draws_into_the_root_before_it_is_looked_for(write, monkeypatch):
    drawn = []

    def draw(root):
        drawn.append(root)
        (root / "images").mkdir(parents=True)

    monkeypatch.setattr(spec_module, "draw_shapes_dataset", draw)
    spec = load_data_spec(write("path: ../drawn\ngenerator: shapes\ntrain: images\nval: images\n" + NAMES))

    assert drawn == [spec.root] == [write.folder.parent / "drawn"]


def test_a_hyper_parameter_file_may_lie_beside_the_yaml(write):
    (write.folder / "my.yaml").write_text("lr0: 0.1")

    assert load_data_spec(write(BASIC + "hyp: my.yaml\n")).hyp == str(write.folder / "my.yaml")
    assert load_data_spec(write(BASIC + "hyp: hyp.VOC\n")).hyp == "hyp.VOC"
    assert load_data_spec(write(BASIC)).hyp == ""


CLASS_COUNTS = {
    "shapes": 6,
    "coco": 80,
    "coco128": 80,
    "VOC": 20,
    "VisDrone": 10,
    "Argoverse": 8,
    "GlobalWheat2020": 1,
    "SKU-110K": 1,
    "xView": 60,
}


@pytest.mark.parametrize("file", sorted((ROOT / "data").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_data_yaml_of_the_clone_is_found_by_name_and_says_where_its_data_belong(file, monkeypatch):
    monkeypatch.setattr(spec_module, "draw_shapes_dataset", lambda root: None)
    monkeypatch.setattr(spec_module, "ROOT", Path("/nowhere"))
    monkeypatch.setattr(Path, "exists", lambda self: False)

    with pytest.raises(DataError) as caught:
        load_data_spec(file.name)

    assert str(ROOT / "datasets") in caught.value.what
    assert len(read_yaml(file)["names"]) == CLASS_COUNTS[file.stem]


def test_a_good_file_logs_nothing(write, caplog):
    caplog.set_level(logging.DEBUG)

    load_data_spec(write(BASIC))

    assert not caplog.records
