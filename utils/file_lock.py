"""Locks on files that end with the process that holds them, however it ends: they tell what killed ones have left."""

import sys
from typing import IO

if sys.platform != "win32":
    import fcntl


def try_lock(file: IO | int) -> bool | None:
    """Lock an open file until it is closed; False where another one has it, None where the system cannot tell."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def unlock(file: IO) -> None:
    """Give up the lock of an open file, also that of processes that inherited the file, and close it."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_UN)
    file.close()
