"""SQLite without waiting for the disk."""

import pytest
import sqlalchemy


@pytest.fixture(scope="module", autouse=True)
def _fast():
    """Let SQLite leave it to the system when a file is on the disk; a test has no power cuts."""

    def hurry(connection, _):
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", hurry)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", hurry)
