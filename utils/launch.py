"""Start a training in several processes, one for each device, and end all where one fails (``--device 0,1``)."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from utils.child_process import end_with_parent
from utils.config import option_fields, typed_option
from utils.runs import ROOT

RESULT = "YOLO_BACKBONES_RESULT"  # environment variable: the file into which process 0 writes its run folder
GRACE_S = 10.0  # that the others have to end by themselves once one has ended with an error
LOOK_S = 0.1


def launch(cfg: Any) -> Path:
    """Train in a process for each device of ``cfg.device``; return the run folder.

    Raises: SystemExit with the code of the process that failed first.
    """
    count = len(cfg.device.split(","))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result")
        command = [sys.executable, str(ROOT / "train.py"), *typed(cfg)]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), RESULT: str(result)}
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        code = _run([(command, shared | {"RANK": str(number), "LOCAL_RANK": str(number)}) for number in range(count)])
        if code:
            raise SystemExit(code)
        return Path(result.read_text(encoding="utf-8"))


def typed(cfg: Any) -> list[str]:
    """Return the options that were given or are not the defaults, as they are typed."""
    flags = []
    for field in option_fields(cfg):
        value = getattr(cfg, field.name)
        is_default = value == field.default and field.name not in cfg.given
        if is_default or value is None or field.name == "config":  # what its file gives is among the others
            continue
        parts = typed_option(field.name, value)
        flags += ["=".join(parts)] if len(parts) == 2 else parts  # so that a value may begin with a dash
    return flags


def tell_result(run_dir: Path) -> None:
    """Write the run folder where the process that has started this one looks for it, if one has."""
    if RESULT in os.environ:
        Path(os.environ[RESULT]).write_text(str(run_dir), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _run(jobs: Sequence[tuple[list[str], dict[str, str]]]) -> int:
    """Run all jobs, pass signals on to them, and return the exit code of the first that failed, else 0."""
    started = [
        subprocess.Popen(  # noqa: S603 - this very program, with the options that it was given
            command,
            env=os.environ | added,
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            preexec_fn=partial(end_with_parent, signal.SIGTERM) if sys.platform == "linux" else None,
        )
        for command, added in jobs
    ]

    def pass_on(number: int, _: Any) -> None:
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait(started)
    finally:
        for process in started:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(started: Sequence[subprocess.Popen]) -> int:
    failed, until = 0, float("inf")
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        codes = [process.poll() for process in started]
        if not failed and (wrong := [code for code in codes if code]):
            failed, until = wrong[0], time.monotonic() + GRACE_S
        time.sleep(LOOK_S)
    codes = [process.poll() for process in started]
    failed = failed or next((code for code in codes if code), 0)
    return 128 - failed if failed < 0 else failed  # by a signal: as a shell tells it
