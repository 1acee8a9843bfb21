"""What detect.py writes: each file once, whole, under a name of its own."""

import csv
import errno
import io
import math
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from utils.configs.detect import DetectConfig
from utils.data.sources import Frame
from utils.detection.found import Detections
from utils.detection.names import OutputNames, UniqueNames, class_folders, frame_label, safe_name
from utils.detection.video import VideoFile
from utils.detection.writers import crop, label_lines, open_writers
from utils.errors import OutputError, StorageError
from utils.stopwatch import Speed

NAMES = {0: "person", 1: "traffic light"}
BOXES = torch.tensor([[16.0, 8, 48, 24, 0.875, 1], [0, 0, 8, 4, 0.5, 0]])
EVERYTHING = DetectConfig(save_txt=True, save_csv=True, save_crop=True)


def frame(path, height=32, width=64, **facts):
    return Frame(Path(path), np.full((height, width, 3), 120, np.uint8), index=0, count=2, **facts)


def detections(boxes=BOXES, shape=(32, 64)):
    return Detections(boxes, shape, Speed(1.0, 2.0, 3.0))


def write(run_dir, pairs, cfg=EVERYTHING, names=NAMES):
    with open_writers(cfg, run_dir, names) as writers:
        for source, found in pairs:
            for writer in writers:
                writer.write(source, found)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_option_writes_its_files(tmp_path):
    write(tmp_path, [(frame("/s/bus.jpg"), detections())])

    crops = ["crops/person/bus.jpg", "crops/traffic light/bus.jpg"]
    assert files(tmp_path) == ["bus.jpg", *crops, "labels/bus.txt", "predictions.csv"]


def test_the_disk_is_not_waited_for_after_each_image(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    everything = replace(EVERYTHING, save_json=True, save_labelme=True)

    for count in (1, 5):
        synced.clear()
        write(tmp_path / str(count), [(frame(f"/s/{i}.jpg"), detections()) for i in range(count)], everything)
        assert len(synced) == 4, "predictions.csv and predictions.json, each with its folder"


def test_only_what_is_asked_for_is_written(tmp_path):
    write(tmp_path, [(frame("/s/bus.jpg"), detections())], cfg=DetectConfig(save=False))

    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "1 0.5 0.5 0.5 0.5"),
        ({"corners": True}, "1 0.25 0.25 0.75 0.75"),
        ({"confidence": True}, "1 0.5 0.5 0.5 0.5 0.875"),
        ({"corners": True, "confidence": True}, "1 0.25 0.25 0.75 0.75 0.875"),
    ],
)
def test_label_lines_are_normalised(options, line):
    assert label_lines(BOXES, (32, 64), **options)[0] == line


def test_label_lines_keep_six_digits():
    assert label_lines(torch.tensor([[0.0, 0, 1, 1, 0.1234567, 0]]), (3, 3), confidence=True) == [
        "0 0.166667 0.166667 0.333333 0.333333 0.123457"
    ]


def test_the_formats_can_be_chosen_by_flags(tmp_path):
    write(tmp_path, [(frame("a.jpg"), detections())], cfg=replace(EVERYTHING, save_format=1, save_conf=True))

    assert (tmp_path / "labels/a.txt").read_text().splitlines()[1] == "0 0 0 0.125 0.125 0.5"


def test_the_table_lists_every_detection(tmp_path):
    write(tmp_path, [(frame("/s/bus, red.jpg"), detections()), (frame("/s/none.jpg"), detections(BOXES[:0]))])

    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["Image Name", "Prediction", "Confidence"],
            ["bus, red.jpg", "traffic light", "0.88"],
            ["bus, red.jpg", "person", "0.50"],
        ]


def test_an_image_without_detections_gets_a_picture_but_no_label_file(tmp_path):
    write(tmp_path, [(frame("a.png"), detections())])
    write(tmp_path, [(frame("a.png"), detections(BOXES[:0]))])

    assert files(tmp_path / "labels") == [], "the labels of the earlier run into this folder are gone"
    assert (cv2.imread(str(tmp_path / "a.png")) == 120).all()


def test_a_second_run_into_the_folder_replaces_and_never_appends(tmp_path):
    for _ in range(2):
        write(tmp_path, [(frame("a.jpg"), detections())])

    assert files(tmp_path)[:3] == ["a.jpg", "crops/person/a.jpg", "crops/traffic light/a.jpg"]
    assert len((tmp_path / "labels/a.txt").read_text().splitlines()) == 2
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 3


