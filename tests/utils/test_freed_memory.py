"""Memory that is freed stays with a process that will soon want it again."""

import platform
import subprocess
import sys

import pytest

from utils.runs import ROOT

FAULTS = """
import resource, sys
from utils.command import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
pieces = lambda: [bytearray(20_000_000) for _ in range(4)]
pieces()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
pieces()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory in ways of their own")
def test_pieces_of_20_mb_are_found_where_they_were():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)

    assert faults("keep") < 100 < 1000 < faults("as it is")
