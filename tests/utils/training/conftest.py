"""A working folder with a tiny project, and one thread, for tests that train."""

import pytest
import torch
from tiny_detector import write_tiny_project


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a tiny model and three pictures."""
    monkeypatch.chdir(tmp_path)
    write_tiny_project()
    return tmp_path


@pytest.fixture
def one_thread():
    """On a busy machine two runs would choose different numbers of threads, and differ in the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
