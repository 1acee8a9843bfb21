"""Images are shared out: by class, without leaks, in lists that training reads."""

import json
import logging
from collections import Counter

import numpy as np
import pytest

from tests.annotation_case import write_coco, write_voc
from utils.configs.split import SplitConfig
from utils.data.scan.scan import scan_dataset
from utils.data.scan.spec import load_data_spec
from utils.dataset import split as command
from utils.dataset.share import share_out
from utils.doctor.checks.duplicates import leaks
from utils.doctor.gather import gather_facts
from utils.errors import ConfigError, DataError
from utils.plots.image_file import write_image

SCENES, FRAMES = 8, 4


@pytest.fixture
def videos(tmp_path):
    """Return the YAML of 8 scenes of 4 frames each, which differ in brightness and noise; a class for each parity."""
    root = tmp_path / "set"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for scene in range(SCENES):
        rng = np.random.default_rng(scene)
        coarse = np.kron(rng.integers(20, 220, (8, 8, 3)), np.ones((8, 8, 1)))
        detail = rng.integers(0, 30, (64, 64, 3))
        for frame in range(FRAMES):
            noise = rng.normal(2 * frame, 1, (64, 64, 3))
            write_image(
                root / f"images/clip{scene}_{frame}.png", (coarse + detail + noise).clip(0, 255).astype(np.uint8)
            )
            (root / f"labels/clip{scene}_{frame}.txt").write_text(f"{scene % 2} 0.5 0.5 0.{frame + 1} 0.2\n")
    (root / "data.yaml").write_text("train: images\nnames: [even, odd]\n")
    return root / "data.yaml"


def split(yaml, out, **options):
    command.main(SplitConfig(data=str(yaml), out=str(out), **options))
    return out


def listed(file):
    return file.read_text().splitlines()


def scene_of(path):
    return path.rpartition("/")[2].partition("_")[0]


def test_pictures_that_look_alike_stay_together_and_the_doctor_finds_no_leak(videos, tmp_path):
    out = split(videos, tmp_path / "out", val=0.25, test=0.25)

    parts = {name: listed(out / f"{name}.txt") for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 16, "val": 8, "test": 8}
    scenes = [{scene_of(path) for path in part} for part in parts.values()]
    assert sum(map(len, scenes)) == len(set.union(*scenes)) == SCENES
    assert [len({int(name[-1]) % 2 for name in names}) for names in scenes] == [2, 2, 2]
    assert not list(leaks(gather_facts(load_data_spec(out), 64)))


def test_with_leak_pictures_are_shared_out_one_by_one(videos, tmp_path):
    out = split(videos, tmp_path / "out", leak=True)

    assert len({scene_of(path) for path in listed(out / "val.txt")}) > 2
    assert list(leaks(gather_facts(load_data_spec(out), 64)))


def test_images_of_a_split_test_that_stays_are_not_shared_out(videos, tmp_path):
    """A test that is val, as many have it, would hold images that are trained on then."""
    (videos.parent / "few.txt").write_text("images/clip0_0.png\n")
    videos.write_text("train: images\ntest: few.txt\nnames: [even, odd]\n")

    with pytest.raises(DataError, match=r"1 of 32 images to share out are in test too, as .*clip0_0\.png") as caught:
        split(videos, tmp_path / "out", leak=True)
    assert caught.value.fix.startswith("give --test") and not (tmp_path / "out").exists()

    split(videos, tmp_path / "out", leak=True, test=0.2)


def test_a_split_test_that_cannot_be_read_stays_with_a_word(videos, tmp_path, caplog):
    (videos.parent / "test.json").write_text('{"images": [], "categories": []}')
    videos.write_text("train: images\ntest: test.json\nnames: [even, odd]\n")

    out = split(videos, tmp_path / "out", leak=True)

    assert load_data_spec(out).test == [videos.parent / "test.json"]
    assert "test is taken as it is, and could not be compared with the other images" in caplog.text


