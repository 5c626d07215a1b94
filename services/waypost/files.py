"""Durable, atomic files: a crash leaves the old content or the new one."""

import contextlib
import os
import tempfile
from pathlib import Path

from waypost.errors import InvalidConfig


def write(path: Path, text: str, *, secret: bool = True, replace: bool = True) -> None:
    """Write `text`, synced to disk before this returns; only the owner can read a secret. With
    `replace=False` an existing file stays as it is. Raises InvalidConfig when it exists or the folder cannot
    be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, 0o600 if secret else 0o644)
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # unlike rename, fails when the name is taken
            os.unlink(temporary)
        sync_folder(path.parent)
    except FileExistsError:
        _discard(temporary)
        raise InvalidConfig(f"{path} exists already and is not overwritten.", path=str(path)) from None
    except OSError as error:
        _discard(temporary)
        raise _unwritable(path, error) from error
    except BaseException:
        _discard(temporary)
        raise


def _unwritable(path: Path, error: OSError) -> InvalidConfig:
    return InvalidConfig(f"{path} cannot be written: {error.strerror or error}.", path=str(path))


def sync_folder(folder: Path) -> None:
    """Makes what was created, renamed or removed in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
