"""Memory that is freed stays with a process that will soon want it again."""

import platform
import subprocess
import sys

import pytest

from utils.runs import ROOT

FAULTS = """
import resource, sys
from utils.freed_memory import keep_freed_memory, keep_small_pieces
if sys.argv[1] != "as it is":
    keep_freed_memory()
if sys.argv[1] == "small":
    keep_small_pieces()
pieces = lambda: [bytearray(size) for size in (20_000_000, 200_000_000)]
pieces()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
pieces()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory in ways of their own")
def test_pieces_of_any_size_are_found_where_they_were():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)

    assert faults("all") < 100 < 1000 < faults("as it is")
    assert 40_000 < faults("small") < faults("all") + 50_000  # the large piece alone is cleared anew
