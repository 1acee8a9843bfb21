"""A command whose terminal goes away, is full or is closed; signals; log lines that cannot steer a terminal."""

import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from utils import command as shell
from utils.errors import DataError
from utils.runs import ROOT
from utils.terminal import LineFormatter, Output, UnfinishedLine, error_text

COMMAND = """
import logging, os, signal, subprocess, sys, threading, time
from dataclasses import dataclass
from pathlib import Path
from tqdm import tqdm
from utils.command import run_command
from utils.config import option
from utils.errors import DataError

@dataclass(frozen=True)
class Config:
    what: str = option("work", help="what to do")

def main(cfg):
    try:
        DEEDS[cfg.what]()
    finally:
        Path("closed").touch()
    Path("done").touch()

def work():
    for number in tqdm(range(3), file=sys.stdout):
        logging.getLogger("x").info("line %d", number)
        print("printed")

def refuse():
    raise DataError("no images", "add some")

def wait():
    Path("ready").touch()
    time.sleep(60)

def fork():
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM, "ended by the signal, not by our handler"

def full():
    raise OSError(28, "No space left on device", "events.tfevents")

def take_a_file():
    with open("results.txt", "w") as file:
        os.write(1, b"from C code")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        file.write("results")

def long_name():
    Path("x" * 300).is_file() or Path("x" * 300).stat()

def threads():
    for action in (full, refuse):
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()

DEEDS = {f.__name__: f for f in (work, refuse, wait, fork, full, long_name, threads, take_a_file)}
run_command(main, Config, goes_on=sys.argv.pop() == "on")
"""


