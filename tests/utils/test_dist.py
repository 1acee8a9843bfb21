"""Several processes that would train side by side are refused by one sentence."""

import pytest

from utils.dist import refuse_several_processes
from utils.errors import ConfigError


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": ""}, {"RANK": "3"}])
def test_one_process_goes_on(monkeypatch, environment):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    refuse_several_processes()


def test_the_first_of_several_says_why_and_the_others_end_in_silence(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="torchrun started 2 processes"):
        refuse_several_processes()

    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as end:
        refuse_several_processes()

    assert end.value.code == 2
    assert capsys.readouterr() == ("", "")