def test_two_images_of_one_stem_do_not_overwrite_each_other(tmp_path, caplog):
    caplog.set_level("INFO")
    write(tmp_path, [(frame("/s/x.jpg"), detections()), (frame("/s/x.png"), detections(BOXES[:1]))])

    assert [name for name in files(tmp_path) if "/" not in name] == ["predictions.csv", "x-2.png", "x.jpg"]
    assert len((tmp_path / "labels/x.txt").read_text().splitlines()) == 2
    assert len((tmp_path / "labels/x-2.txt").read_text().splitlines()) == 1
    assert "/s/x.png: its outputs are called x-2" in caplog.text


def test_several_crops_of_one_class_are_kept(tmp_path):
    same = torch.cat([BOXES[:1]] * 3)

    write(tmp_path, [(frame("x.jpg"), detections(same)), (frame("x-2.jpg"), detections(same[:1]))])

    assert files(tmp_path / "crops") == [f"traffic light/x{end}.jpg" for end in ("-2-2", "-2", "-3", "")]


def test_a_crop_is_a_little_larger_than_its_box():
    image = np.arange(100 * 200, dtype=np.uint32).reshape(100, 200)

    part = crop(image, (50, 40, 100, 60))  # 50 × 20 → 61 × 30.4 around (75, 50)

    assert (part[0, 0], part.shape) == (34 * 200 + 44, (65 - 34, 105 - 44))


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (200, 100, 200, 100), (-5, -5, 500, 500)])
def test_a_crop_at_the_border_stays_inside_and_is_not_empty(box):
    part = crop(np.zeros((100, 200, 3), np.uint8), box)

    assert 0 < part.shape[0] <= 100
    assert 0 < part.shape[1] <= 200


@pytest.mark.parametrize(
    ("hide", "texts"),
    [
        ({}, ["person 0.50", "traffic light 0.88"]),
        ({"hide_conf": True}, ["person", "traffic light"]),
        ({"hide_labels": True}, ["", ""]),
    ],
)
def test_labels_can_be_hidden_and_the_best_lies_on_top(tmp_path, monkeypatch, hide, texts):
    seen = []
    monkeypatch.setattr("utils.detection.writers.draw_boxes", lambda image, boxes, t, *_: seen.append(t) or image)

    write(tmp_path, [(frame("a.jpg"), detections())], cfg=DetectConfig(**hide))

    assert seen == [texts]


def test_a_picture_of_a_format_that_cannot_be_written_becomes_a_jpeg(tmp_path):
    write(tmp_path, [(frame("a.mpo"), detections()), (frame("b.PNG"), detections())], cfg=DetectConfig())

    assert files(tmp_path) == ["a.jpg", "b.PNG"]


def test_a_video_becomes_an_mp4_and_its_labels_are_numbered(tmp_path):
    clip = {"is_video": True, "frame_count": 3, "fps": 12.5}
    pairs = [(frame("/s/clip_2.jpg"), detections())]
    pairs += [(frame("/s/walk.avi", frame_number=i, **clip), detections()) for i in range(3)]
    pairs += [(frame("/s/clip.avi", 48, 32, frame_number=i, **clip), detections(shape=(48, 32))) for i in range(2)]

    write(tmp_path, pairs, cfg=DetectConfig(save_txt=True))

    assert files(tmp_path) == sorted(
        ["clip-2.mp4", "clip_2.jpg", "walk.mp4", "labels/clip_2.txt"]
        + [f"labels/walk_{i}.txt" for i in (1, 2, 3)]
        + [f"labels/clip-2_{i}.txt" for i in (1, 2)]  # clip_2 would be the image clip_2.jpg
    )
    video = cv2.VideoCapture(str(tmp_path / "walk.mp4"))
    facts = [video.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH)]
    assert facts == [12.5, 3, 64]


def test_an_interrupted_video_keeps_the_frames_so_far(tmp_path):
    clip = frame("/s/walk.avi", is_video=True)

    with pytest.raises(KeyboardInterrupt), open_writers(DetectConfig(), tmp_path, NAMES) as writers:
        writers[0].write(clip, detections())
        raise KeyboardInterrupt

    assert cv2.VideoCapture(str(tmp_path / "walk.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 1


@pytest.mark.parametrize(("full", "error", "code"), [(True, StorageError, 5), (False, OutputError, 2)])
def test_a_video_that_cannot_be_read_back_is_an_error_of_the_disk_or_of_its_own(
    tmp_path, monkeypatch, full, error, code
):
    def probe(dir):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return io.BytesIO()

    video = VideoFile(tmp_path / "walk.mp4", 30.0, (32, 64))
    video.write(np.zeros((32, 64, 3), np.uint8))
    monkeypatch.setattr("utils.detection.video.cv2.VideoCapture", lambda path: _Unreadable())
    monkeypatch.setattr("utils.detection.video.tempfile.TemporaryFile", probe)

    with pytest.raises(error, match="could not be written") as caught:
        video.close()
    assert caught.value.fix
    assert caught.value.exit_code == code
    assert files(tmp_path) == []


def test_the_video_of_a_live_stream_runs_as_time_does_and_shortens_its_pauses(tmp_path):
    seconds = [0, 0.05, 0.3, 0.31, 0.5, 60.5, 61.0]  # at 10 frames per second
    live = {"is_video": True, "is_stream": True, "fps": 10.0}
    video = VideoFile(tmp_path / "cam.mp4", 10.0, (32, 64))

    due = []
    for second in seconds:
        due.append(video.due(second))
        for _ in range(due[-1]):
            video.write(np.zeros((32, 64, 3), np.uint8))
    video.close()
    write(tmp_path, [(frame("cam_a", seconds=s, **live), detections()) for s in seconds[:5]], cfg=DetectConfig())

    assert due == [1, 0, 3, 0, 2, 20, 5]
    assert cv2.VideoCapture(str(tmp_path / "cam_a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 6


@pytest.mark.parametrize(
    ("fps", "rate"),  # a fraction of a power of ten with at most 65535 above the line
    [
        (105.611, 105.61),
        (239.757, 239.76),
        (23.976, 23.976),
        (24000 / 1001, 23.976),
        (29.97, 29.97),
        (0.5, 0.5),
        (1000.52, 1000.5),
        (7000.4, 7000),
        (1e6, 65535),
        (1e-9, 0.002),
        *((unknown, 30) for unknown in (None, 0, -1.0, math.nan, math.inf)),
    ],
)
def test_a_video_keeps_its_rate_as_nearly_as_the_codec_can(tmp_path, fps, rate):
    video = VideoFile(tmp_path / "walk.mp4", fps, (32, 64))
    for level in (0, 120, 240):
        video.write(np.full((32, 64, 3), level, np.uint8))
    video.close()

    written = cv2.VideoCapture(str(tmp_path / "walk.mp4"))
    facts = [written.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)]
    assert facts == pytest.approx([rate, 3])


@pytest.mark.parametrize(("shape", "size"), [((1, 1), (2, 2)), ((31, 64), (32, 64)), ((95, 127), (96, 128))])
def test_an_odd_side_gets_one_pixel_more_and_a_frame_of_another_size_is_scaled(tmp_path, shape, size):
    video = VideoFile(tmp_path / "walk.mp4", 30, shape)
    for height, width in (shape, (48, 48), (shape[0] * 2, shape[1])):
        video.write(np.full((height, width, 3), 200, np.uint8))
    video.close()

    written = cv2.VideoCapture(str(tmp_path / "walk.mp4"))
    frames = [image for _, image in iter(written.read, (False, None))]
    assert [image.shape[:2] for image in frames] == [size] * 3
    assert np.abs(np.stack(frames).astype(int) - 200).max() < 8


def test_an_output_that_cannot_be_encoded_is_counted_and_the_others_go_on(tmp_path, caplog):
    wide = [frame("/s/a.avi", height=32, width=9000, is_video=True, frame_number=i) for i in range(3)]
    clip = [frame("/s/b.avi", is_video=True, frame_number=i) for i in range(2)]

    with pytest.raises(OutputError, match="1 of the outputs could not be written, for the reasons above") as error:
        write(tmp_path, [(each, detections()) for each in [*wide, *clip, frame("/s/c.jpg")]])

    assert (error.value.exit_code, bool(error.value.fix)) == (2, True)
    assert caplog.text.count("a.mp4: this OpenCV cannot write mp4v video of 9000×32 pixels") == 1
    assert [name for name in files(tmp_path) if "/" not in name] == ["b.mp4", "c.jpg", "predictions.csv"]
    assert {f"labels/{name}.txt" for name in ("a_1", "a_2", "a_3", "b_1", "b_2", "c")} <= set(files(tmp_path))


def test_a_crop_that_cannot_be_encoded_is_counted_too(tmp_path, monkeypatch):
    def fail(path, image, **_):
        raise OutputError(f"{path}: too large", "smaller ones")

    monkeypatch.setattr("utils.detection.writers.write_image", fail)

    with pytest.raises(OutputError, match=r"^2 of the outputs"):
        write(tmp_path, [(frame("a.jpg"), detections())], cfg=DetectConfig(save=False, save_crop=True, save_txt=True))
    assert files(tmp_path) == ["labels/a.txt"]


def test_a_full_disk_ends_everything_at_once(tmp_path, monkeypatch):
    def full(path, image):
        raise StorageError(f"{path}: cannot be written (No space left on device)", "free some space")

    monkeypatch.setattr("utils.detection.writers.write_image", full)

    with pytest.raises(StorageError):
        write(tmp_path, [(frame("/s/c.jpg"), detections()), (frame("/s/d.jpg"), detections())], cfg=DetectConfig())


def test_images_of_one_name_and_frames_of_a_video_are_told_apart_in_the_table(tmp_path):
    one = detections(BOXES[:1])
    sources = [frame("/s/a/1.jpg"), frame("/s/b/1.jpg"), frame("/s/b/2.jpg"), frame("/s/w.mp4", is_video=True)]

    write(tmp_path, [(source, one) for source in [*sources, replace(sources[3], frame_number=1)]])

    with (tmp_path / "predictions.csv").open(newline="") as file:
        names = [row[0] for row in csv.reader(file)]
    assert names[1:] == ["a/1.jpg", "b/1.jpg", "2.jpg", "w.mp4 frame 1", "w.mp4 frame 2"]


def test_no_cell_of_the_table_is_run_or_breaks_a_row(tmp_path):
    names = {0: "=HYPERLINK(1)", 1: "a\nb\x1b[31m"}

    write(tmp_path, [(frame("/s/@cmd.jpg"), detections())], names=names)

    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "Image Name,Prediction,Confidence",
        r"'@cmd.jpg,a\nb\x1b[31m,0.88",
        "'@cmd.jpg,'=HYPERLINK(1),0.50",
    ]


class _Unreadable:
    def isOpened(self):  # noqa: N802 - OpenCV's name
        return False

    def get(self, key):
        return 0

    def release(self):
        """Nothing is open."""


@pytest.mark.parametrize("cfg", [DetectConfig(), DetectConfig(save=False, save_txt=True)], ids=["picture", "txt"])
def test_a_full_disk_is_a_storage_error_at_the_first_write(tmp_path, monkeypatch, cfg):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", full)

    with pytest.raises(StorageError, match="No space left"):
        write(tmp_path, [(frame("a.jpg"), detections())], cfg=cfg)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "labels").write_text("a file")

    with pytest.raises(StorageError, match="labels: cannot make this folder"):
        write(tmp_path, [], cfg=DetectConfig(save_txt=True))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("person", "person"),
        ("traffic light", "traffic light"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("/absolute", "_absolute"),
        ("..", "__"),
        (".", "_"),
        ("", "_"),
        ("   ", "___"),
        ('a:b*c?"d<e>f|g\\h', "a_b_c__d_e_f_g_h"),
        ("red\x1b[31m\n\u202e", "red_[31m__"),
        ("猫", "猫"),
        ("e\u0301", "é"),
        ("\udcff", "_"),
        ("CON", "_CON"),
        ("aux.txt", "_aux.txt"),
        ("com1", "_com1"),
        ("nul ", "_nul "),
        ("console", "console"),
        ("com10", "com10"),
    ],
)
def test_any_text_becomes_one_path_component(text, name):
    assert safe_name(text) == name