def test_a_group_of_the_paths_stays_together(videos, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    out = split(videos, tmp_path / "out", leak=True, group=r"clip\d", val=0.5)

    scenes = [{scene_of(path) for path in listed(out / f"{name}.txt")} for name in ("train", "val")]
    assert [len(names) for names in scenes] == [4, 4]
    assert not set.intersection(*scenes)
    assert "32 images in 8 groups that stay together, the largest of 4" in caplog.text


def test_in_each_fold_the_others_train(videos, tmp_path):
    out = split(videos, tmp_path / "out", kfold=3, test=0.25)

    everything = Counter()
    for fold in ("fold1", "fold2", "fold3"):
        train, val, test = (listed(out / fold / f"{name}.txt") for name in ("train", "val", "test"))
        assert len({*train, *val, *test}) == len(train) + len(val) + len(test) == SCENES * FRAMES
        everything.update(val)
        assert load_data_spec(out / fold).val == [out / fold / "val.txt"]
        assert test == listed(out / "fold1/test.txt")
    assert set(everything.values()) == {1}
    assert len(everything) + len(test) == SCENES * FRAMES


def test_the_same_seed_gives_the_same_parts_and_nothing_is_written_into_the_data_set(videos, tmp_path):
    before = sorted(videos.parent.rglob("*"))
    one, two, other = (
        listed(split(videos, tmp_path / f"out{number}", seed=seed) / "val.txt") for number, seed in enumerate((5, 5, 6))
    )

    assert one == two != other
    assert sorted(videos.parent.rglob("*")) == before


def test_every_class_has_its_share_of_every_part():
    rng = np.random.default_rng(1)
    rates = np.array([0.9, 0.4, 0.1, 0.02, 0.01])
    counts = (rng.random((2000, 5)) < rates).astype(int)

    part = share_out(counts, np.ones(2000, int), [0.7, 0.2, 0.1], np.random.default_rng(0))

    assert np.bincount(part).tolist() == [1400, 400, 200]
    for number, share in enumerate((0.7, 0.2, 0.1)):
        assert (
            np.abs(counts[part == number].sum(0) - share * counts.sum(0)).max() < 2
        )  # boxes of 1800, 800, 200, 40, 20


@pytest.mark.parametrize("classes", [12, 4, 3, 1])
def test_a_dozen_images_have_their_shares_however_few_show_a_class(classes):
    counts = np.eye(classes, dtype=int)[np.arange(12) % classes]

    part = share_out(counts, np.ones(12, int), [0.8, 0.2], np.random.default_rng(0))

    assert np.bincount(part).tolist() == [10, 2]


def test_a_coco_file_is_split_into_two_that_say_the_same(tmp_path):
    yaml = write_coco(tmp_path / "set", polygons=True)
    out = split(yaml, tmp_path / "out", val=0.5, leak=True)

    def labels_of(spec, sources):
        scan = scan_dataset(sources, spec.names, root=spec.root, fence=spec.fence)
        return {path: labels.tolist() for path, labels in zip(scan.image_paths, scan.labels, strict=True)}

    spec, source = load_data_spec(out), load_data_spec(yaml)
    parts = [labels_of(spec, files) for files in (spec.train, spec.val)]
    assert [len(part) for part in parts] == [2, 2]
    assert parts[0] | parts[1] == labels_of(source, source.train)
    assert (
        json.loads((out / "train.json").read_text())["categories"]
        == json.loads(source.train[0].read_text())["categories"]
    )


def test_the_images_of_pascal_voc_are_listed_and_keep_their_xml(tmp_path):
    spec = load_data_spec(split(write_voc(tmp_path / "set"), tmp_path / "out", val=0.5, leak=True))

    scans = [scan_dataset(files, spec.names, root=spec.root, fence=spec.fence) for files in (spec.train, spec.val)]
    assert sum(len(labels) for scan in scans for labels in scan.labels) == 6


def test_a_test_split_stays_where_it_is(videos, tmp_path):
    (videos.parent / "unseen").mkdir()
    (videos.parent / "images/clip0_0.png").rename(videos.parent / "unseen/other.png")
    videos.write_text("train: images\ntest: unseen\nnames: [even, odd]\n")

    assert load_data_spec(split(videos, tmp_path / "out")).test == [videos.parent / "unseen"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0.0}, "--val 0: leaves no images to validate on"),
        ({"val": 0.5, "test": 0.5}, "--val 0.5 and --test 0.5: leave no images to train on"),
        ({"val": 0.5, "kfold": 2}, "--val and --kfold"),
        ({"group": "clip("}, r"--group clip\(: no regular expression"),
        ({"group": "scene"}, r"--group scene: is found in no path of an image, such as images/clip0_0\.png"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(videos, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        split(videos, tmp_path / "out", **options)

    assert not (tmp_path / "out").exists()


def test_groups_that_are_too_large_for_the_parts_are_an_error(videos, tmp_path):
    with pytest.raises(DataError, match="32 images make 1 group to share out, too few for 2 parts"):
        split(videos, tmp_path / "out", group="clip")


def test_a_folder_with_something_in_it_is_left_alone(videos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")

    with pytest.raises(ConfigError, match="is not empty"):
        split(videos, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_images_outside_of_path_are_refused_as_training_would(videos, tmp_path):
    inner = videos.parent / "inner"
    inner.mkdir()
    (inner / "data.yaml").write_text("train: ../images\nnames: [even, odd]\n")

    with pytest.raises(DataError, match=r"32 of 32 images lie outside .*inner, as "):
        split(inner, tmp_path / "out")


def test_a_name_that_no_list_can_hold_is_refused(videos, tmp_path):
    odd = "clip\n9.png"
    (videos.parent / "images/clip0_0.png").rename(videos.parent / "images" / odd)

    with pytest.raises(DataError, match=r"clip\\n9\.png: a list of images cannot hold this name"):
        split(videos, tmp_path / "out", leak=True)


def test_what_was_interrupted_says_so_and_has_no_yaml(videos, tmp_path, monkeypatch, caplog):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("utils.dataset.folder.write_yaml", interrupted)
    with pytest.raises(KeyboardInterrupt):
        split(videos, tmp_path / "out", leak=True)

    assert "out is unfinished: remove it before you try again" in caplog.text
    assert not (tmp_path / "out/data.yaml").exists()
