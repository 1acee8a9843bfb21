"""What every test shares: a cache folder of its own, and the option that names the user's backbone."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--backbone",
        action="append",
        default=[],
        metavar="NAME",
        help="run the backbone contract on NAME (registered, timm/NAME or path/to/file.py:builder)",
    )


@pytest.fixture(autouse=True)
def _cache_outside_home(tmp_path_factory, monkeypatch):
    """Keep label caches of tests out of the user's own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
