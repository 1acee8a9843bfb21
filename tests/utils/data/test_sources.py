"""What detection runs on: files, folders, patterns, lists and videos, in order, and what is left out."""

import os

import cv2
import numpy as np
import pytest

from utils.data.sources import ImageSource
from utils.errors import ConfigError, DataError


@pytest.fixture
def image(tmp_path):
    def image(name, value=50):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 30, 3), value, np.uint8))
        return path

    return image


@pytest.fixture
def video(tmp_path):
    """Return a function that writes a video whose k-th frame has brightness 20·k."""

    def video(name, frames=6):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (64, 48))
        for number in range(frames):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
        writer.release()
        return path

    return video


def paths(source):
    return [frame.path for frame in source]


def test_one_image_is_one_frame(image):
    path = image("a.png", 77)

    (frame,) = ImageSource(path)

    assert (frame.path, frame.index, frame.count, frame.is_video) == (path, 0, 1, False)
    np.testing.assert_array_equal(frame.image, np.full((20, 30, 3), 77, np.uint8))


def test_a_folder_gives_images_then_videos_without_its_subfolders(image, video, tmp_path):
    clip = video("set/a.avi", frames=2)
    expected = [image("set/b.jpg"), image("set/c.PNG")]
    image("set/sub/d.jpg")
    image("set/.hidden.jpg")
    (tmp_path / "set" / "notes.txt").write_text("no image")
    (tmp_path / "set" / "folder.jpg").mkdir()

    source = ImageSource(tmp_path / "set")

    assert paths(source) == [*expected, clip, clip]
    assert len(source) == 3
    assert [frame.index for frame in source] == [0, 1, 2, 2]


def test_a_pattern_is_a_pattern_only_where_no_such_file_exists(image, tmp_path):
    first, second = image("set [1]/a1.jpg"), image("set [1]/a2.jpg")
    literal = image("a[12].jpg", 9)
    image("a1.jpg")

    assert paths(ImageSource(tmp_path / "set [1]")) == [first, second]
    assert paths(ImageSource(literal)) == [literal]
    assert paths(ImageSource(f"{tmp_path}/**/a?.jpg")) == [tmp_path / "a1.jpg", first, second]


def test_list_entries_are_relative_to_the_list_file(image, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    first, second = image("set/a.jpg"), image("set/b.jpg")
    (tmp_path / "list.txt").write_text(f"# two images\n./set/b.jpg\n\n{first}\n")

    assert paths(ImageSource(tmp_path / "list.txt")) == [first, second]


def test_a_list_entry_that_does_not_exist_is_named_with_its_line(image, tmp_path):
    image("a.jpg")
    (tmp_path / "list.txt").write_text("a.jpg\n\ngone.jpg\n")

    with pytest.raises(DataError, match=r"list\.txt:3 .*gone\.jpg is not a file"):
        ImageSource(tmp_path / "list.txt")


def test_an_unreadable_image_in_a_folder_is_left_out_and_the_rest_goes_on(image, tmp_path, caplog):
    first, last = image("set/a.jpg"), image("set/z.jpg")
    (tmp_path / "set" / "m.jpg").write_bytes(b"<html></html>")
    (tmp_path / "set" / "n.jpg").symlink_to(tmp_path / "nothing.jpg")
    os.mkfifo(tmp_path / "set" / "o.jpg")

    source = ImageSource(tmp_path / "set")

    assert paths(source) == [first, last]
    assert [path.name for path, _ in source.skipped] == ["m.jpg", "n.jpg", "o.jpg"]
    assert source.skipped[0][1] == "not an image (HTML or XML)"
    assert "m.jpg" in caplog.text


@pytest.mark.parametrize("name", ["broken.jpg", "broken.mp4"])
def test_a_single_file_that_cannot_be_read_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"text")

    with pytest.raises(DataError, match=f"cannot decode .*{name}"):
        list(ImageSource(tmp_path / name))


def test_the_frames_of_a_video_come_in_order_with_its_speed(video):
    frames = list(ImageSource(video("clip.avi")))

    assert [frame.frame_number for frame in frames] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose([frame.image.mean() for frame in frames], [0, 20, 40, 60, 80, 100], atol=4)
    assert {(frame.is_video, frame.fps, frame.frame_count, frame.image.shape) for frame in frames} == {
        (True, 12.0, 6, (48, 64, 3))
    }


def test_a_stride_takes_the_last_of_every_so_many_frames_at_the_slower_speed(video):
    frames = list(ImageSource(video("clip.avi"), vid_stride=2))

    np.testing.assert_allclose([frame.image.mean() for frame in frames], [20, 60, 100], atol=4)
    assert [(frame.frame_number, frame.frame_count, frame.fps) for frame in frames] == [
        (0, 3, 6.0),
        (1, 3, 6.0),
        (2, 3, 6.0),
    ]


def test_a_source_can_be_gone_through_twice(image, tmp_path):
    image("a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"")
    source = ImageSource(tmp_path)

    assert paths(source) == paths(source)
    assert len(source.skipped) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.jpg", "no such file or folder"),
        ("*.jpg", "matches no image or video"),
        ("empty", "no images or videos in this folder"),
        ("note.md", "neither an image nor a video"),
        ("none.txt", "names no images or videos"),
    ],
)
def test_nothing_to_read_is_an_error(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.md").write_text("text")
    (tmp_path / "none.txt").write_text("# nothing\n")

    with pytest.raises(DataError, match=message):
        ImageSource(source)


def test_a_stride_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="vid_stride is 0"):
        ImageSource(tmp_path, vid_stride=0)


def test_a_video_shorter_than_the_stride_is_told(tmp_path, caplog):
    write_clip(tmp_path / "one.avi", 1)
    assert list(ImageSource(tmp_path / "one.avi", vid_stride=2)) == []
    assert "one.avi: has fewer than 2 frames, and with this stride none is looked at" in caplog.text


def test_a_frame_that_is_there_and_cannot_be_decoded_is_not_counted_as_read(tmp_path, caplog, monkeypatch):
    write_clip(tmp_path / "three.avi", 3)

    class LastIsBroken:
        def __init__(self, path):
            self.video, self.taken = opened(path), 0

        def __getattr__(self, name):
            return getattr(self.video, name)

        def retrieve(self):
            self.taken += 1
            return self.video.retrieve() if self.taken < 3 else (False, None)

    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", LastIsBroken)
    assert len(list(ImageSource(tmp_path / "three.avi"))) == 2
    assert "three.avi: 2 of 3 frames could be read" in caplog.text


def write_clip(path, frames):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(frames):
        video.write(np.zeros((32, 32, 3), np.uint8))
    video.release()
