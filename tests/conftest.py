"""What every test shares: a cache folder of its own, no waiting for the disk, the option that names a backbone."""

import gc
import os

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--backbone",
        action="append",
        default=[],
        metavar="NAME",
        help="run the backbone contract on NAME (registered, timm/NAME or path/to/file.py:builder)",
    )


def pytest_collection_finish():
    """Spare the garbage collector the modules and tests that stay until the end: it would walk over them every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache_outside_home(tmp_path_factory):
    """Keep label caches of tests out of the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """Leave it to the system when a file is on the disk; a test has no power cuts (test_crash.py watches the calls)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield
