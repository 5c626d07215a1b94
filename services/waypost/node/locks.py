"""Locks between processes, on files of the data folder. The system lets them go when a process ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.errors import DataInUse, InvalidConfig, StorageFull

BOOKS = "node.lock"
"""Held by whoever does the books."""
LISTENER = "admin.lock"
"""Held while the operator's port is this node's: taken after the port, and let go before it."""


def take(folder: Path, name: str) -> int:
    """The descriptor that holds the lock until it is closed. Makes the folder when it is missing.

    Raises DataInUse, StorageFull, or InvalidConfig for a folder that is no use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no room for {folder}.", folder=str(folder)) from error
        raise InvalidConfig(f"{folder} cannot be used: {error.strerror}.", folder=str(folder)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataInUse(f"Another process uses {folder}.", folder=str(folder)) from None
    return descriptor


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Holds the lock. Raises what `take` raises."""
    descriptor = take(folder, name)
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path, name: str) -> bool:
    """Whether a process holds the lock."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