@pytest.fixture
def command(tmp_path):
    """Start the command with other streams; a stream that is None is closed."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)

    def start(what, *, stdout=subprocess.PIPE, stderr=subprocess.PIPE, goes_on=False):
        def close():
            for number, stream in ((1, stdout), (2, stderr)):
                if stream is None:
                    os.close(number)

        return subprocess.Popen(
            [sys.executable, script, "--what", what, "on" if goes_on else "off"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=stdout,
            stderr=stderr,
            preexec_fn=close,
        )

    return start


@pytest.fixture
def nobody_reads():
    """The writing end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def end(process):
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def screen(text):
    """Return the lines that a terminal shows."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for state in line.split("\r"):
            shown = state + shown[len(state) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.parametrize("forked", [False, True])
def test_no_text_is_glued_to_a_progress_bar(monkeypatch, forked):
    terminal, bar = io.StringIO(), UnfinishedLine()
    out, err = Output(terminal, ends=False, bar=bar), Output(terminal, ends=False, bar=bar)
    handler = logging.StreamHandler(out)

    with tqdm(range(2), "losses", file=out, ncols=70, mininterval=0) as progress:
        for index in progress:
            if forked:
                monkeypatch.setattr(os, "getpid", lambda: 0)
            handler.emit(logging.makeLogRecord({"msg": "shared memory is full"}))
            print("a warning", file=err)
            print(f"line {index}", file=out)

    lines = screen(terminal.getvalue())
    assert [line for line in lines if "100%" not in line] == [
        *("shared memory is full", "a warning", "line 0"),
        *("shared memory is full", "a warning", "line 1", ""),
    ]
    assert lines[-2].startswith("losses: 100%")
    before = len(terminal.getvalue())
    print("afterwards", file=out)
    assert terminal.getvalue()[before:] == "afterwards\n"


def test_text_without_a_bar_is_written_as_it_is():
    stream = io.StringIO()
    out = Output(stream, ends=False, bar=UnfinishedLine())

    for text in ("a", "\n", "b\n", "\r", "c"):
        out.write(text)

    assert stream.getvalue() == "a\nb\n\rc"


def test_a_reader_that_is_gone_ends_the_command_quietly(command, nobody_reads, tmp_path):
    assert end(command("work", stdout=nobody_reads)) == (141, None, b"")
    assert (tmp_path / "closed").exists()
    assert not (tmp_path / "done").exists()


def test_a_command_that_works_for_hours_goes_on_without_a_reader(command, nobody_reads, tmp_path):
    assert end(command("work", stdout=nobody_reads, goes_on=True)) == (0, None, b"")
    assert (tmp_path / "done").exists()


def test_both_streams_can_lose_their_reader(command, nobody_reads):
    assert end(command("work", stdout=nobody_reads, stderr=nobody_reads))[0] == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("goes_on", "code"), [(False, 5), (True, 0)])
def test_a_full_disk_behind_standard_output_is_named_once(command, goes_on, code):
    with open("/dev/full", "wb") as full:
        returned, _, stderr = end(command("work", stdout=full, goes_on=goes_on))

    assert returned == code
    assert stderr.count(b"standard output cannot be written (No space left on device)") == 1
    assert b"Traceback" not in stderr


def test_a_path_that_no_file_system_takes_is_one_sentence(command):
    returned, _, stderr = end(command("long_name"))

    assert returned == 2
    assert stderr.startswith(b"error: xxx") and stderr.count(b"\n") == 2 and b"the name is too long" in stderr


def test_a_thread_that_runs_out_of_disk_leaves_the_telling_to_the_main_one(command):
    returned, _, stderr = end(command("threads"))

    assert returned == 0
    assert b"no images" in stderr  # of the thread that failed otherwise
    assert b"No space left" not in stderr


def test_a_standard_error_that_cannot_be_written_changes_nothing(command):
    with open("/dev/full", "wb") as full:
        assert end(command("work", stderr=full))[0] == 0
        assert end(command("refuse", stderr=full))[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors of POSIX")
@pytest.mark.parametrize("streams", [{"stdout": None}, {"stderr": None}, {"stdout": None, "stderr": None}])
def test_closed_streams_are_silence_and_no_file_takes_their_place(command, tmp_path, streams):
    assert end(command("work", **streams))[0] == 0
    assert end(command("take_a_file", **streams))[0] == 0
    assert (tmp_path / "results.txt").read_text() == "results"


@pytest.mark.parametrize(
    ("script", "goes_on"), [("train", True), ("benchmark", True), ("val", False), ("detect", False), ("export", False)]
)
def test_what_trains_goes_on(monkeypatch, script, goes_on):
    calls = []
    monkeypatch.setattr(shell, "run_command", lambda *_, **options: calls.append(options.get("goes_on", False)))

    runpy.run_path(str(ROOT / f"{script}.py"), run_name="__main__")

    assert calls == [goes_on]


def test_help_that_nobody_reads_ends_quietly(nobody_reads):
    result = subprocess.run(
        [sys.executable, "detect.py", "--help"], cwd=ROOT, stdout=nobody_reads, stderr=subprocess.PIPE
    )

    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 143, b""), (signal.SIGINT, 130, b"interrupted\n")]
)
def test_a_signal_closes_what_is_open(command, tmp_path, number, code, said):
    process = command("wait")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    process.send_signal(number)

    assert end(process) == (code, b"", said)
    assert (tmp_path / "closed").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_forked_child_ends_by_the_signal_as_if_nothing_were_set(command):
    assert end(command("fork")) == (0, b"", b"")


def test_a_full_disk_that_nobody_expected_has_the_code_of_the_contract(command):
    code, _, stderr = end(command("full"))

    assert (code, stderr) == (
        5,
        b"error: events.tfevents: cannot be written (No space left on device)\n"
        b"fix: free some space, or choose another folder\n",
    )


def line(message, *args):
    return LineFormatter("%(message)s").format(logging.LogRecord("x", 20, "", 0, message, args, None))


def test_arguments_stay_on_one_line_and_our_own_line_ends_remain():
    assert line("\n%s:\n  %d", "a\nb\x1b[2J", 3) == "\na\\nb\\x1b[2J:\n  3"
    assert line("%s", Path("/d/x\r\u202e.jpg")) == "/d/x\\r\\u202e.jpg"
    assert line("%s", DataError("a\nb", "c\nd")) == "a\\nb\nfix: c\\nd"
    assert line("100 %\x1b[0m\n") == "100 %\\x1b[0m\n"


def test_the_record_is_left_as_it_is_for_other_handlers():
    record = logging.LogRecord("x", 20, "", 0, "%s", ("a\nb",), None)

    LineFormatter("%(message)s").format(record)

    assert record.getMessage() == "a\nb"


def test_an_error_keeps_the_rows_of_its_list_and_no_line_end_of_a_name():
    error = DataError("/d/a\nfix: run me\x1b[8m: 2 rows\n  x.txt:1 bad\n  x.txt:2 bad", "look\nthere")

    assert error_text(error) == ("/d/a\\nfix: run me\\x1b[8m: 2 rows\n  x.txt:1 bad\n  x.txt:2 bad\nfix: look\\nthere")
