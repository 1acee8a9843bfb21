"""Streams: a thread for each, in order, none twice; one that breaks off stops no other and is opened again."""

import http.server
import threading
import types
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.data import open_source as opening
from utils.data import remote, streams
from utils.data.open_source import open_source
from utils.errors import DataError
from utils.pixels import PixelFormat

STEP = 12  # of brightness from frame to frame


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(streams, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(streams, "LAST_CALL_S", 0.5)


@contextmanager
def served(answer):
    """Serve on the loopback what ``answer(handler)`` writes; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            answer(self)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def jpeg(value):
    return cv2.imencode(".jpg", np.full((48, 64, 3), value, np.uint8))[1].tobytes()


class Mjpeg:
    """Answers the first ``connections`` requests with ``frames`` pictures each, further ones with 404."""

    def __init__(self, frames, connections=1):
        self.frames, self.left, self.sent = frames, connections, 0

    def __call__(self, handler):
        self.left -= 1
        if self.left < 0:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for _ in range(self.frames):
            data = jpeg(self.sent * STEP)
            self.sent += 1
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            handler.wfile.write(head + data + b"\r\n")


def video(path, frames, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), STEP * number, np.uint8))
    writer.release()
    return path


def taken(source, size=4, **options):
    """Return name → numbers of the frames, read off their brightness, in the order in which they come."""
    found = {}
    with open_source(source, **options) as frames:
        for batch in frames.batches(size):
            assert 0 < len(batch) <= size
            for frame in batch:
                found.setdefault(frame.path.stem, []).append(round(frame.image.mean() / STEP))
    return found


def test_an_http_stream_is_read_in_order_until_it_is_gone(caplog):
    mjpeg = Mjpeg(frames=20)
    with served(mjpeg) as address:
        found = taken(f"{address}/live")

    ((name, numbers),) = found.items()
    assert name == address.removeprefix("http://").replace(".", "_").replace(":", "_") + "_live"
    assert numbers == sorted(set(numbers)), "the newest each time, none twice"
    assert numbers[-1] == 19, "the last one waits to be taken"
    assert caplog.text.count("it is tried again") == 1
    assert "given up after 2 attempts" in caplog.text


def test_a_stream_that_breaks_off_is_opened_again(caplog):
    caplog.set_level("INFO")
    with served(Mjpeg(frames=10, connections=2)) as address:
        (numbers,) = taken(f"{address}/live").values()

    assert numbers == sorted(set(numbers))
    assert max(numbers) == 19, "frames of the second connection"
    assert "there again" in caplog.text


class OneFrame:
    """A stream that gives one frame each time that it is opened; after ``times`` it is not there any more."""

    fps = None

    def __init__(self, times):
        self.left, self.opened = times, 0

    def open(self):
        if not self.left:
            raise DataError("flaky: cannot be opened", "mend it")
        self.left, self.opened, self.fresh = self.left - 1, self.opened + 1, True
        return self

    def read(self):
        fresh, self.fresh = self.fresh, False
        return np.zeros((8, 8, 3), np.uint8) if fresh else None

    def close(self):
        pass


@pytest.mark.parametrize(
    ("well", "opened", "told"), [(10.0, 3, ["0.01, 0.02 s", "0.02 s"]), (0.0, 5, ["0.01, 0.02 s"] * 5)]
)
def test_a_stream_that_breaks_off_each_time_is_given_up_unless_it_is_well_for_a_while(
    monkeypatch, caplog, well, opened, told
):
    monkeypatch.setattr(streams, "WELL_S", well)
    flaky = OneFrame(times=5)
    with streams.StreamSource([streams.Channel("flaky", "flaky", flaky.open)]) as source:
        list(source.batches(1))

    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert flaky.opened == opened
    assert lines == [
        *(f"flaky: it has broken off; it is tried again, after {pauses}" for pauses in told),
        "flaky: given up after 2 attempts",
    ]


def test_a_dead_stream_does_not_stop_the_others_and_a_video_among_them_is_read_whole(tmp_path, caplog):
    video(tmp_path / "walk.avi", 9)
    with served(Mjpeg(frames=5)) as address:
        (tmp_path / "cams.streams").write_text(f"# three\nwalk.avi\n{address}/live\n\nrtsp://u:secret@127.0.0.1:9/x\n")
        with open_source(tmp_path / "cams.streams") as source:
            names = [frame.path.name for batch in source.batches(8) for frame in batch]

    assert names.count("walk") == 9
    assert sum(name.endswith("_live") for name in names) >= 1
    assert [name.name for name, _ in source.skipped] == ["127_0_0_1_9_x"]
    assert caplog.text.count("rtsp://127.0.0.1:9/x: cannot be opened; it is tried again") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("as_streams", [False, True], ids=["a folder", "a .streams file"])
def test_every_frame_of_eight_videos_of_unequal_length_comes_exactly_once(tmp_path, as_streams):
    lengths = {f"v{number}": length for number, length in enumerate((1, 7, 2, 11, 3, 5, 1, 8))}
    for name, length in lengths.items():
        video(tmp_path / f"set/{name}.avi", length)
    source = tmp_path / "set"
    if as_streams:
        source = tmp_path / "all.streams"
        source.write_text("".join(f"set/{name}.avi\n" for name in lengths))

    found = taken(source, size=3)

    assert found == {name: list(range(length)) for name, length in lengths.items()}


def test_of_videos_at_the_same_time_each_has_its_turn(tmp_path):
    for name in ("a", "b"):
        video(tmp_path / f"{name}.avi", 6)
    (tmp_path / "two.streams").write_text("a.avi\nb.avi\n")

    with open_source(tmp_path / "two.streams") as source:
        names = []
        for batch in source.batches(2):
            names += [frame.path.name for frame in batch]
            threading.Event().wait(0.02)  # time for both to bring their next

    assert all(abs(names[:end].count("a") - names[:end].count("b")) <= 2 for end in range(len(names)))


def test_a_broken_tail_an_empty_video_and_one_of_a_single_frame(tmp_path, caplog):
    data = video(tmp_path / "cut.avi", 12, size=(320, 240)).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "empty.avi").write_bytes(b"")
    video(tmp_path / "one.avi", 1)

    with open_source(tmp_path) as source:
        names = [frame.path.name for batch in source.batches(5) for frame in batch]

    assert 1 <= names.count("cut.avi") < 12
    assert names.count("one.avi") == 1
    assert [path.name for path, _ in source.skipped] == ["empty.avi"]
    assert "empty.avi" in caplog.text


def test_streams_that_are_all_dead_at_the_start_are_an_error_and_no_thread_is_left(tmp_path):
    (tmp_path / "x.streams").write_text("http://127.0.0.1:9/a\nhttp://127.0.0.1:9/b\n")

    with (
        pytest.raises(DataError, match=r"^http://127\.0\.0\.1:9/a: cannot be opened"),
        open_source(tmp_path / "x.streams"),
    ):
        pytest.fail("it was opened")
    threading.Event().wait(0.1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("127_0_0_1_9")]


def test_an_error_of_ours_in_a_thread_comes_up_where_the_frames_are_asked_for(tmp_path, monkeypatch):
    video(tmp_path / "a.avi", 3)
    (tmp_path / "a.streams").write_text("a.avi\n")
    monkeypatch.setattr(opening.FileReader, "read", lambda self: 1 / 0)

    with pytest.raises(ZeroDivisionError), open_source(tmp_path / "a.streams") as source:
        list(source.batches(1))


class Camera:
    """Three frames, of which ``grab`` skips one."""

    def __init__(self, index, *_):
        self.index, self.number, self.released = index, -1, False

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.index == 0

    def get(self, _):
        return 15.0

    def grab(self):
        self.number += 1
        return self.number < 6

    def retrieve(self):
        return True, np.full((8, 8, 3), self.number * STEP, np.uint8)

    def release(self):
        self.released = True


def test_a_number_is_a_camera_and_a_stride_takes_every_so_many_frames(monkeypatch):
    monkeypatch.setattr(opening.cv2, "VideoCapture", Camera)
    reader = opening.CaptureReader(0, PixelFormat(), stride=2)

    assert [round(reader.read().mean() / STEP) for _ in range(3)] == [1, 3, 5]
    assert reader.read() is None
    assert reader.fps == 7.5
    with pytest.raises(DataError, match=r"camera 3: cannot be opened"), open_source("3"):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no streams"),
        ("http://[::1\n", r"http://\[::1: not a URL"),
        ("0\nwalk.txt\n", r":2 walk\.txt: neither a stream nor a video file"),
        ("more.streams\n", r":1 more\.streams: neither"),
    ],
)
def test_a_bad_list_of_streams_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "walk.txt").write_text("")
    (tmp_path / "more.streams").write_text("0\n")
    (tmp_path / "x.streams").write_text(text)

    with pytest.raises(DataError, match=message), open_source(tmp_path / "x.streams"):
        pytest.fail("it was opened")


def test_streams_that_would_have_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        video(tmp_path / folder / "walk.avi", 2)
    (tmp_path / "x.streams").write_text("a/walk.avi\nb/walk.avi\n")

    assert taken(tmp_path / "x.streams") == {"walk": [0, 1], "walk-2": [0, 1]}


def send(handler, data, code=200, **headers):
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def test_an_image_and_a_video_behind_a_url_are_read_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    clip = video(tmp_path / "walk.avi", 3).read_bytes()

    def answer(handler):
        if handler.path.startswith("/old"):
            send(handler, b"", 302, Location="/new/b.jpg?x=1")
        else:
            send(handler, clip if "avi" in handler.path else jpeg(10 * STEP))

    with served(answer) as address:
        assert taken(f"{address}/old/a.jpg") == {"a": [10]}
        assert taken(f"{address}/walk.avi?token=1") == {"walk": [0, 1, 2]}
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("location", "limit", "message"),
    [
        ("/a.jpg", 10**6, "redirected more than 5 times"),
        ("file:///etc/passwd", 10**6, "not the URL of a file"),
        ("", 100, "more than 0 MB"),
    ],
)
def test_a_download_is_bounded(monkeypatch, location, limit, message):
    monkeypatch.setattr(opening, "MAX_IMAGE_BYTES", limit)

    def answer(handler):
        send(handler, jpeg(0), 302 if location else 200, **{"Location": location} if location else {})

    with served(answer) as address, pytest.raises(DataError, match=message), open_source(f"{address}/a.jpg"):
        pytest.fail("it was opened")


def test_a_public_address_does_not_lead_to_a_private_one(monkeypatch):
    with served(lambda handler: send(handler, jpeg(0))) as address:
        monkeypatch.setattr(remote, "_addresses", lambda host: ["93.184.216.34"] if host == "a.example" else [host])
        monkeypatch.setattr(remote, "build_opener", lambda *_: types.SimpleNamespace(open=redirect_to(address)))
        with pytest.raises(DataError, match="not a public address"), open_source("http://a.example/a.jpg"):
            pytest.fail("it was opened")


def redirect_to(address):
    def opened(url, timeout):
        raise remote.HTTPError(url, 302, "Found", {"Location": f"{address}/a.jpg"}, None)

    return opened


def test_a_source_that_only_looks_like_a_stream_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video(Path("screen/walk.avi"), 2)

    assert taken("screen") == {"walk": [0, 1]}
