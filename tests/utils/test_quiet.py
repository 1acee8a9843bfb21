"""Loggers that are held back say less, never more, and as much as before afterwards."""

import logging

import pytest

from utils.quiet import quiet


@pytest.fixture
def logger():
    logger = logging.getLogger("some.library")
    yield logger
    logger.setLevel(logging.NOTSET)
    logging.getLogger("some").setLevel(logging.NOTSET)


def test_a_logger_is_held_back_and_let_go_also_after_an_error(logger):
    with pytest.raises(KeyError), quiet(logging.ERROR, "some.library"):
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
        raise KeyError
    assert logger.level == logging.NOTSET


def test_who_has_asked_for_less_is_not_told_more(logger):
    logger.setLevel(logging.CRITICAL)
    with quiet(logging.ERROR, "some.library"):
        assert not logger.isEnabledFor(logging.ERROR)
    logger.setLevel(logging.NOTSET)
    logging.getLogger("some").setLevel(logging.CRITICAL)
    with quiet(logging.ERROR, "some.library"):
        assert not logger.isEnabledFor(logging.ERROR)
    with quiet(logging.ERROR, "some.library"), quiet(logging.INFO, "some.library"):
        assert not logger.isEnabledFor(logging.WARNING)


def test_all_loggers_at_once_are_held_back_as_far_as_the_stricter_of_two_says(logger):
    with quiet(logging.ERROR), quiet(logging.WARNING):
        assert not logger.isEnabledFor(logging.WARNING)
    assert logging.root.manager.disable == logging.NOTSET