def test_a_long_name_is_cut_to_whole_characters_of_a_hundred_bytes():
    assert safe_name("猫" * 5000) == "猫" * 33


def test_classes_that_look_alike_get_their_own_folder():
    names = {0: "a/b", 1: "A:b", 2: "a_b", 3: "a_b_2"}

    folders = class_folders(names)

    assert folders == {0: "a_b", 1: "A_b_1", 2: "a_b_2", 3: "a_b_2_3"}


def test_crops_of_hostile_class_names_stay_in_the_run_folder(tmp_path):
    names = {0: "../../outside", 1: str(tmp_path / "absolute")}
    run_dir = tmp_path / "deep" / "run"
    run_dir.mkdir(parents=True)

    write(run_dir, [(frame("a.jpg"), detections())], names=names, cfg=DetectConfig(save=False, save_crop=True))

    assert len(files(run_dir / "crops")) == len(files(tmp_path)) == 2


def test_names_are_unique_whatever_was_claimed_before():
    unique = UniqueNames()

    assert [unique.claim(name) for name in ["a", "a-2", "a", "A", "a"]] == ["a", "a-2", "a-3", "A-4", "a-5"]


def test_a_file_keeps_its_name_over_all_writers_and_frames():
    outputs = OutputNames()
    first, second = frame("/a/x.jpg"), frame("/b/x.jpg")

    assert [outputs.stem(f) for f in (first, second, first, second)] == ["x", "x-2", "x", "x-2"]


def test_the_log_says_which_image_of_how_many():
    assert frame_label(frame("/a/x.jpg")) == "image 1/2 /a/x.jpg"
    clip = frame("/a/x.mp4", is_video=True, frame_number=4, frame_count=9)
    assert frame_label(clip) == "video 1/2 (5/9) /a/x.mp4"
